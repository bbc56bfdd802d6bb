"""What a build says, as it is kept: lines, whole and clean, bounded, sealed, and read on from any of them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ahplat import limits
from ahplat.builders.build_logs import BuildLogs, Line
from ahplat.builders.lines import CUT, Splitter, clean
from ahplat.builders.workplace import Said
from ahplat.errors import Unreadable
from ahplat.sealing import Keyring
from tests.folders import memory_folder

TENANT, BUILD = "a" * 32, "7" * 32


@pytest.fixture
def folder() -> Iterator[Path]:
    with memory_folder() as made:
        yield made


@pytest.fixture
def keyring(folder: Path) -> Iterator[Keyring]:
    keyring = Keyring(folder / "keys.db", bytes(32))
    keyring.create(TENANT)
    yield keyring
    keyring.close()


@pytest.fixture
def logs(folder: Path, keyring: Keyring) -> BuildLogs:
    return BuildLogs(folder / "buildlogs", keyring)


def read(logs: BuildLogs, after: int = 0) -> list[Line]:
    lines: list[Line] = []
    offset = 0
    while True:
        found, offset = logs.read(TENANT, BUILD, after, offset)
        if not found:
            return lines
        lines += found


def test_lines_are_numbered_through_all_steps(logs: BuildLogs) -> None:
    for text in (b"one\ntwo\n", b"three"):
        with logs.open(TENANT, BUILD, []) as log:
            log.hear(text)
    assert [(line.number, line.text) for line in read(logs)] == [(1, "one"), (2, "two"), (3, "three")]


def test_a_line_comes_whole_however_it_was_cut(logs: BuildLogs) -> None:
    with logs.open(TENANT, BUILD, []) as log:
        for byte in "grüße\nwelt\n".encode():
            log.hear(bytes([byte]))
    assert [line.text for line in read(logs)] == ["grüße", "welt"]


@pytest.mark.parametrize("after", range(12))
def test_whoever_reads_on_from_a_line_gets_every_later_one_once(logs: BuildLogs, after: int) -> None:
    with logs.open(TENANT, BUILD, []) as log:
        for start in range(0, 10, 3):
            log.hear("".join(f"{n}\n" for n in range(start, min(10, start + 3))).encode())
    assert [line.number for line in read(logs, after)] == list(range(after + 1, 11))


def test_what_is_stored_is_sealed_and_goes_with_the_tenants_key(logs: BuildLogs, keyring: Keyring) -> None:
    with logs.open(TENANT, BUILD, []) as log:
        log.hear(b"confidential\n")
    assert b"confidential" not in logs.path(TENANT, BUILD).read_bytes()
    keyring.destroy(TENANT)
    with pytest.raises(Unreadable):
        read(logs)


def test_a_record_that_was_half_written_is_cut_off_by_the_next(logs: BuildLogs) -> None:
    with logs.open(TENANT, BUILD, []) as log:
        log.hear(b"one\n")
        log.hear(b"two\n")
    whole = logs.path(TENANT, BUILD).read_bytes()
    for size in range(len(whole) // 2 + 1, len(whole)):
        logs.path(TENANT, BUILD).write_bytes(whole[:size])
        assert [line.text for line in read(logs)] == ["one"]
        with logs.open(TENANT, BUILD, []) as log:
            log.hear(b"again\n")
        assert [(line.number, line.text) for line in read(logs)] == [(1, "one"), (2, "again")]


def test_of_too_much_the_head_and_the_last_lines_are_kept(logs: BuildLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUILD_LOG_BYTES", 1_000)
    with logs.open(TENANT, BUILD, []) as log:
        for n in range(1, 5_001):
            log.hear(f"line {n}\n".encode())
    lines = read(logs)
    said = [line for line in lines if line.text.startswith("line")]
    assert all(line.text == f"line {line.number}" for line in said)
    assert [line.number for line in said[-500:]] == list(range(4_501, 5_001))
    left_out = 5_000 - len(said)
    (told,) = [line for line in lines if line not in said]
    assert (told.number, f"{left_out} lines left out" in told.text) == (4_500, True)
    assert [line.number for line in lines] == sorted({line.number for line in lines})


def test_a_gigabyte_costs_no_more_than_its_bounds(logs: BuildLogs) -> None:
    chunk = b"x" * 100 + b"\n"
    with logs.open(TENANT, BUILD, []) as log:
        for _ in range(200):
            log.hear(chunk * 600)  # 12 MB in all
    assert logs.path(TENANT, BUILD).stat().st_size < limits.BUILD_LOG_BYTES + limits.BUILD_LOG_TAIL_BYTES * 2


def test_a_line_without_an_end_is_cut_and_no_stall() -> None:
    splitter = Splitter()
    lines = [line for _ in range(100) for line in splitter.feed(b"x" * 100_000)]
    assert len(lines) == 1
    assert lines[0].endswith(CUT.encode())
    assert len(lines[0]) == limits.BUILD_LINE_BYTES + len(CUT.encode())
    assert splitter.feed(b"still the same\nthe next\n") == [b"the next"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"plain", "plain"),
        (b"\x1b[1;32mgreen\x1b[0m", "green"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"50%\r100%\r", "100%"),
        (b"bell\x07 nul\x00 del\x7f", "bell nul del"),
        (b"tab\tstays", "tab\tstays"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("next\u2028line\x85".encode(), "nextline"),
        (b"my hunter22 and sw0rdfish!", "my ******** and ********"),
        (b"hun\x1b[0mter22", "********"),
    ],
)
def test_a_line_is_clean(said: bytes, kept: str) -> None:
    assert clean(said, ["sw0rdfish!", "hunter22"]) == kept


async def test_who_waits_is_woken_by_more(logs: BuildLogs) -> None:
    wake = asyncio.Event()
    with logs.listening(BUILD, wake), logs.open(TENANT, BUILD, []) as log:
        log.hear(b"no whole line")
        assert not wake.is_set()
        log.hear(b"\n")
        assert wake.is_set()
    assert not logs._listeners


def test_of_what_a_program_says_the_end_is_kept_for_its_failure() -> None:
    said = Said(10)
    for piece in (b"once upon a time", b" it", b" failed"):
        said.hear(piece)
    assert (said.text, said.is_whole) == (" it failed", False)


def test_what_is_no_more_than_that_is_whole() -> None:
    said = Said(10)
    said.hear(b"0123456789")
    assert (said.text, said.is_whole) == ("0123456789", True)
