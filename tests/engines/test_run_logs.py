"""The log of an embedded instance is one stream, wherever it begins and however often its files are turned over."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahplat import limits
from ahplat.engines import run_logs
from ahplat.engines.engine import LogLine
from ahplat.engines.run_logs import RunLog
from ahplat.engines.shim import Log  # ours to test, though nothing else of ours imports it
from tests.folders import memory_folder


def all_of(log: RunLog) -> list[bytes]:
    """The texts that can be read now."""
    found: list[LogLine] = []
    while (bunch := log.read()) is not None:
        found += bunch
    return [line.text for line in found]


def written(folder: Path, *chunks: bytes, limit_bytes: int = 1_000_000) -> Log:
    """A log into which these were written."""
    log = Log(f"{folder}/log", limit_bytes, limits.EMBEDDED_LOG_FILES)
    for chunk in chunks:
        log.write(chunk)
    return log


def test_each_line_has_the_time_of_its_beginning(tmp_path: Path) -> None:
    log = written(tmp_path, b"one\ntw", b"o\nthree")
    reader = RunLog(tmp_path, None)
    lines = reader.read() or []
    assert [line.text for line in lines] == [b"one", b"two"]
    assert 0 < lines[0].at_ns == lines[1].at_ns
    assert [line.text for line in reader.rest()] == [b"three"]
    log.write(b"\n")
    reader.close()


def test_what_an_earlier_start_left_without_an_end_gets_one(tmp_path: Path) -> None:
    written(tmp_path, b"cut off")
    written(tmp_path, b"again\n")
    assert all_of(RunLog(tmp_path, None)) == [b"cut off", b"again"]


@pytest.mark.parametrize("tail", [0, 1, 2, 3, 9, 10, 11, 100])
@pytest.mark.parametrize("limit_bytes", [1_000_000, 90, 60])
def test_a_tail_is_the_last_lines_over_all_files(tmp_path: Path, tail: int, limit_bytes: int) -> None:
    written(tmp_path, *(b"line %d\n" % n for n in range(10)), limit_bytes=limit_bytes)
    there = all_of(RunLog(tmp_path, None))
    assert there[-1] == b"line 9"
    assert all_of(RunLog(tmp_path, tail)) == there[len(there) - min(tail, len(there)) :]


def test_a_tail_goes_back_over_more_than_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_logs, "CHUNK_BYTES", 16)
    written(tmp_path, *(b"line %d\n" % n for n in range(20)), b"no end")
    reader = RunLog(tmp_path, 5)
    assert all_of(reader) == [b"line 16", b"line 17", b"line 18", b"line 19"]
    assert [line.text for line in reader.rest()] == [b"no end"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"a\n", b"bc\nd", b"e\n\n", b"f" * 40 + b"\n"]), max_size=40), st.integers(1, 5))
def test_who_keeps_up_misses_nothing_when_files_are_turned_over(chunks: list[bytes], every: int) -> None:
    with memory_folder() as folder:
        log = Log(f"{folder}/log", 100, limits.EMBEDDED_LOG_FILES)
        reader = RunLog(folder, None)
        found: list[bytes] = []
        for n, chunk in enumerate(chunks):
            log.write(chunk)
            if n % min(every, 2) == 0:  # two writes turn it over at most twice
                found += all_of(reader)
        found += all_of(reader)
        found += [line.text for line in reader.rest()]
        reader.close()
        whole = b"".join(chunks)
        assert found == [] if not whole else found == whole.removesuffix(b"\n").split(b"\n")


def test_who_is_too_slow_reads_on_with_the_oldest_that_is_left(tmp_path: Path) -> None:
    log = written(tmp_path, b"first\n", limit_bytes=60)
    reader = RunLog(tmp_path, None)
    assert all_of(reader) == [b"first"]
    for n in range(1, 31):
        log.write(b"line %d\n" % n)
    left = all_of(RunLog(tmp_path, None))
    assert (b"line 10" in left, left[-1]) == (False, b"line 30")
    assert all_of(reader) == [b"line 1", *left]  # the file that it had open, and all that there is
