"""What holds for every answer: its form, its header fields, and that whatever goes wrong is a problem (RFC 9457)."""

import json
import logging
import re
from pathlib import Path

import pytest

from ahplat import limits
from ahplat.api import call as calls
from ahplat.errors import Unavailable
from tests.api.site import Site, Tenant, a_site

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID = "[0-9a-f]{32}"


async def test_an_answer_is_compact_json_and_names_its_request(site: Site, acme: Tenant) -> None:
    await acme.service()
    for path in ("/v1/services", "/v1/tenant", "/v1/whoami", "/v1/system/health", "/v1/tenant/usage", "/v1/auth/keys"):
        answer = await acme.get(path)
        assert answer.status == 200
        assert answer.body == json.dumps(answer.json, separators=(",", ":")).encode()
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert re.fullmatch(ID, answer.headers["X-Request-Id"])


async def test_a_sane_request_id_is_the_answers_and_the_events(site: Site, acme: Tenant) -> None:
    answer = await acme.post("/v1/services", {"name": "web"}, X_Request_Id="run-7.a_B")
    assert answer.headers["X-Request-Id"] == "run-7.a_B"
    events = (await acme.get("/v1/events?type=service.created", Accept="application/json")).json
    assert [event["correlation"] for event in events] == ["run-7.a_B"]


@pytest.mark.parametrize("insane", ["a b", "x" * 65, "ä", "<script>"])
async def test_any_other_request_id_is_replaced(site: Site, insane: str) -> None:
    answer = await site.anybody.get("/v1/nowhere", X_Request_Id=insane)
    assert re.fullmatch(ID, answer.headers["X-Request-Id"])
    assert answer.code == "not_found"


async def test_the_trace_of_a_request_is_kept_in_its_events(site: Site, acme: Tenant) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await acme.post("/v1/services", {"name": "traced"}, traceparent=trace)
    await acme.post("/v1/services", {"name": "not"}, traceparent=trace.replace("7", "X"))
    events = (await acme.get("/v1/events?type=service.created", Accept="application/json")).json
    assert [event.get("traceparent") for event in events] == [None, trace]


async def test_a_body_is_json_whatever_the_content_type(site: Site, acme: Tenant) -> None:
    for n, kind in enumerate(
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", ""]
    ):
        answer = await acme.post("/v1/services", {"name": f"kind {n}"}, Content_Type=kind)
        assert answer.status == 201


async def test_a_command_without_body_and_content_type_is_fine(site: Site, acme: Tenant) -> None:
    service = await acme.service()
    for command in ("stop", "start", "restart", "redeploy"):
        head = f"POST /v1/services/{service['id']}/{command} HTTP/1.1\r\nHost: localhost\r\n"
        answer = await site.raw(f"{head}Authorization: bEaReR {acme.key}\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 20"), answer
    assert (await acme.post("/v1/auth/keys")).status == 201


async def test_unknown_fields_are_ignored_unless_strict_handling_is_preferred(site: Site, acme: Tenant) -> None:
    assert (await acme.post("/v1/services", {"name": "one", "zzz": 1})).status == 201
    answer = await acme.post("/v1/services", {"name": "two", "zzz": {"a/b": 1}}, Prefer="handling=strict")
    assert (answer.status, answer.code, answer.pointers) == (400, "unknown_field", ["/zzz"])
    assert (await acme.post("/v1/services", {"name": "two"}, Prefer="handling=strict")).status == 201


async def test_head_answers_as_get_without_a_body(site: Site, acme: Tenant) -> None:
    for path in ("/v1/services", "/v1/tenant", "/v1/events", "/v1/system/health"):
        answer = await acme.ask("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(b'{"status":"ok"}'))


# what goes wrong


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v1/services/", "//v1/services", "/v1/services/x/y", "/v2/x"]
)
async def test_an_unknown_path_is_a_problem(site: Site, acme: Tenant, path: str) -> None:
    for client in (site.anybody, acme):
        assert (await client.get(path)).code == "not_found"


async def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(site: Site, acme: Tenant) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/services", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/tenant", "DELETE, GET, HEAD, PATCH"),
        ("DELETE", "/v1/system/health", "GET, HEAD"),
        ("GET", "/v1/tenants/register", "POST"),
    ):
        answer = await acme.ask(method, path)
        assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "method_not_allowed", allowed)


