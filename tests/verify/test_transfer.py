"""The log as NDJSON and back: the same bytes, or nothing."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings, strategies

from ahplat.cli.main import main
from ahplat.version import VERSION
from events import transfer
from events.database import open_reader
from events.log import read_all
from tests.checkpoints.desk import Desk
from tests.folders import memory_folder
from tests.golden.opened import unpacked
from tests.verify.harm import HARMS, LAST, harmed, make


def run(*argv: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, [str(one) for one in argv], input=stdin)


def dump(path: Path) -> list[tuple[object, ...]]:
    """All of a log but what commands were answered."""
    db = open_reader(path)
    rows = [*db.execute("SELECT * FROM event ORDER BY position"), *db.execute("SELECT * FROM stream ORDER BY id")]
    rows += db.execute("SELECT sql FROM sqlite_schema ORDER BY name")
    rows += [(db.pragma("application_id"),), (db.pragma("user_version"),)]
    db.close()
    return rows


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    with memory_folder() as made:
        yield make(made)


@pytest.fixture
def text(whole: Path, tmp_path: Path) -> bytes:
    assert run("export", tmp_path / "log", "--data-dir", whole).exit_code == 0
    return (tmp_path / "log").read_bytes()


def test_a_log_goes_out_and_comes_back_byte_for_byte(whole: Path, text: bytes, tmp_path: Path) -> None:
    made = run("import", tmp_path / "log", "--data-dir", tmp_path / "new" / "data")
    assert made.exit_code == 0, made.output
    with open_reader(whole / "events.db") as log:
        assert made.output == f"{LAST} events, the last link is {read_all(log, LAST - 1, 1)[0].link.hex()}\n"
    new = tmp_path / "new" / "data"
    assert [path.name for path in new.iterdir()] == ["events.db"]
    assert (new / "events.db").stat().st_mode & 0o777 == 0o600
    assert dump(new / "events.db") == dump(whole / "events.db")
    assert run("export", "-", "--data-dir", new).stdout_bytes == text


def test_what_is_there_already_stays_whatever_it_is(whole: Path, tmp_path: Path) -> None:
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    file.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    os.mkfifo(pipe)
    for path in (file, link, pipe):
        done = run("export", path, "--data-dir", whole)
        assert (done.exit_code, "is there already" in done.output) == (2, True)
    assert (file.read_text(), link.is_symlink(), pipe.is_fifo()) == ("mine", True, True)


def test_it_is_a_line_for_the_log_and_one_for_each_event(text: bytes) -> None:
    lines = text.splitlines()
    assert len(lines) == 1 + LAST and text.endswith(b"\n")
    assert lines[0].startswith(b'{"format":"ahplat-log/1","installation":"fff')
    assert lines[1].startswith(b'{"position":1,"stream":"log-1","version":1,"type":"log.created","at_us":')


def test_a_real_log_with_all_types_of_events_goes_out_and_comes_back(tmp_path: Path) -> None:
    with unpacked(VERSION) as data:
        out = run("export", tmp_path / "log", "--data-dir", data)
        assert out.exit_code == 0, out.output
        assert run("import", tmp_path / "log", "--data-dir", tmp_path / "new").exit_code == 0
        assert dump(tmp_path / "new" / "events.db") == dump(data / "events.db")


def test_what_comes_by_stdin_is_taken(text: bytes, tmp_path: Path) -> None:
    assert run("import", "-", "--data-dir", tmp_path / "new", stdin=text).exit_code == 0


def test_chunks_of_any_size_give_the_same(
    whole: Path, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 7, LAST):
        monkeypatch.setattr(transfer, "CHUNK", size)
        new = tmp_path / str(size)
        assert run("import", "-", "--data-dir", new, stdin=text).exit_code == 0
        assert run("export", "-", "--data-dir", new).stdout_bytes == text
        assert dump(new / "events.db") == dump(whole / "events.db")


def refused(text: bytes, into: Path) -> str:
    """What it says of a file that it does not take; nothing is left."""
    done = run("import", "-", "--data-dir", into, stdin=text)
    assert done.exit_code == 1, done.output
    assert list(into.iterdir()) == []
    return done.output


@pytest.mark.parametrize("lines", [0, 1, 2, LAST - 1, LAST])
def test_a_file_that_was_cut_off_is_refused(text: bytes, tmp_path: Path, lines: int) -> None:
    said = refused(b"".join(text.splitlines(keepends=True)[:lines]), tmp_path / "new")
    assert "line 1" in said


def test_a_line_that_was_cut_off_is_refused(text: bytes, tmp_path: Path) -> None:
    assert f"line {LAST + 1} is " in refused(text[:-1], tmp_path / "new")
    assert f"line {LAST + 1} is no event" in refused(text[:-9], tmp_path / "new")


def test_a_dropped_a_swapped_and_a_doubled_line_are_refused(text: bytes, tmp_path: Path) -> None:
    lines = text.splitlines(keepends=True)
    for name, other in (
        ("dropped", lines[:14] + lines[15:]),
        ("swapped", [*lines[:14], lines[15], lines[14], *lines[16:]]),
        ("doubled", lines[:15] + lines[14:]),
    ):
        said = refused(b"".join(other), tmp_path / name)
        assert f"the chain does not hold at position {15 if name == 'doubled' else 14}" in said


def test_more_than_line_1_says_is_refused(text: bytes, tmp_path: Path) -> None:
    lines = text.splitlines(keepends=True)
    header = lines[0].replace(b'"position":36', b'"position":35')
    assert "line 1 says 35" in refused(header + b"".join(lines[1:]), tmp_path / "new")


@settings(max_examples=60, deadline=None)
@given(at=strategies.integers(0, 10**9), by=strategies.integers(1, 255))
def test_with_any_byte_changed_it_is_refused(whole: Path, at: int, by: int) -> None:
    with memory_folder() as made:
        run("export", made / "log", "--data-dir", whole)
        changed = bytearray((made / "log").read_bytes())
        changed[at % len(changed)] ^= by
        refused(bytes(changed), made / "new")


@pytest.mark.parametrize("name", ["a tenant", "a link", "dropped", "swapped"])
def test_a_log_whose_chain_does_not_hold_is_not_written_out(
    whole: Path, folder: Path, name: str, tmp_path: Path
) -> None:
    harmed(whole, folder, HARMS[name].do)
    done = run("export", tmp_path / "log", "--data-dir", folder)
    assert done.exit_code == 1
    assert "the chain does not hold at position 14" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_as_it_is(text: bytes, whole: Path, folder: Path) -> None:
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    done = run("import", "-", "--data-dir", folder, stdin=text)
    assert done.exit_code == 2
    assert "is not empty" in done.output
    assert dump(folder / "events.db") == dump(whole / "events.db")


def test_what_a_killed_import_left_is_no_hindrance(text: bytes, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for suffix in ("", "-wal", "-shm"):
        (new / f"events.db.half{suffix}").write_bytes(b"x" * 5_000)
    assert run("import", "-", "--data-dir", new, stdin=text).exit_code == 0
    assert [path.name for path in new.iterdir()] == ["events.db"]


def test_beside_a_server_it_goes_as_far_as_the_log_was(folder: Path) -> None:
    desk = Desk(make(folder))
    desk.append(50, is_heard=False)
    assert len(run("export", "-", "--data-dir", folder).stdout_bytes.splitlines()) == 1 + LAST + 50
    desk._close_files()


def test_where_there_is_no_log_that_is_said(tmp_path: Path) -> None:
    done = run("export", "-", "--data-dir", tmp_path)
    assert done.exit_code == 2
    assert "events.db" in done.output


def test_what_commands_were_answered_stays_behind(folder: Path, tmp_path: Path) -> None:
    desk = Desk(make(folder))
    desk.log.begin()
    desk.log.remember(b"i" * 32, b"f" * 32, 2, 3, 5, b"sealed")
    desk.log.commit()
    desk._close_files()
    run("export", tmp_path / "log", "--data-dir", folder)
    run("import", tmp_path / "log", "--data-dir", tmp_path / "new")
    db = apsw.Connection(str(tmp_path / "new" / "events.db"))
    assert db.execute("SELECT count(*) FROM command").get == 0
    db.close()
