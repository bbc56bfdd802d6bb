"""One event by its position, and why it is there: back to the request, forward to what it led to."""

from typing import Any

import pytest

from ahplat import limits
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def events_of(tenant: Tenant) -> list[dict[str, Any]]:
    answer = await tenant.get("/v1/events?after=0&limit=200", Accept="application/json")
    return list(answer.json)


async def one(tenant: Tenant, type_: str) -> dict[str, Any]:
    """The only event of a type."""
    [found] = [event for event in await events_of(tenant) if event["type"] == type_]
    return found


def below(node: dict[str, Any]) -> list[str]:
    """The types of all that an event led to, each before what it led to itself."""
    return [name for one in node.get("effects", []) for name in (one["type"], *below(one))]


async def test_an_event_is_shown_as_the_stream_shows_it_with_its_command(site: Site, acme: Tenant) -> None:
    await acme.running(env={"SECRET": "hush"})
    for shown in await events_of(acme):
        answer = await acme.get(f"/v1/events/{shown['position']}")
        assert answer.status == 200
        command = answer.json.pop("command")
        assert {key: value for key, value in answer.json.items() if key != "command"} == shown
        assert command["first_position"] <= shown["position"] <= command["last_position"]
        assert b"hush" not in answer.body


async def test_a_command_has_the_range_of_what_it_appended(site: Site, acme: Tenant) -> None:
    answer = await acme.post("/v1/services", {"name": "two", "image": "web:1", "env": {"A": "1"}})
    await site.settled()
    for position in range(answer.position - 2, answer.position + 1):
        command = (await acme.get(f"/v1/events/{position}")).json["command"]
        assert command == {
            "name": "CreateService",
            "first_position": answer.position - 2,
            "last_position": answer.position,
        }
    later = (await acme.get(f"/v1/events/{answer.position + 1}")).json["command"]
    assert later["first_position"] == later["last_position"] == answer.position + 1


async def test_why_leads_back_to_the_request_and_forward_to_all_that_came_of_it(site: Site, acme: Tenant) -> None:
    fields = {"X_Request_Id": "deploy-7", "X_Agent_Name": "tester", "X_Agent_Run": "run-1"}
    await acme.post("/v1/services", {"name": "web", "image": "web:1", "port": 0}, **fields)
    await site.settled()
    request, routed = await one(acme, "service.deploy_requested"), await one(acme, "service.routed")
    found = (await acme.get(f"/v1/events/{routed['position']}/why")).json
    assert [cause["type"] for cause in found["causes"]] == ["service.deploy_requested", "service.instance_healthy"]
    began = found["began"]
    assert began["position"] == request["position"] and began["actor"] == request["actor"]
    assert (began["command"], began["correlation"]) == ("CreateService", "deploy-7")
    assert (began["agent"], began["run"], began["at"]) == ("tester", "run-1", request["at"])
    assert found["event"]["after_us"] == routed["at_us"] - found["causes"][1]["at_us"] >= 0
    assert "after_us" not in found["causes"][0]
    assert found["cut"] == [] and found["read_to"] == site.position
    whole = (await acme.get(f"/v1/events/{request['position']}/why")).json
    assert whole["causes"] == []
    events = [event for event in await events_of(acme) if event["position"] > request["position"]]
    assert sorted(below(whole["event"])) == sorted(event["type"] for event in events)
    assert below(whole["event"])[:2] == ["effect.attempted", "service.instance_healthy"]


async def test_what_a_bound_cuts_off_is_said(site: Site, acme: Tenant) -> None:
    await acme.running()
    request, drained = await one(acme, "service.deploy_requested"), await one(acme, "service.drained")
    for name, value, position, cut in (
        ("WHY_DEPTH", 1, request["position"], ["depth"]),
        ("WHY_DEPTH", 1, drained["position"], ["causes"]),
        ("WHY_EVENTS", 3, request["position"], ["size"]),
        ("WHY_SCANNED", 0, request["position"], ["reading"]),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, name, value)
            found = (await acme.get(f"/v1/events/{position}/why")).json
        assert found["cut"] == cut, name
        assert len(found["causes"]) + 1 + len(below(found["event"])) <= 4
        assert found["read_to"] < site.position or cut in (["depth"], ["causes"])


async def test_what_is_another_tenants_or_nobodys_is_not_there(site: Site, acme: Tenant) -> None:
    theirs = await site.register()
    service = await theirs.running()
    mine = {event["position"] for event in await events_of(acme)}
    for position in range(1, site.position + 2):
        for path in (f"/v1/events/{position}", f"/v1/events/{position}/why"):
            answer = await acme.get(path)
            assert (answer.status == 200) == (position in mine), path
            assert answer.status == 200 or answer.code == "event_not_found"
            assert service["id"].encode() not in answer.body


async def test_too_many_looks_at_once_are_told_to_come_again(site: Site, acme: Tenant) -> None:
    position = (await one(acme, "tenant.registered"))["position"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PAST_WAITING", 0)
        answer = await acme.get(f"/v1/events/{position}/why")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "overloaded", "1")
    assert (await acme.get(f"/v1/events/{position}/why")).status == 200
