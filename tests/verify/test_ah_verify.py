"""`bin/ah-verify`: a program of its own that finds whatever was done to a log, and says where."""

import ast
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings, strategies
from nacl import bindings

from ahplat import durable
from events import checkpoint
from events.checkpoint import Checkpoint, PublicKey, parse_key
from events.database import open_reader
from events.log import read_all
from tests.checkpoints.desk import Desk
from tests.folders import memory_folder
from tests.verify.harm import HARMS, LAST, harmed, make, rechain, sign, sql

PROGRAM = Path(__file__).parents[2] / "bin" / "ah-verify"
STRANGER = b"x" * 32


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    with memory_folder() as made:
        yield make(made)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("ah_verify", str(PROGRAM))
    spec = importlib.util.spec_from_loader("ah_verify", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def verify(*argv: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, without this tree's environment."""
    command = [sys.executable, "-I", str(PROGRAM), *map(str, argv)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refused(*argv: object) -> str:
    """What it says of a log that does not hold."""
    done = verify(*argv)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def key_of(folder: Path) -> PublicKey:
    return parse_key((folder / "checkpoints" / "key").read_text())


def test_it_is_short_and_needs_nothing_but_the_standard_library() -> None:
    text = PROGRAM.read_text()
    assert len(text.splitlines()) <= 200
    nodes = list(ast.walk(ast.parse(text)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    assert names and {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_it_says_what_it_is_for() -> None:
    done = verify("--help")
    assert done.returncode == 0
    assert "--checkpoints" in done.stdout and "Exit code" in done.stdout


def test_a_whole_log_holds(whole: Path) -> None:
    for path in (whole, whole / "events.db"):
        done = verify(path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{LAST} events hold, of 5 checkpoints the newest is at {LAST}, 20")


@pytest.mark.parametrize("name", HARMS)
def test_whatever_is_done_to_it_is_found_with_the_position(whole: Path, folder: Path, name: str) -> None:
    harm = HARMS[name]
    assert f": position {harm.named}" in refused(harmed(whole, folder, harm.do))


@pytest.mark.parametrize("name", [name for name in HARMS if "chained anew" in name])
def test_a_log_that_was_chained_anew_holds_by_its_chain_alone(whole: Path, folder: Path, name: str) -> None:
    """So it is the checkpoints that find it."""
    harmed(whole, folder, HARMS[name].do)
    assert verify("--unsigned", folder / "events.db").returncode == 1
    (folder / "checkpoints" / "signed").unlink()
    assert verify("--unsigned", folder / "events.db").returncode == 0


def test_it_says_between_which_checkpoints_the_log_was_written_anew(whole: Path, folder: Path) -> None:
    said = refused(harmed(whole, folder, HARMS["changed and chained anew"].do))
    assert "position 20 has another link than was signed in epoch 1" in said
    assert "written anew somewhere from position 11 on" in said


def test_checkpoints_written_anew_by_a_stranger_are_none(whole: Path, folder: Path) -> None:
    """Under the right key's id, which is only a hint."""
    key = key_of(whole)
    harmed(whole, folder, HARMS["changed and chained anew"].do)
    with open_reader(folder / "events.db") as log:
        links = {event.position: event.link for event in read_all(log, 0, 100)}
    text = "\n"
    for position in (1, 10, 20, 30, LAST):
        note = checkpoint.signed(Checkpoint(key.name, position, links[position], 1, 5), STRANGER)
        told, _, encoded = note.rstrip("\n").rpartition(" ")
        text += f"{told} {b64encode(key.id + b64decode(encoded)[4:]).decode()}\n\n"
    (folder / "checkpoints" / "signed").write_text(text)
    assert "is not signed by the key" in refused(folder)


def test_old_checkpoints_that_were_kept_elsewhere_catch_a_log_that_was_made_anew(
    whole: Path, folder: Path, tmp_path: Path
) -> None:
    """By whoever has the server and its key: all of it, checkpoints included, is written and signed again."""
    kept, key = tmp_path / "kept", (whole / "checkpoints" / "key").read_text()
    kept.mkdir()
    (kept / "note").write_bytes((whole / "checkpoints" / "signed").read_bytes())
    harmed(whole, folder, HARMS["changed and chained anew"].do)
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    assert "no checkpoint covers it" in refused(folder)
    assert verify(folder, "--unsigned").returncode == 0
    for where in (kept, kept / "note"):
        assert "position 20 has another link" in refused(folder, "--checkpoints", where, "--key", key)


def test_a_log_that_was_cut_off_with_its_checkpoints_is_caught_by_a_later_one(
    whole: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "note").write_bytes((whole / "checkpoints" / "signed").read_bytes())
    harmed(whole, folder, HARMS["cut off"].do)
    signed = folder / "checkpoints" / "signed"
    signed.write_bytes(b"".join(b"\n" + note.encode() for _, note in [*checkpoint.notes_in(signed.read_bytes())][:3]))
    assert verify(folder).returncode == 0
    assert "position 30 is gone" in refused(folder, "--checkpoints", tmp_path / "note")


def test_another_key_does_not_do(whole: Path, tmp_path: Path) -> None:
    other = checkpoint.public_key(key_of(whole).name, STRANGER).text
    assert "is not signed by the key" in refused(whole, "--key", other)
    (tmp_path / "key").write_text(other)
    assert "is not signed by the key" in refused(whole, "--key", tmp_path / "key")


def test_the_key_of_another_log_covers_nothing(whole: Path) -> None:
    assert "is not signed by the key" in refused(whole, "--key", checkpoint.public_key("ahplat/other", STRANGER).text)


def test_kept_checkpoints_are_not_left_out_where_the_folders_key_is_anothers(
    whole: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_bytes((whole / "checkpoints" / "signed").read_bytes())
    harmed(whole, folder, HARMS["changed and chained anew"].do)
    with open_reader(folder / "events.db") as log:
        [last] = read_all(log, LAST - 1, 1)
    (folder / "checkpoints" / "key").write_text(checkpoint.public_key("ahplat/other", STRANGER).text)
    note = checkpoint.signed(Checkpoint("ahplat/other", LAST, last.link, 1, 5), STRANGER)
    (folder / "checkpoints" / "signed").write_text(f"\n{note}\n")
    assert verify(folder).returncode == 0, "nothing else knows of it"
    assert "is not signed by the key" in refused(folder, "--checkpoints", tmp_path / "kept")


def test_a_number_that_was_made_a_fraction_is_found(whole: Path, folder: Path) -> None:
    columns = "position, stream, version + iif(position = 14, 0.5, 0) AS version, type, at_us, tenant, data, meta, link"
    loose = (
        f"CREATE TABLE loose AS SELECT {columns} FROM event",
        "DROP TABLE event",
        "ALTER TABLE loose RENAME TO event",
    )
    assert "position 14: a column is missing, or of another type" in refused(harmed(whole, folder, sql(*loose)))


def test_a_torn_checkpoint_does_not_matter(whole: Path, folder: Path) -> None:
    harmed(whole, folder, lambda db: None)
    file = folder / "checkpoints" / "signed"
    note = [note for _, note in checkpoint.notes_in(file.read_bytes())][-1]
    for length in range(0, len(note), 9):
        durable.append_line(file, "\n" + note[:length])
    durable.append_line(file, "\n" + note.rstrip("\n"))
    assert verify(folder).returncode == 0


def test_a_past_that_a_restore_gave_up_is_no_harm(whole: Path, folder: Path) -> None:
    harmed(whole, folder, HARMS["cut off"].do)
    desk = Desk(folder)
    desk.restore()
    desk._close_files()
    assert "position 30" in refused(folder), "not yet signed: anybody could have appended that"
    sign(folder)
    assert verify(folder).returncode == 0


def test_a_restore_that_somebody_made_up_is_found(whole: Path, folder: Path) -> None:
    harmed(whole, folder, HARMS["cut off"].do)
    desk = Desk(folder)
    desk.restore()
    name, last = desk.key.name, desk.log
    forged = checkpoint.signed(Checkpoint(name, last.position, last.link, 2, 5), STRANGER)
    durable.append_line(desk.file, "\n" + forged.rstrip("\n"))
    desk._close_files()
    assert "is not signed by the key" in refused(folder)


def test_it_reads_beside_a_server_that_goes_on_writing(folder: Path) -> None:
    make(folder)
    desk = Desk(folder)
    desk.append(50, is_heard=False)  # in the WAL only
    done = verify(folder)
    assert done.stdout.startswith(f"{LAST + 50} events hold")
    desk.log.begin()
    assert verify(folder).returncode == 0
    desk.log.rollback()
    desk._close_files()


def test_a_key_that_is_given_as_nothing_is_not_the_folders_own(whole: Path) -> None:
    done = verify(whole, "--key", "")
    assert (done.returncode, "cannot be read" in done.stderr) == (2, True)


@pytest.mark.parametrize("what", ["missing", "empty", "no log", "no key"])
def test_what_cannot_be_read_is_said(whole: Path, folder: Path, what: str) -> None:
    harmed(whole, folder, lambda db: None)
    path = folder / "events.db"
    match what:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "no log":
            path.write_bytes(b"x" * 5_000)
        case "no key":
            (folder / "checkpoints" / "key").unlink()
    done = verify(folder)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


@settings(max_examples=25, deadline=None)
@given(
    seed=strategies.binary(min_size=32, max_size=32),
    text=strategies.binary(max_size=80),
    at=strategies.integers(0, 511),
)
def test_its_signatures_are_those_of_a_known_library(program: ModuleType, seed: bytes, text: bytes, at: int) -> None:
    public, secret = bindings.crypto_sign_seed_keypair(seed)
    signature = bindings.crypto_sign(text, secret)[:64]
    assert program.is_signed(public, text, signature)
    changed = bytearray(signature)
    changed[at // 8] ^= 1 << at % 8
    assert not program.is_signed(public, text, bytes(changed))
    assert not program.is_signed(public, text + b"x", signature)
    assert not program.is_signed(public, text, signature[: at // 8])


@pytest.mark.parametrize("number", [0, 1, 2**255 - 19, 2**255 - 1, 2**256 - 1])
def test_what_is_no_point_or_a_weak_one_signs_nothing(program: ModuleType, number: int) -> None:
    weird = number.to_bytes(32, "little")
    public, secret = bindings.crypto_sign_seed_keypair(STRANGER)
    signature = bindings.crypto_sign(b"text", secret)[:64]
    assert not program.is_signed(weird, b"text", signature)
    assert not program.is_signed(public, b"text", weird + signature[32:])


def test_what_is_chained_anew_holds_otherwise(whole: Path, folder: Path) -> None:
    """The harness itself does no harm."""
    assert verify(harmed(whole, folder, rechain)).returncode == 0
