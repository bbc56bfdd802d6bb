"""A sealed file gives back what was written, or says that it is not that: whatever was changed, cut, moved or put in."""

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some

from ahplat import limits
from ahplat.backups import sealed_file
from ahplat.backups.database_files import DatabaseFiles
from ahplat.backups.sealed_file import SealedWriter
from ahplat.errors import Rejected, Unreadable
from ahplat.sealing import Keyring, best_cipher, seal, unseal

KEY = bytes(range(32))
CHUNK = 16
PATIENT = settings(max_examples=60, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """So that few bytes are many chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SEALED_CHUNK_BYTES", CHUNK)
        yield


def sealed(place: str, text: bytes) -> bytes:
    return seal(best_cipher(), KEY, text, f"t backup-b {place}")


def unsealed(place: str, envelope: bytes) -> bytes:
    return unseal(KEY, envelope, f"t backup-b {place}")


def written(*pieces: bytes) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, sealed)
    for piece in pieces:
        writer.add(piece)
    writer.end()
    assert writer.size == len(file.getvalue())
    return file.getvalue()


def read(content: bytes) -> bytes:
    return b"".join(sealed_file.read(io.BytesIO(content), unsealed))


def chunks(content: bytes) -> list[bytes]:
    """Its chunks, each with its size, after the salt."""
    found, at = [], sealed_file.SALT_BYTES
    while at < len(content):
        end = at + sealed_file.SIZE_BYTES + int.from_bytes(content[at : at + sealed_file.SIZE_BYTES], "big")
        found.append(content[at:end])
        at = end
    return found


@PATIENT
@given(some.lists(some.binary(max_size=3 * CHUNK), max_size=6))
def test_what_was_written_comes_back_however_it_was_cut_into_pieces(pieces: list[bytes]) -> None:
    assert read(written(*pieces)) == b"".join(pieces)


@PATIENT
@given(some.binary(max_size=5 * CHUNK), some.data())
def test_a_bit_that_was_changed_is_found(text: bytes, data: some.DataObject) -> None:
    content = bytearray(written(text))
    content[data.draw(some.integers(0, len(content) - 1))] ^= 1 << data.draw(some.integers(0, 7))
    with pytest.raises(Unreadable):
        read(bytes(content))


@PATIENT
@given(some.binary(max_size=5 * CHUNK), some.data())
def test_a_file_that_was_cut_off_anywhere_is_found(text: bytes, data: some.DataObject) -> None:
    content = written(text)
    with pytest.raises(Unreadable):
        read(content[: data.draw(some.integers(0, len(content) - 1))])


@PATIENT
@given(some.binary(max_size=5 * CHUNK), some.binary(min_size=1, max_size=40))
def test_what_was_put_behind_it_is_found(text: bytes, more: bytes) -> None:
    with pytest.raises(Unreadable):
        read(written(text) + more)


@PATIENT
@given(some.binary(min_size=3 * CHUNK, max_size=6 * CHUNK), some.data())
def test_chunks_in_another_order_twice_or_left_out_are_found(text: bytes, data: some.DataObject) -> None:
    content = written(text)
    own = chunks(content)
    other = data.draw(some.lists(some.sampled_from(own), max_size=len(own) + 1))
    assume(other != own)
    with pytest.raises(Unreadable):
        read(content[: sealed_file.SALT_BYTES] + b"".join(other))


@PATIENT
@given(some.binary(min_size=3 * CHUNK, max_size=6 * CHUNK), some.integers(0, 2))
def test_a_chunk_of_another_file_of_the_same_backup_is_found(text: bytes, at: int) -> None:
    content, other = written(text), chunks(written(text))
    own = chunks(content)
    own[at] = other[at]
    with pytest.raises(Unreadable):
        read(content[: sealed_file.SALT_BYTES] + b"".join(own))


# as files of a tenant


@pytest.fixture
def keyring(folder: Path) -> Keyring:
    keyring = Keyring(folder / "keys.db", bytes(32))
    for tenant_id in ("a", "b"):
        keyring.create(tenant_id)
    return keyring


@pytest.fixture
def files(folder: Path, keyring: Keyring) -> DatabaseFiles:
    return DatabaseFiles(folder / "databases", keyring, 101)


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def all_of(files: DatabaseFiles, tenant_id: str, backup_id: str) -> bytes:
    return b"".join([chunk async for chunk in files.read(tenant_id, backup_id)])


async def test_a_backup_opens_as_its_own_and_its_tenants_only(files: DatabaseFiles) -> None:
    await files.store("a", "one", pieces_of(b"x" * 50))
    assert await all_of(files, "a", "one") == b"x" * 50
    content = files.path("a", "one").read_bytes()
    for tenant_id, backup_id in (("a", "two"), ("b", "one")):
        files.path(tenant_id, backup_id).parent.mkdir(exist_ok=True)
        files.path(tenant_id, backup_id).write_bytes(content)
        with pytest.raises(Unreadable):
            await all_of(files, tenant_id, backup_id)


async def test_without_the_tenants_key_it_is_of_no_use(files: DatabaseFiles, keyring: Keyring) -> None:
    await files.store("a", "one", pieces_of(b"x" * 50))
    keyring.destroy("a")
    with pytest.raises(Unreadable):
        await all_of(files, "a", "one")


async def test_one_that_broke_off_leaves_what_was_there_and_nothing_half(files: DatabaseFiles) -> None:
    await files.store("a", "one", pieces_of(b"first"))

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100
        raise Rejected("command_failed", "as the test wants it")

    with pytest.raises(Rejected):
        await files.store("a", "one", broken())
    assert await all_of(files, "a", "one") == b"first"
    assert [path.name for path in files.path("a", "one").parent.iterdir()] == ["one"]


async def test_a_disk_that_is_full_takes_no_more(folder: Path, keyring: Keyring) -> None:
    files = DatabaseFiles(folder / "databases", keyring, full_percent=0)
    with pytest.raises(Rejected) as refused:
        await files.store("a", "one", pieces_of(b"x"))
    assert refused.value.code == "disk_full"
    assert list(files.path("a", "one").parent.iterdir()) == []


async def test_what_is_not_there_is_missing(files: DatabaseFiles) -> None:
    with pytest.raises(Rejected) as refused:
        await all_of(files, "a", "one")
    assert refused.value.code == "backup_missing"
    files.remove("a", "one")
    files.remove_tenant("a")
