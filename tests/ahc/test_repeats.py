"""What `ahc` asks for again, how often, and what it says when that does not help."""

import httpx
import pytest

from ahplat.ahc.client import PATIENCE_S, TRIES
from tests.ahc.desk import WEB, Desk, Several, problem

STOP = f"POST /v1/services/{WEB['id']}/stop"
ANSWERS = {"GET /v1/services": [WEB], f"GET /v1/services/{WEB['id']}": WEB | {"status": "stopped"}}
LOST = httpx.ReadError("gone")
AWAY = httpx.ConnectError("refused")


def stopping(*answers: object) -> Desk:
    return Desk(ANSWERS | {STOP: Several(*answers, {"status": "stopped"})})


def keys(desk: Desk) -> list[str]:
    return [request.headers["Idempotency-Key"] for request in desk.asked if request.method == "POST"]


@pytest.mark.parametrize(
    "first",
    [
        LOST,
        AWAY,
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("cut"),
        problem(429, "rate_limited", retryable=True),
        problem(503, "stopping", retryable=True),
        problem(500, "outcome_unknown", retryable=True),
        problem(409, "idempotency_in_flight", retryable=True),
        httpx.Response(502, text="a proxy's own words"),
    ],
    ids=str,
)
def test_a_command_is_asked_for_again_with_its_key(first: object) -> None:
    desk = stopping(first, first)
    assert desk.run("stop", "web").code == 0
    assert len(keys(desk)) == 3
    assert len(set(keys(desk))) == 1
    assert len(desk.slept) == 2
    assert 0.1 < desk.slept[0] <= 0.25 < 0.5 >= desk.slept[1]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(401, "key_revoked"), 3),
        (problem(403, "forbidden_scope"), 3),
        (problem(404, "service_not_found"), 4),
        (problem(409, "quota_exceeded"), 5),
        (problem(412, "precondition_failed"), 5),
        (problem(422, "idempotency_mismatch"), 5),
        (problem(400, "validation_failed"), 2),
        (problem(503, "disk_full", retryable=True, retry_after="60"), 6),
        (problem(503, "builds_unavailable"), 6),
        (problem(500, "internal"), 1),
        (httpx.Response(301, headers={"Location": "https://elsewhere.test/"}), 2),
        (httpx.Response(404, text="<html>"), 2),
    ],
    ids=lambda value: str(value),
)
def test_what_cannot_help_is_not_asked_for_again_and_has_an_exit_code_by_its_kind(
    answer: httpx.Response, code: int
) -> None:
    desk = stopping(answer)
    done = desk.run("stop", "web")
    assert (done.code, done.out, len(keys(desk)), desk.slept) == (code, "", 1, [])
    assert 1 <= len(done.err.splitlines()) <= 2
    assert done.err.startswith("ahc: ")


def test_a_deployment_whose_build_was_refused_can_be_had_again_with_its_key() -> None:
    replayed = {"Idempotency-Replayed": "true"}
    build = {"id": "b" * 32, "status": "pending"}
    desk = Desk(
        {
            "GET /v1/services": [],
            "POST /v1/services": Several(
                httpx.Response(201, json=WEB, headers=replayed), httpx.Response(201, json=WEB)
            ),
            f"DELETE /v1/services/{WEB['id']}": httpx.Response(204, headers=replayed),
            f"POST /v1/services/{WEB['id']}/builds": httpx.Response(202, json=build),
        }
    )
    done = desk.run("deploy", "https://github.com/acme/web", "web", "--no-wait", "--idempotency-key", "K")
    assert done.code == 0, done.err
    assert keys(desk) == ['"K"', '"K+"', '"K+"']


def test_a_service_that_somebody_else_removed_is_not_made_again_by_a_repeat() -> None:
    replayed = httpx.Response(201, json=WEB, headers={"Idempotency-Replayed": "true"})
    gone = problem(404, "service_not_found")
    desk = Desk({"GET /v1/services": [], "POST /v1/services": replayed, f"DELETE /v1/services/{WEB['id']}": gone})
    done = desk.run("deploy", "https://github.com/acme/web", "web", "--idempotency-key", "K")
    assert (done.code, len(keys(desk))) == (4, 1)


GONE = {"resource_id": "b" * 32, "resource_name": "web"}
NOT_FOUND = problem(404, "service_not_found")


def deleting(*gone: dict[str, str], **answers: object) -> Desk:
    """A server where `web` is, and was deleted before."""
    first = {f"DELETE /v1/services/{letter * 32}": answer for letter, answer in answers.items()}
    return Desk({"GET /v1/services": [WEB], "GET /v1/activity": list(gone), **first})


def test_a_deletion_that_is_repeated_gets_the_first_answer_though_its_name_is_gone() -> None:
    for known in ("web", "b" * 32):
        desk = deleting(GONE, b=httpx.Response(204, headers={"Idempotency-Replayed": "true"}))
        desk.answers["GET /v1/services"] = []
        done = desk.run("delete", known, "--json", "--idempotency-key", "again")
        assert (done.code, done.json) == (0, {"id": "b" * 32, "status": "deleted"})
        assert desk.lines == ["GET /v1/activity", f"DELETE /v1/services/{'b' * 32}"]
        assert desk.asked[-1].headers["Idempotency-Key"] == '"again"'


