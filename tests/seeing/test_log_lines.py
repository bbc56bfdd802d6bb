"""The form of the server's log."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
from msgspec import Struct

from ahplat.log_lines import Kind, Lines, about, nobodys


class Whose(Struct, frozen=True):
    """A request, as a line sees it."""

    request_id: str = "r1"
    position: int = 7
    tenant_id: str = "t1"
    traceparent: str = ""


Say = Callable[[Kind], tuple[logging.Logger, io.StringIO]]


@pytest.fixture
def say() -> Iterator[Say]:
    """A logger of that form, and what it said."""
    logger = logging.Logger("ahplat.test")

    def made(kind: Kind) -> tuple[logging.Logger, io.StringIO]:
        stream = io.StringIO()
        logger.handlers = [Lines(kind, stream)]
        return logger, stream

    yield made
    about.set(None)


def test_a_line_as_json_has_what_is_known_and_nothing_else(say: Say) -> None:
    logger, stream = say("json")
    logger.warning("the disk is %d %% full", 81)
    about.set(Whose())
    logger.info("here")
    alone, owned = map(json.loads, stream.getvalue().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", alone.pop("time"))
    assert alone == {"level": "warning", "logger": "ahplat.test", "message": "the disk is 81 % full"}
    assert (owned["request_id"], owned["position"], owned["tenant"]) == ("r1", 7, "t1")
    assert "traceparent" not in owned


def test_a_line_for_people_ends_with_what_it_belongs_to(say: Say) -> None:
    logger, stream = say("human")
    about.set(Whose(traceparent="00-a-b-01"))
    logger.info("here")
    assert stream.getvalue().endswith(
        "Z info    ahplat.test: here (request r1, position 7, tenant t1, trace 00-a-b-01)\n"
    )


@pytest.mark.parametrize("kind", ["human", "json"])
def test_nothing_that_comes_from_outside_begins_a_line(say: Say, kind: Kind) -> None:
    logger, stream = say(kind)
    logger.info("%s", "a\n2026 info ahplat: forged\r\x1b[2J\u2028\x85end")
    line, end = stream.getvalue().split("\n")
    assert not end and "\x1b" not in line and "\r" not in line


def test_a_traceback_is_one_field_as_json_and_follows_for_people(say: Say) -> None:
    for kind in ("json", "human"):
        logger, stream = say(kind)
        try:
            raise ValueError("inside")
        except ValueError:
            logger.exception("it broke")
        first, *rest = stream.getvalue().splitlines()
        if kind == "json":
            assert json.loads(first)["error"].startswith("Traceback") and not rest
        else:
            assert first.endswith("it broke") and rest[-1] == "ValueError: inside"


def test_a_record_that_says_what_it_is_about_is_believed(say: Say) -> None:
    logger, stream = say("json")
    about.set(Whose("r1"))
    logger.info("here", extra={"about": Whose("r2")})
    assert json.loads(stream.getvalue())["request_id"] == "r2"


async def test_what_goes_on_for_all_is_not_about_who_began_it(say: Say) -> None:
    logger, stream = say("json")
    about.set(Whose())
    with nobodys():
        begun = asyncio.get_running_loop().create_task(asyncio.to_thread(logger.info, "for all"))
    logger.info("for one")
    await begun
    owned = {line["message"]: "request_id" in line for line in map(json.loads, stream.getvalue().splitlines())}
    assert owned == {"for all": False, "for one": True}
