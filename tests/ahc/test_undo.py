"""`ahc undo`: what would be done is shown before anybody is asked, and only that is done."""

import json

from ahplat.ahc.failures import CONFLICT, OK, USAGE
from tests.ahc.desk import Desk, Several, problem

PATH = "/v1/events/7/undo"
PLAN = {"events": [{"type": "service.env_set"}], "destroys": [], "version": 3, "etag": '"1.3"'}
DONE = {
    "position": 7,
    "undoes": {"name": "SetEnv", "first_position": 7, "last_position": 7},
    "command": "PutEnvBack",
    "event_position": 9,
}


def test_it_is_done_once_and_says_what_undoes_it_again() -> None:
    desk = Desk({f"POST {PATH}": DONE})
    done = desk.run("undo", "7", "--yes")
    assert (done.code, done.out) == (OK, "SetEnv is undone by PutEnvBack, up to position 9\n")
    assert desk.lines == [f"POST {PATH}"]
    assert desk.asked[0].headers["Prefer"] == "wait=30" and "Idempotency-Key" in desk.asked[0].headers
    assert json.loads(desk.run("undo", "7", "--yes", "--json", "--no-wait").out) == DONE
    assert "Prefer" not in desk.asked[1].headers


def test_a_dry_run_does_nothing() -> None:
    desk = Desk({f"POST {PATH}": PLAN})
    done = desk.run("undo", "7", "--dry-run")
    assert (done.code, [str(one.url.query) for one in desk.asked]) == (OK, ["b'dry_run=true'"])
    assert "would record service.env_set" in done.out


def test_who_cannot_be_asked_is_shown_the_plan_and_has_to_say_yes() -> None:
    desk = Desk({f"POST {PATH}": Several(PLAN, DONE)})
    done = desk.run("undo", "7")
    assert done.code == USAGE and "--yes" in done.err and "would record service.env_set" in done.out
    assert len(desk.asked) == 1


def test_why_not_is_told() -> None:
    desk = Desk({f"POST {PATH}": problem(409, "undo_stale", moved_by=8)})
    done = desk.run("undo", "7", "--yes")
    assert done.code == CONFLICT and "it is undo_stale" in done.err
