"""Checkpoints and proofs over HTTP: a stranger with the public key believes them, and nobody sees what is another's."""

import asyncio
import json
from hashlib import sha256
from typing import Any

import pytest

from ahplat import limits
from ahplat.checkpoints import path_in
from events.checkpoint import notes_in, opened, parse_key
from events.log import read_all
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_APART_S", 0.0)


def recompute(proof: dict[str, Any]) -> str:
    """The link that a proof comes to, worked out by nothing but what the answer's description says."""
    event = proof["event"]
    head = f"{event['position']}\0{event['version']}\0{event['at_us']}"
    parts = [head, event["stream"], event["type"], event["tenant_id"], event["data"], event["meta"]]
    framed = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
    assert sha256(b"\0" + framed).hexdigest() == proof["leaves"][0]
    link = bytes.fromhex(proof["before"])
    for leaf in proof["leaves"]:
        link = sha256(b"\1" + link + bytes.fromhex(leaf)).digest()
    return link.hex()


async def position_of(tenant: Tenant, type_: str) -> int:
    events = (await tenant.get(f"/v1/events?type={type_}", Accept="application/json")).json
    return int(events[0]["position"])


async def test_the_checkpoint_is_a_signed_note_that_opens_with_the_key_in_its_json(site: Site) -> None:
    text = await site.anybody.get("/v1/checkpoint")
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    answer = await site.anybody.get("/v1/checkpoint", Accept="application/json")
    assert answer.json["note"] == text.body.decode()
    checkpoint = opened(answer.json["note"], parse_key(answer.json["key"]))
    assert checkpoint.link.hex() == answer.json["link"]
    assert (checkpoint.position, checkpoint.epoch, checkpoint.at_s) == tuple(
        answer.json[name] for name in ("position", "epoch", "at")
    )
    at = read_all(site.running.app.log, checkpoint.position - 1, 1)[0]
    assert at.link == checkpoint.link


async def test_a_new_event_is_proved_at_once_to_a_stranger(site: Site, acme: Tenant) -> None:
    service = await acme.service()
    await acme.post(f"/v1/services/{service['id']}/env", {"TOKEN": "so-secret-a-thing"})
    position = await position_of(acme, "service.env_set")
    answer = await acme.get(f"/v1/events/{position}/proof")
    assert answer.status == 200, answer.body
    proof = answer.json
    checkpoint = opened(proof["checkpoint"]["note"], parse_key(proof["checkpoint"]["key"]))
    assert recompute(proof) == checkpoint.link.hex() == proof["checkpoint"]["link"]
    assert position <= checkpoint.position == position + len(proof["leaves"]) - 1
    assert proof["event"]["position"] == position
    assert b"so-secret-a-thing" not in answer.body
    assert json.loads(proof["event"]["data"])["type"] == "service.env_set"


async def test_a_proof_of_anything_else_comes_to_another_link(site: Site, acme: Tenant) -> None:
    await acme.service()
    position = await position_of(acme, "service.created")
    proof = (await acme.get(f"/v1/events/{position}/proof")).json
    proof["leaves"][-1] = "00" * 32 if len(proof["leaves"]) > 1 else proof["leaves"][-1]
    proof["before"] = "00" * 32
    assert recompute(proof) != proof["checkpoint"]["link"]


async def test_the_same_event_is_proved_by_the_same_checkpoint_again(site: Site, acme: Tenant) -> None:
    await acme.service()
    position = await position_of(acme, "service.created")
    first = (await acme.get(f"/v1/events/{position}/proof")).json
    await acme.service()
    assert (await acme.get(f"/v1/events/{position}/proof")).json == first


async def test_proofs_asked_for_at_once_sign_no_position_twice(site: Site, acme: Tenant) -> None:
    await acme.service()
    position = await position_of(acme, "service.created")
    answers = await asyncio.gather(*(acme.get(f"/v1/events/{position}/proof") for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    signed = [note.split("\n")[1] for _, note in notes_in(path_in(site.config.data_dir).read_bytes())]
    assert len(signed) == len(set(signed))


@pytest.mark.parametrize("position", ["0", "1", "999999", "-1", "1.5", "x", "9" * 30, "%00"])
async def test_what_is_no_event_of_ones_own_is_not_there(site: Site, acme: Tenant, position: str) -> None:
    answer = await acme.get(f"/v1/events/{position}/proof")
    assert (answer.status, answer.code) == (404, "event_not_found")


async def test_another_tenants_event_is_not_there(site: Site, acme: Tenant) -> None:
    await acme.service()
    position = await position_of(acme, "service.created")
    other = await site.register("other")
    answer = await other.get(f"/v1/events/{position}/proof")
    assert (answer.status, answer.code) == (404, "event_not_found")


async def test_a_proof_shows_fields_as_they_are_sealed_so_it_wants_an_admins_key(site: Site, acme: Tenant) -> None:
    key = (await acme.post("/v1/auth/keys", {"name": "ci", "scopes": ["read", "deploy"]})).json["api_key"]
    reader = Tenant(site, acme.id, key)
    answer = await reader.get("/v1/events/2/proof")
    assert (answer.status, answer.code) == (403, "forbidden_scope")


async def test_a_log_that_was_signed_otherwise_proves_nothing(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.service()
    position = await position_of(acme, "service.created")
    monkeypatch.setattr(site.running.app.checkpoints, "problem", "the log is not what was signed of it: position 3")
    answer = await acme.get(f"/v1/events/{position}/proof")
    assert (answer.status, answer.code) == (503, "not_ready")
    assert "position 3" in answer.json["detail"]


async def test_health_says_when_the_log_was_last_signed(site: Site, acme: Tenant) -> None:
    await site.running.app.checkpoints.caught_up.wait()
    log = (await acme.get("/v1/system/health/detailed")).json["log"]
    assert abs(log["checkpoint_at"] - site.clock.now_us() // 1_000_000) < 60


async def test_checkpoints_go_on_over_a_restart_under_the_same_key(site: Site, acme: Tenant) -> None:
    before = (await site.anybody.get("/v1/checkpoint", Accept="application/json")).json
    await acme.service()
    await site.restart()
    await site.running.app.checkpoints.caught_up.wait()
    after = (await site.anybody.get("/v1/checkpoint", Accept="application/json")).json
    assert after["key"] == before["key"]
    assert after["position"] > before["position"]
