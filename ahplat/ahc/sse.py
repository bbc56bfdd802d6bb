"""Server-sent events (HTML Living Standard, 9.2), from lines to frames; and how a stream is followed through lost connections."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpx
from msgspec import Struct

from ahplat.ahc.client import TRIES, Client, delay_s
from ahplat.ahc.failures import UNAVAILABLE, Failure


class Frame(Struct, frozen=True):
    """One event. `id` is the last that was named."""

    event: str
    data: str
    id: str


def frames(lines: Iterable[str], last_id: str = "") -> Iterator[Frame]:
    """The frames in a stream; one without data only moves the id on, which the next one shows, or an empty one.

    >>> list(frames(["id: 7", "event: line", "data: a", "data: b", "", ": ping", "id: 8", ""]))
    [Frame(event='line', data='a\\nb', id='7'), Frame(event='', data='', id='8')]
    """
    event, data, before = "message", list[str](), last_id
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                last_id = value
            continue
        if data:
            yield Frame(event, "\n".join(data), last_id)
        elif last_id != before:
            yield Frame("", "", last_id)
        event, data, before = "message", [], last_id


def _is_over(frame: Frame) -> bool:
    """Whether nothing more will come. A server that stops closes the stream, and the next one goes on with it."""
    found = json.loads(frame.data)
    return not (isinstance(found, dict) and found.get("reason") == "closed")


def follow(
    client: Client,
    path: str,
    query: Mapping[str, Any],
    *,
    sleep: Callable[[float], None],
    tell: Callable[[str], None],
    last_id: str = "",
    once: bool = False,
) -> Iterator[Frame]:
    """Frames with data, from `last_id` on, without a gap through whatever breaks a connection.

    Not past one named `end`, unless the server only says that it stops; with `once` as far as the server has any.

    Raises Failure, also where the server stays away.
    """
    failures = 0
    while True:
        fields = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        why = "the stream ended"
        try:
            with client.opened(path, query, fields) as answer:
                for frame in frames(answer.iter_lines(), last_id):
                    failures, last_id = 0, frame.id
                    if frame.event == "end" and _is_over(frame):
                        return
                    if frame.event not in ("", "end"):
                        yield frame
            if once:
                return
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
        except Failure as failure:
            if failure.code != UNAVAILABLE:
                raise
            why = failure.what
        except ValueError as error:
            raise Failure(UNAVAILABLE, f"{client.url} sends what cannot be read: {error}") from error
        failures += 1
        if failures == TRIES:
            raise Failure(
                UNAVAILABLE, f"{client.url} cannot be followed any more: {why}", "look again with the same command"
            )
        wait_s = delay_s(failures - 1, None)
        tell(f"{why}; going on in {wait_s:.1f} s")
        sleep(wait_s)
