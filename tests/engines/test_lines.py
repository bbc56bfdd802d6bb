"""Bytes become lines, whatever pieces they come in, and no line and no stream takes more memory than it may."""

import asyncio
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahplat import limits
from ahplat.engines.container_logs import Messages
from ahplat.engines.engine import LogLine
from ahplat.engines.frames import Frames
from ahplat.engines.handover import Handover
from ahplat.engines.lines import Kept, Lines
from ahplat.errors import EngineAway, Unavailable

AT = b"2026-11-25T02:03:14.123456789Z "
AT_NS = 1_795_572_194_123_456_789


def cut(*pieces: bytes) -> list[bytes]:
    """The texts of all lines, the last one too."""
    lines = Lines()
    found = [line for n, piece in enumerate(pieces) for line in lines.add(piece, n)]
    return [line.text for line in found + lines.end()]


def pieces_of(whole: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes in pieces."""
    at = sorted({0, len(whole), *(n % (len(whole) + 1) for n in cuts)})
    return [whole[a:b] for a, b in pairwise(at)]


def framed(kind: int, text: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    ("whole", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\r\ntwo\r\n", [b"one", b"two"]),
        (b"10%\r20%\rdone\n", [b"10%\r20%\rdone"]),
        (b"prompt> ", [b"prompt> "]),
        (b"a\n\n\nb", [b"a", b"", b"", b"b"]),
        ("ü\n€".encode(), ["ü".encode(), "€".encode()]),
    ],
)
def test_a_line_ends_with_lf_or_cr_lf(whole: bytes, lines: list[bytes]) -> None:
    assert cut(whole) == lines
    assert cut(*(bytes([byte]) for byte in whole)) == lines


@given(st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)), st.lists(st.integers(0, 99)))
def test_how_the_bytes_come_changes_nothing(lines: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    assert cut(*pieces_of(whole, cuts)) == [line.removesuffix(b"\r") for line in lines]


def test_a_line_has_the_time_of_its_beginning() -> None:
    lines = Lines()
    assert lines.add(b"one\ntw", 1) == [LogLine(1, b"one")]
    assert lines.add(b"o\nthree\n", 2) == [LogLine(1, b"two"), LogLine(2, b"three")]


def test_a_long_line_is_cut_and_says_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_LINE_BYTES", 4)
    assert cut(b"abcd\nabcdef\nxy\n") == [b"abcd", b"abcd [cut: 2 more bytes]", b"xy"]


def test_of_a_line_without_end_no_more_is_held_than_its_bound() -> None:
    lines = Lines()
    for _ in range(200):
        assert lines.add(b"x" * 65_536, 0) == []
    assert len(lines._held) == limits.LOG_LINE_BYTES
    [line] = lines.add(b"\n", 0)
    assert len(line.text) < limits.LOG_LINE_BYTES + 50


def test_of_an_output_the_beginning_is_kept_and_the_rest_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXEC_OUTPUT_BYTES", 5)
    kept = Kept()
    for piece in (b"abc", b"def", b"ghi"):
        kept.add(piece)
    assert (kept.content, kept.dropped) == (b"abcde", 4)


# frames


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=9))), st.lists(st.integers(0, 200)))
def test_frames_come_out_as_they_were_put_in(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    frames = Frames()
    whole = b"".join(framed(kind, text) for kind, text in sent)
    assert [one for piece in pieces_of(whole, cuts) for one in frames.add(piece)] == sent


def test_a_frame_that_nobody_makes_is_a_fault_and_not_a_gigabyte() -> None:
    with pytest.raises(Unavailable, match="engine_error"):
        Frames().add(b"\1\0\0\0\xff\xff\xff\xff")


def test_messages_of_stdout_and_stderr_are_cut_apart() -> None:
    messages = Messages()
    full = b"x" * 16_384
    sent = framed(1, AT + full) + framed(2, AT + b"meanwhile\n") + framed(1, AT + b" and the rest\n")
    assert messages.add(sent) == [LogLine(AT_NS, b"meanwhile"), LogLine(AT_NS, full + b" and the rest")]
    assert messages.end() == []


@pytest.mark.parametrize("rest", [b"", b"the rest"])
def test_a_long_line_ends_with_the_message_that_is_not_full_also_where_docker_lost_its_end(rest: bytes) -> None:
    messages = Messages()
    full = b"x" * 16_384
    sent = b"".join(framed(1, AT + text) for text in (full, full, rest, b"next\n"))
    assert [line.text for line in messages.add(sent)] == [full + full + rest, b"next"]


def test_what_docker_tells_twice_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_REPEATS", 3)
    messages = Messages()
    one, two = framed(1, AT + b"one\n"), framed(1, AT.replace(b"9Z", b"8Z") + b"one\n")
    assert [line.text for line in messages.add(one + two + one + two)] == [b"one", b"one"]
    for n in range(10):
        messages.add(framed(1, AT + b"%d\n" % n))
    assert len(messages._told) == 3


def test_a_message_without_an_end_is_told_at_the_end() -> None:
    messages = Messages()
    full = b"x" * 16_384
    assert messages.add(framed(1, AT + full)) == []
    assert messages.end() == [LogLine(AT_NS, full)]


# from the thread that reads to the loop


def reading(handover: Handover, bunches: list[list[LogLine]], fault: Exception | None = None) -> list[bool]:
    """A thread that reads all of this; what it was told of each bunch."""
    told: list[bool] = []

    def read() -> None:
        told.extend(handover.put(bunch) for bunch in bunches)
        handover.end(fault)

    threading.Thread(target=read, daemon=True).start()
    return told


async def test_what_is_handed_over_comes_in_order_and_ends() -> None:
    handover = Handover()
    bunches = [[LogLine(n, b"x" * 70_000)] for n in range(50)]
    reading(handover, bunches)
    taken = []
    while (bunch := await handover.take()) is not None:
        taken.append(bunch)
    assert taken == bunches


async def test_a_reader_that_takes_nothing_stops_the_thread_and_lets_it_go_with_it() -> None:
    handover = Handover()
    told = reading(handover, [[LogLine(n, b"x" * 70_000)] for n in range(50)])
    await handover.take()
    async with asyncio.timeout(5):
        while len(told) < 2:
            await asyncio.sleep(0.001)
    for _ in range(20):  # it would have gone on by now
        await asyncio.sleep(0.001)
    assert len(told) <= 2 + limits.LOG_AHEAD_BYTES // 70_000
    handover.leave()
    async with asyncio.timeout(5):
        while len(told) < 50:
            await asyncio.sleep(0.001)
    assert told[-1] is False


async def test_what_cut_the_reading_short_is_told_after_the_last_bunch() -> None:
    handover = Handover()
    reading(handover, [[LogLine(1, b"x")]], EngineAway("gone"))
    assert await handover.take() == [LogLine(1, b"x")]
    with pytest.raises(EngineAway):
        await handover.take()
