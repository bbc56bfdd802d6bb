"""`ah verify` finds the same as the verifier of its own, and what that does not look for: versions, and parts by themselves."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner
from hypothesis import given, settings, strategies

from ahplat import processes, verification
from ahplat.cli.main import main
from events import chain, ranges
from events.checkpoint import public_key
from events.database import open_reader
from events.log import read_all
from events.ranges import check_range
from tests.checkpoints.desk import Desk
from tests.events.raw import raw
from tests.folders import memory_folder
from tests.verify.harm import HARMS, LAST, harmed, make, rechain, sign


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    with memory_folder() as made:
        yield make(made)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/faults/test_verify.py has it as it is."""
    monkeypatch.setattr(processes, "side_by_side", lambda tasks: (task() for task in tasks))


def verify(folder: Path, *argv: str) -> tuple[int, str]:
    """(exit code, what is said)"""
    done = CliRunner().invoke(main, ["verify", "--data-dir", str(folder), *argv])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_whole_log_holds(whole: Path) -> None:
    code, said = verify(whole)
    with open_reader(whole / "events.db") as log:
        link = read_all(log, LAST - 1, 1)[0].link.hex()
    assert code == 0
    assert said.startswith(
        f"{LAST} events hold, the last link is {link}\n5 checkpoints hold, the newest is at {LAST}, 20"
    )


@pytest.mark.parametrize("parts", [1, 7, 25_000])
@pytest.mark.parametrize("name", HARMS)
def test_whatever_is_done_to_it_is_found_with_the_position(
    whole: Path, folder: Path, name: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "RANGE", parts)
    harm = HARMS[name]
    code, said = verify(harmed(whole, folder, harm.do))
    assert code == 1
    position = int(said.partition(" at position ")[2].partition(":")[0])
    assert position == harm.named or ("anew" in name and "its version" in said and 14 <= position <= harm.named)


def test_versions_that_do_not_follow_are_found_though_the_chain_holds(whole: Path, folder: Path) -> None:
    def harm(db: apsw.Connection) -> None:
        db.execute("UPDATE event SET version = version + 1000 WHERE position > 20")
        db.execute("UPDATE event SET version = version - 999 WHERE position > 20")
        rechain(db)

    harmed(whole, folder, harm)
    (folder / "checkpoints" / "signed").unlink()
    code, said = verify(folder, "--unsigned")
    assert code == 1
    assert "at position 21: its version 21 does not follow" in said


def test_an_index_that_leaves_events_out_is_found(whole: Path, folder: Path) -> None:
    """By it a tenant's events are read: the rows are all there, and nobody would be shown them."""

    def harm(db: apsw.Connection) -> None:
        [(name, text)] = db.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%(tenant,%'"
        )
        db.execute(f"DROP INDEX {name}")
        db.execute(text.replace("(tenant,", "(iif(position = 14, 'x', tenant),"))
        db.pragma("writable_schema", True)
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (text, name))

    code, said = verify(harmed(whole, folder, harm))
    assert code == 2
    assert "the file is damaged" in said


@pytest.mark.parametrize("first", [1, 2, 14, 21, 22, LAST])
def test_each_part_is_checked_by_itself(whole: Path, folder: Path, first: int) -> None:
    harmed(whole, folder, HARMS["a tenant"].do)  # of position 14
    for last in range(first, LAST + 1):
        found = check_range(folder / "events.db", first, last)
        assert (found is not None and found.position == 14) == (first <= 14 <= last)


def test_a_part_that_is_not_there_is_a_fault(whole: Path) -> None:
    found = check_range(whole / "events.db", 30, LAST + 2)
    assert found is not None and found.position == LAST + 1


@settings(max_examples=60)
@given(data=strategies.binary(max_size=300), text=strategies.text(max_size=20), number=strategies.integers(0, 2**62))
def test_bytes_are_framed_as_the_writer_frames_them(data: bytes, text: str, number: int) -> None:
    text = text.replace("\0", "").encode(errors="ignore").decode()
    leaf = chain.leaf(1, f"s{text}", 1, f"t{text}", number, text, data, data)
    with memory_folder() as made:
        Desk(made)._close_files()
        with raw(made / "events.db") as db:
            db.execute("UPDATE stream SET name = ?", (f"s{text}",))
            row = (number, f"t{text}", text, data, data, chain.link(chain.GENESIS, leaf))
            db.execute("UPDATE event SET at_us = ?, type = ?, tenant = ?, data = ?, meta = ?, link = ?", row)
        assert check_range(made / "events.db", 1, 1) is None


def test_names_are_read_in_bunches(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "NAMES_AT_ONCE", 1)
    assert check_range(whole / "events.db", 1, LAST) is None


def test_a_log_without_a_checkpoint_wants_to_be_accepted(whole: Path, folder: Path) -> None:
    harmed(whole, folder, lambda db: None)
    (folder / "checkpoints" / "signed").unlink()
    code, said = verify(folder)
    assert code == 1 and "no checkpoint covers them" in said
    assert verify(folder, "--unsigned")[0] == 0


def test_checkpoints_and_a_key_that_were_kept_elsewhere_count(whole: Path, folder: Path, tmp_path: Path) -> None:
    harmed(whole, folder, HARMS["changed and chained anew"].do)
    kept = tmp_path / "kept"
    shutil.move(folder / "checkpoints", kept)
    for key in (str(kept / "key"), (kept / "key").read_text()):
        code, said = verify(folder, "--checkpoints", str(kept), "--key", key)
        assert code == 1
        assert "at position 20: it has another link than was signed in epoch 1" in said
        assert "from position 11 on" in said


def test_kept_checkpoints_are_not_left_out_where_the_folders_key_is_anothers(whole: Path, folder: Path) -> None:
    harmed(whole, folder, HARMS["changed and chained anew"].do)
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    (folder / "checkpoints" / "key").write_text(public_key("ahplat/other", b"x" * 32).text)
    code, said = verify(folder, "--unsigned", "--checkpoints", str(whole / "checkpoints" / "signed"))
    assert (code, "is not signed by the key" in said) == (1, True)


def test_a_key_that_is_gone_is_said(whole: Path, folder: Path) -> None:
    harmed(whole, folder, lambda db: None)
    (folder / "checkpoints" / "key").unlink()
    code, said = verify(folder)
    assert (code, "checkpoints/key is not there, say --key" in said) == (1, True)


def test_a_key_that_is_none_is_said(whole: Path, tmp_path: Path) -> None:
    for key in ("a+b+c", str(tmp_path / "missing"), ""):  # as a variable is that is not set: never the folder's own
        code, said = verify(whole, "--key", key)
        assert code == 2 and "--key" in said


def test_a_file_that_is_no_key_is_not_shown(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a-secret-of-another-file")
    code, said = verify(whole, "--key", str(tmp_path / "secret"))
    assert (code, "holds no key" in said, "a-secret" in said) == (2, True, False)


def test_a_past_that_a_restore_gave_up_is_no_harm_once_what_came_after_is_signed(whole: Path, folder: Path) -> None:
    harmed(whole, folder, HARMS["cut off"].do)
    desk = Desk(folder)
    desk.restore()
    desk._close_files()
    code, said = verify(folder)
    assert code == 1 and "at position 30: it is gone that was signed in epoch 1" in said
    sign(folder)
    assert verify(folder)[0] == 0
