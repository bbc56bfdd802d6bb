"""What the server's log says of requests, and of the work that they set in motion: each line knows whose it is."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ahplat.log_lines import Lines
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Said = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def said() -> Iterator[Said]:
    """What was said since the test began, by our own parts at any level."""
    stream = io.StringIO()
    lines, ours = Lines("json", stream), logging.getLogger("ahplat")
    before = ours.level
    ours.addHandler(lines)
    ours.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    ours.setLevel(before)
    ours.removeHandler(lines)


async def test_a_command_has_a_line_with_its_request_position_tenant_and_trace(acme: Tenant, said: Said) -> None:
    answer = await acme.post("/v1/services", {"name": "web"}, X_Request_Id="run-7", traceparent=TRACE)
    (line,) = [line for line in said() if line["logger"] == "ahplat.requests"]
    assert line["message"].startswith("POST /v1/services 201 in ")
    assert line["level"] == "debug"  # the events have it all at any level
    assert line["position"] == answer.position
    assert (line["request_id"], line["tenant"], line["traceparent"]) == ("run-7", acme.id, TRACE)


async def test_a_refused_command_says_why_and_has_no_position(acme: Tenant, said: Said) -> None:
    await acme.post("/v1/services", {"name": ""}, X_Request_Id="run-8")
    (line,) = [line for line in said() if line.get("request_id") == "run-8"]
    assert line["message"].startswith("POST /v1/services 400 validation_failed in ")
    assert line["level"] == "info"
    assert "position" not in line and "traceparent" not in line


async def test_reads_and_who_asks_too_often_have_no_line(acme: Tenant, guarded: Site, said: Said) -> None:
    await acme.get("/v1/services")
    for _ in range(30):
        refused = await guarded.anybody.post("/v1/system/bootstrap-token/validate", {"token": "x" * 40})
    assert refused.status == 429
    lines = [line["message"] for line in said() if line["logger"] == "ahplat.requests"]
    assert not [line for line in lines if line.startswith("GET") or " 429 " in line]


async def test_a_query_is_not_in_the_log(acme: Tenant, said: Said) -> None:
    await acme.post("/v1/services?note=my-password", {"name": "quiet"})
    assert said() and "my-password" not in json.dumps(said())


async def test_work_says_whose_it_is_to_its_end(site: Site, acme: Tenant, said: Said) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("this engine is broken")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.engine, "fetch", broken)
        body = {"name": "worker", "image": "web:1", "port": 0}
        answer = await acme.post("/v1/services", body, X_Request_Id="run-9", traceparent=TRACE, Prefer="wait=5")
    (line,) = [line for line in said() if line["logger"] == "ahplat.effects" and "broke" in line["message"]]
    assert "this engine is broken" in line["error"]
    assert line["position"] == answer.position
    assert (line["request_id"], line["tenant"], line["traceparent"]) == ("run-9", acme.id, TRACE)


async def test_a_trace_goes_on_in_all_that_a_request_set_in_motion(site: Site, acme: Tenant) -> None:
    body = {"name": "traced", "image": "web:1", "port": 0}
    service = (await acme.post("/v1/services", body, traceparent=TRACE, Prefer="wait=5")).json
    await site.settled()
    events = (await acme.get(f"/v1/events?after=0&limit=200&resource={service['id']}", Accept="application/json")).json
    caused = [event["type"] for event in events if event.get("cause")]
    assert {"service.instance_healthy", "service.routed"} <= set(caused)
    assert {event.get("traceparent") for event in events} == {TRACE}