async def test_no_key_is_401_and_says_how_to_come_by_one(site: Site) -> None:
    for sent in ({}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer a.b"}, {"Authorization": "Bearer"}):
        answer = await site.anybody.ask("GET", "/v1/services", headers=sent)
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.problem["remediation"] | {"why": ""} == {
            "why": "",
            "method": "POST",
            "path": "/v1/auth/recover",
        }


async def test_the_remediation_is_about_the_resource_that_was_asked_for(site: Site, acme: Tenant) -> None:
    service = await acme.service(image="")
    answer = await acme.post(f"/v1/services/{service['id']}/redeploy")
    assert (answer.status, answer.code) == (409, "nothing_to_deploy")
    assert answer.problem["remediation"]["path"] == f"/v1/services/{service['id']}/deploy"
    assert answer.problem["error"] == answer.problem["detail"]


async def test_what_breaks_here_is_500_and_says_nothing_of_why(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the secret is hunter2")

    monkeypatch.setattr(calls.Call, "page", broken)
    with caplog.at_level(logging.CRITICAL):
        answer = await acme.get("/v1/auth/keys")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"hunter2" not in answer.body and b"Zero" not in answer.body
    monkeypatch.undo()
    assert (await acme.get("/v1/auth/keys")).status == 200


async def test_what_breaks_in_the_writer_is_500_and_changes_nothing(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events = (await acme.get("/v1/events?after=0", Accept="application/json")).json
    monkeypatch.setattr(site.app.writer.views, "apply", lambda *_: 1 / 0)
    with caplog.at_level(logging.CRITICAL):
        assert (await acme.post("/v1/services", {"name": "web"})).code == "internal"
    monkeypatch.undo()
    assert (await acme.get("/v1/events?after=0", Accept="application/json")).json == events
    assert (await acme.post("/v1/services", {"name": "web"})).status == 201


async def test_what_is_not_there_for_now_is_503_with_retry_after(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("disk_full", "the disk is full: nothing was changed", 30)

    monkeypatch.setattr(calls.Call, "submit", full)
    answer = await acme.post("/v1/services", {"name": "web"})
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "disk_full", "30")
    assert answer.problem["retryable"] is True and answer.problem["retry_after_s"] == 30


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"hello\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/system/health HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/system/health HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400, "bad_request"),
        (b"POST /v1/services HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
        (b"GET /" + b"a" * 8_100 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431, "headers_too_large"),
    ],
)
async def test_what_cannot_be_read_as_http_is_a_problem_too(site: Site, sent: bytes, status: int, code: str) -> None:
    answer = await site.raw(sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((f"HTTP/1.1 {status} ".encode(), f"HTTP/1.0 {status} ".encode())), answer
    assert b"Content-Type: application/problem+json" in head
    assert b"X-Content-Type-Options: nosniff" in head
    found = json.loads(body)
    assert (found["status"], found["code"]) == (status, code)
    assert f"X-Request-Id: {found['request_id']}".encode() in head


async def test_the_whole_url_in_the_request_line_is_taken(site: Site) -> None:
    line = f"GET {site.base}/v1/system/health?x=1 HTTP/1.1\r\n"
    assert (await site.raw(f"{line}Host: localhost\r\nConnection: close\r\n\r\n".encode())).endswith(b'{"status":"ok"}')


async def test_a_service_that_nobody_has_is_a_problem(site: Site) -> None:
    answer = await site.anybody.get("/", Host="web.nobody.localhost")
    assert (answer.status, answer.code) == (404, "no_route")


async def test_health_and_ready_say_how_it_is(site: Site) -> None:
    assert (await site.anybody.get("/v1/system/health")).body == b'{"status":"ok"}'
    assert (await site.anybody.get("/v1/system/ready")).json == {
        "status": "ok",
        "log": "ok",
        "views": "ok",
        "engine": "ok",
        "router": "builtin",
    }
    site.engine.away = True
    try:
        answer = await site.anybody.get("/v1/system/ready")
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "not_ready", "2")
        assert answer.problem["engine"] == "away, as the test wants it" and answer.problem["views"] == "ok"
        assert (await site.anybody.get("/v1/system/health")).status == 200
    finally:
        site.engine.away = False


async def test_a_server_that_stops_takes_no_more_requests_and_lets_go_of_who_waits(folder: Path) -> None:
    async with a_site(folder, dev=True) as site:
        acme = await site.register()
        service = await acme.service(image="")
        async with acme.stream() as stream:
            site.app.closing = True
            assert (await acme.get("/v1/services")).code == "stopping"
            assert (await site.anybody.get("/v1/system/health")).status == 200
            assert (await site.anybody.get("/v1/system/ready")).problem["log"] == "stopping"
            site.app.closing = False
            waiting = acme.site.session.get(
                f"{site.base}/v1/services/{service['id']}?wait=running&timeout=60", headers=acme.fields
            )
            site.app.hub.close()
            async with waiting as answer:
                assert (answer.status, (await answer.json())["status"]) == (200, "created")
            assert (await stream.content.read()).startswith(b"retry: ")


async def test_while_the_views_are_being_built_requests_wait_and_ready_says_how_far_it_is(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READY_WAIT_S", 0.01)
    monkeypatch.setattr(site.app, "progress", (3, 10))
    site.app.ready.clear()
    try:
        assert (await site.anybody.get("/v1/system/health")).status == 200
        assert (await site.anybody.get("/v1/system/ready")).problem["views"] == "building: 3 of 10 events"
        answer = await acme.get("/v1/services")
        assert (answer.status, answer.code) == (503, "starting")
        assert "3 of 10" in answer.problem["detail"] and answer.headers["Retry-After"]
    finally:
        site.app.ready.set()