def test_a_repeated_deletion_leaves_alone_what_has_the_name_by_now() -> None:
    other = {"resource_id": "c" * 32, "resource_name": "web"}
    desk = deleting(other, GONE, c=NOT_FOUND, b=httpx.Response(204))
    assert desk.run("delete", "web", "--yes", "--idempotency-key", "again").code == 0
    assert [line for line in desk.lines if "DELETE" in line] == [f"DELETE /v1/services/{x * 32}" for x in "cb"]


def test_a_deletion_that_never_came_is_done_by_its_repeat_and_one_of_nothing_is_not_found() -> None:
    elsewhere = {"resource_id": "d" * 32, "resource_name": "other"}
    for told in ([GONE, elsewhere], problem(403, "forbidden_scope")):
        desk = deleting(b=NOT_FOUND, a=httpx.Response(204))
        desk.answers["GET /v1/activity"] = told
        assert desk.run("delete", "web", "--yes", "--idempotency-key", "again").code == 0
        assert desk.lines[-1] == f"DELETE /v1/services/{WEB['id']}"
        desk.answers["GET /v1/services"] = []
        assert desk.run("delete", "web", "--yes", "--idempotency-key", "again").code == 4
    desk = deleting(GONE, a=httpx.Response(204))
    assert desk.run("delete", "web", "--yes").code == 0  # a first time asks nothing of the past
    assert "GET /v1/activity" not in desk.lines


def test_a_database_that_was_deleted_is_not_purged_by_a_repeat() -> None:
    data = {"id": "e" * 32, "name": "data"}
    for more, asked in (([], ["f", "e"]), (["--purge"], ["e"])):
        answers = {f"DELETE /v1/databases/{'f' * 32}": problem(404, "database_not_found")}
        answers |= {f"DELETE /v1/databases/{'e' * 32}": httpx.Response(204)}
        gone = {"resource_id": "f" * 32, "resource_name": "data"}
        desk = Desk({"GET /v1/databases": [data], "GET /v1/activity": [gone], **answers})
        assert desk.run("db", "delete", "data", "--yes", "--idempotency-key", "again", *more).code == 0
        assert [line for line in desk.lines if "DELETE" in line] == [f"DELETE /v1/databases/{x * 32}" for x in asked]


def test_retry_after_is_waited_for() -> None:
    desk = stopping(problem(429, "rate_limited", retryable=True, retry_after="7"))
    assert desk.run("stop", "web").code == 0
    assert desk.slept == [7.0]


def test_nobody_waits_longer_than_patience_has() -> None:
    desk = stopping(*[problem(503, "overloaded", retryable=True, retry_after="25")] * 9)
    assert desk.run("stop", "web").code == 6
    assert desk.slept == [25.0, 25.0]
    assert sum(desk.slept) <= PATIENCE_S


def test_a_server_that_stays_away_is_unavailable_and_nothing_was_done() -> None:
    desk = stopping(*[AWAY] * TRIES)
    done = desk.run("stop", "web")
    assert (done.code, len(keys(desk))) == (6, TRIES)
    assert "does not answer" in done.err


def test_an_answer_that_stays_lost_is_unknown_and_its_failure_says_with_what_key_to_repeat() -> None:
    desk = stopping(LOST, *[AWAY] * TRIES)
    done = desk.run("stop", "web", "--json")
    assert done.code == 7
    key = done.json["idempotency_key"]
    assert f"--idempotency-key {key}" in done.json["remediation"]["why"]
    again = stopping()
    assert again.run("stop", "web", "--idempotency-key", key).code == 0
    assert keys(again) == keys(desk)[:1] == [f'"{key}"']


def test_reads_are_asked_for_again_too_and_their_loss_leaves_nothing_unknown() -> None:
    assert Desk({"GET /v1/services": Several(LOST, [WEB])}).run("services").code == 0
    assert Desk({"GET /v1/services": LOST}).run("services").code == 6


def test_each_invocation_has_a_key_of_its_own() -> None:
    first, second = stopping(), stopping()
    first.run("stop", "web")
    second.run("stop", "web")
    assert keys(first) != keys(second)


def test_lists_are_read_to_their_end() -> None:
    pages = {
        None: httpx.Response(200, json=[WEB], headers={"Link": '</v1/services?limit=200&cursor=c>; rel="next"'}),
        "c": httpx.Response(200, json=[WEB | {"name": "other", "id": "b" * 32}]),
    }
    desk = Desk({"GET /v1/services": lambda request: pages[request.url.params.get("cursor")]})
    assert [one["name"] for one in desk.run("services", "--json").json] == ["web", "other"]


def test_the_key_goes_to_no_other_server() -> None:
    desk = stopping(httpx.Response(307, headers={"Location": "https://elsewhere.test/"}))
    done = desk.run("stop", "web")
    assert {request.url.host for request in desk.asked} == {"server.test"}
    assert "elsewhere.test" in done.err
