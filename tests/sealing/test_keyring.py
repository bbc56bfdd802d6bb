"""Tenants' keys: made before they are needed, kept through restarts, and gone for good when they are destroyed."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from ahplat import limits, sealing
from ahplat.errors import Unreadable
from ahplat.sealing import KeyFileBad, Keyring, unseal

MASTER = b"m" * 32


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "keys.db"


@pytest.fixture
def keyring(path: Path) -> Iterator[Keyring]:
    keyring = Keyring(path, MASTER)
    keyring.create("one")
    keyring.create("two")
    yield keyring
    keyring.close()


def test_a_field_opens_where_it_was_sealed(keyring: Keyring) -> None:
    assert keyring.unseal("one", "service-1", "env.A", keyring.seal("one", "service-1", "env.A", b"x")) == b"x"


@pytest.mark.parametrize(
    "place",
    [("two", "service-1", "env.A"), ("one", "service-2", "env.A"), ("one", "service-1", "env.B")],
    ids=["another tenant", "another stream", "another field"],
)
def test_a_field_that_was_moved_does_not_open(keyring: Keyring, place: tuple[str, str, str]) -> None:
    envelope = keyring.seal("one", "service-1", "env.A", b"x")
    with pytest.raises(Unreadable):
        keyring.unseal(*place, envelope)


def test_keys_are_there_after_a_restart(keyring: Keyring, path: Path) -> None:
    envelope = keyring.seal("one", "s", "f", b"x")
    index = keyring.email_index("a@b.c")
    again = Keyring(path, MASTER)
    assert again.unseal("one", "s", "f", envelope) == b"x"
    assert again.email_index("a@b.c") == index
    again.close()


def test_what_is_committed_to_the_key_file_is_on_the_disk(keyring: Keyring) -> None:
    assert (keyring._db.pragma("synchronous"), keyring._db.pragma("secure_delete")) == (2, 1)


def test_a_key_is_nobody_elses_to_read(keyring: Keyring, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_tenant_has_one_key_for_good(keyring: Keyring) -> None:
    envelope = keyring.seal("one", "s", "f", b"x")
    with pytest.raises(apsw.ConstraintError):
        keyring.create("one")
    assert keyring.unseal("one", "s", "f", envelope) == b"x"


def test_each_tenant_has_a_key_of_its_own(keyring: Keyring) -> None:
    assert keyring._tenant_key("one") != keyring._tenant_key("two")


# the end of a key


def test_what_was_sealed_with_a_destroyed_key_stays_sealed(keyring: Keyring, path: Path) -> None:
    envelope = keyring.seal("one", "s", "f", b"x")
    keyring.destroy("one")
    with pytest.raises(Unreadable, match="destroyed"):
        keyring.unseal("one", "s", "f", envelope)
    again = Keyring(path, MASTER)
    with pytest.raises(Unreadable, match="destroyed"):
        again.unseal("one", "s", "f", envelope)
    again.close()


def test_a_destroyed_key_seals_nothing_more(keyring: Keyring) -> None:
    keyring.destroy("one")
    with pytest.raises(Unreadable):
        keyring.seal("one", "s", "f", b"x")


def test_a_destroyed_key_is_in_no_file(keyring: Keyring, path: Path) -> None:
    wrapped = bytes(keyring._db.execute("SELECT wrapped FROM tenant_key WHERE tenant_id = 'one'").get)

    def files() -> bytes:
        return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))

    assert wrapped in files()
    keyring.destroy("one")
    assert wrapped not in files()


def test_another_tenants_key_stays_when_one_is_destroyed(keyring: Keyring) -> None:
    envelope = keyring.seal("two", "s", "f", b"x")
    keyring.destroy("one")
    assert keyring.unseal("two", "s", "f", envelope) == b"x"


def test_a_key_that_is_gone_may_be_destroyed_again(keyring: Keyring) -> None:
    keyring.destroy("one")
    keyring.destroy("one")
    keyring.destroy("never there")


def test_a_tenant_that_never_was_has_no_key(keyring: Keyring) -> None:
    with pytest.raises(Unreadable):
        keyring.seal("nobody", "s", "f", b"x")


# the master key


def test_keys_that_another_master_wrapped_do_not_open(keyring: Keyring, path: Path) -> None:
    with pytest.raises(KeyFileBad, match=r"another master\.key"):
        Keyring(path, b"w" * 32)


def test_the_master_key_is_in_no_file(keyring: Keyring, path: Path) -> None:
    assert MASTER not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_wrapped_key_that_was_moved_to_another_tenant_does_not_open(keyring: Keyring, path: Path) -> None:
    keyring._db.execute(
        "UPDATE tenant_key SET wrapped = (SELECT wrapped FROM tenant_key WHERE tenant_id = 'two') WHERE tenant_id = 'one'"
    )
    again = Keyring(path, MASTER)
    with pytest.raises(Unreadable):
        again.seal("one", "s", "f", b"x")
    again.close()


# what else hangs on it


@pytest.mark.parametrize("tenant", ["one", ""], ids=["for a tenant", "for the platform"])
def test_an_answer_opens_for_its_command_only(keyring: Keyring, tenant: str) -> None:
    envelope = keyring.seal_answer(tenant, b"answer", b"command")
    assert keyring.unseal_answer(tenant, envelope, b"command") == b"answer"
    with pytest.raises(Unreadable):
        keyring.unseal_answer(tenant, envelope, b"another")
    with pytest.raises(Unreadable):
        keyring.unseal_answer("two", envelope, b"command")


def test_a_tenants_answers_end_with_its_key_and_the_platforms_do_not(keyring: Keyring) -> None:
    of_tenant, of_platform = (keyring.seal_answer(tenant, b"answer", b"command") for tenant in ("one", ""))
    keyring.destroy("one")
    with pytest.raises(Unreadable):
        keyring.unseal_answer("one", of_tenant, b"command")
    assert keyring.unseal_answer("", of_platform, b"command") == b"answer"


def test_an_address_is_one_in_upper_and_lower_case(keyring: Keyring) -> None:
    assert keyring.email_index(" Ada@Example.org ") == keyring.email_index("ada@example.org")
    assert keyring.email_index("ada@example.org") != keyring.email_index("ada@example.com")


def test_each_purpose_and_each_platform_has_a_mac_of_its_own(keyring: Keyring, folder: Path) -> None:
    other = Keyring(folder / "other.db", MASTER)
    macs = {keyring.mac("cursors", b"x"), keyring.mac("fingerprints", b"x"), other.mac("cursors", b"x")}
    assert len(macs) == 3
    assert keyring.mac("cursors", b"x") in macs
    other.close()


# many at once


def test_keys_that_are_kept_at_hand_are_bounded(keyring: Keyring, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TENANT_KEYS_CACHED", 1)
    again = Keyring(path, MASTER)
    envelopes = {tenant: again.seal(tenant, "s", "f", tenant.encode()) for tenant in ("one", "two")}
    assert len(again._tenants) == 1
    assert [again.unseal(tenant, "s", "f", envelope) for tenant, envelope in envelopes.items()] == [b"one", b"two"]
    again.close()


def test_a_key_that_is_destroyed_while_it_is_being_fetched_is_not_kept(
    keyring: Keyring, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Keyring(path, MASTER)
    destroying = threading.Thread(target=again.destroy, args=("one",))

    def slowly(key: bytes, envelope: bytes, bound_to: str) -> bytes:
        destroying.start()
        destroying.join(0.02)  # it has to wait for us
        return unseal(key, envelope, bound_to)

    with monkeypatch.context() as patched:
        patched.setattr(sealing, "unseal", slowly)
        again.seal("one", "s", "f", b"x")
    destroying.join()
    with pytest.raises(Unreadable, match="destroyed"):
        again.seal("one", "s", "f", b"x")
    again.close()


def test_a_keyring_may_be_used_by_many_threads(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TENANT_KEYS_CACHED", 2)  # so that the file is asked again and again
    together = threading.Barrier(4)

    def use(thread: int) -> int:
        together.wait(10)
        for n in range(10):
            tenant = f"{thread}-{n}"
            keyring.create(tenant)
            envelope = keyring.seal(tenant, "s", "f", b"x")
            assert keyring.unseal(tenant, "s", "f", envelope) == b"x"
            keyring.seal("one", "s", "f", b"x")
            keyring.destroy(tenant)
        return thread

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [0, 1, 2, 3]
    assert keyring._db.execute("SELECT count(*) FROM tenant_key").get == 2
