"""Who is let in, and as whom: https, proxies, keys and their scopes, the operator; and when that ends."""

import asyncio
import stat

import pytest

from ahplat import limits
from tests.api.site import BOOTSTRAP, HTTPS, TOKENS, Client, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_AGO = "0" * 32


# https, and who is believed about it


async def test_plain_http_is_served_for_trying_out_only(site: Site, guarded: Site) -> None:
    assert (await Client(site, {}).get("/v1/services")).code == "unauthenticated"
    plain = Client(guarded, {})
    for path in ("/v1/services", "/v1/system/ready", "/v1/whoami", "/v1/tenants", "/metrics"):
        answer = await plain.get(path)
        assert (answer.status, answer.code) == (403, "https_required")
    assert (await plain.post("/v1/tenants/register", {}, **BOOTSTRAP)).code == "https_required"


async def test_health_from_this_machine_is_always_200(site: Site, guarded: Site) -> None:
    for where in (site, guarded):
        answer = await Client(where, {}).get("/v1/system/health")
        assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
        assert (await Client(where, HTTPS).get("/v1/system/health")).status == 200


async def test_what_came_through_a_proxy_is_not_from_this_machine(guarded: Site) -> None:
    answer = await Client(guarded, {"X-Forwarded-For": "127.0.0.1"}).get("/v1/system/health")
    assert answer.code == "https_required"


@pytest.mark.parametrize("proto", ["http", "", "https,http", "https, http", "HTTPS "])
async def test_the_nearest_proxy_says_how_it_came(guarded: Site, proto: str) -> None:
    answer = await Client(guarded, {"X-Forwarded-Proto": proto}).get("/v1/tenant")
    assert answer.code == ("unauthenticated" if proto.strip() == "HTTPS" else "https_required")


async def test_a_field_that_the_client_sent_before_the_proxys_own_does_not_count(guarded: Site) -> None:
    sent = b"GET /v1/tenant HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: %s\r\n\r\n"
    assert b"https_required" in await guarded.raw(sent % b"http")
    assert b"unauthenticated" in await guarded.raw(sent % b"https")


async def test_a_peer_that_is_no_known_proxy_is_not_believed(guarded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import msgspec

    for proxies, code in (({"192.0.2.1"}, "https_required"), ({"127.0.0.1"}, "unauthenticated")):
        config = msgspec.structs.replace(guarded.config, trusted_proxies=frozenset(proxies))
        monkeypatch.setattr(guarded.app, "config", config)
        assert (await Client(guarded, HTTPS).get("/v1/tenant")).code == code
        assert (await Client(guarded, {}).get("/v1/system/health")).status == 200


# keys


async def test_a_key_is_a_bearer_token_in_any_case(site: Site, acme: Tenant) -> None:
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR "):
        answer = await site.anybody.get("/v1/tenant", Authorization=f"{scheme} {acme.key}")
        assert answer.json["id"] == acme.id
    assert len(acme.key) <= 64 and acme.key.count(".") == 1
    other = await site.register()
    twice = f"GET /v1/tenant HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme.key}\r\nAuthorization: Bearer {other.key}\r\n"
    assert (await site.raw(f"{twice}Connection: close\r\n\r\n".encode())).startswith(b"HTTP/1.1 401 ")


async def test_a_key_that_was_revoked_costs_nothing_either(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = await site.another_key(acme)
    assert (await acme.delete(f"/v1/auth/keys/{dead.key[:32]}")).status == 204
    monkeypatch.setattr(site.app.gate, "_matches", None)
    answers = [await dead.get("/v1/tenant") for _ in range(limits.AUTH_FAILURES_PER_MINUTE + 1)]
    assert {answer.code for answer in answers[:-1]} == {"key_revoked"}
    assert answers[-1].code == "auth_rate_limited"
    monkeypatch.undo()
    assert (await (await site.another_key(acme)).get("/v1/tenant")).status == 200, "others from here are let in"


async def test_a_key_that_comes_many_times_at_once_is_verified_once(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, verify = await site.another_key(acme), site.app.gate._matches
    asked: list[str] = []

    async def counted(secret: str, digest: bytes) -> bool:
        asked.append(secret)
        return bool(await verify(secret, digest))

    monkeypatch.setattr(site.app.gate, "_matches", counted)
    answers = await asyncio.gather(*(fresh.get("/v1/tenant") for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert len(asked) == 1


async def test_a_key_that_was_changed_opens_nothing_and_costs_nothing(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tag is wrong, so bcrypt is not even asked."""
    monkeypatch.setattr(site.app.gate, "_matches", None)
    key_id, _, secret = acme.key.partition(".")
    for forged in (
        acme.key[:-1],
        acme.key + "A",
        f"{key_id}.{secret[:5]}{'a' if secret[5] != 'a' else 'b'}{secret[6:]}",
        f"{LONG_AGO}.{secret}",
        f"{key_id.upper()}.{secret}",
        f"{key_id}.",
        key_id,
        f".{secret}",
    ):
        site.app.gate._failures._hits.clear()
        assert (await site.anybody.get("/v1/tenant", Authorization=f"Bearer {forged}")).code == "unauthenticated", (
            forged
        )


async def test_scopes_say_what_a_key_may_do(site: Site, acme: Tenant) -> None:
    reader = await site.another_key(acme, name="r", scopes=["read"])
    deployer = await site.another_key(acme, name="d", scopes=["deploy"])
    service = await deployer.service(env={"A": "secret"})
    path = f"/v1/services/{service['id']}"
    assert (await reader.get(path)).status == 200
    assert (await reader.get("/v1/whoami")).json["scopes"] == ["read"]
    for client, method, where, body, scope in (
        (reader, "POST", "/v1/services", {"name": "x"}, "deploy"),
        (reader, "PATCH", path, {}, "deploy"),
        (reader, "DELETE", path, None, "deploy"),
        (reader, "POST", f"{path}/restart", None, "deploy"),
        (reader, "POST", f"{path}/env", {"A": "2"}, "deploy"),
        (reader, "GET", f"{path}/env?reveal=true", None, "deploy"),
        (reader, "POST", "/v1/auth/keys", {}, "admin"),
        (deployer, "POST", "/v1/auth/keys", {}, "admin"),
        (deployer, "DELETE", f"/v1/auth/keys/{acme.key[:32]}", None, "admin"),
        (deployer, "PATCH", "/v1/tenant", {"name": "xx"}, "admin"),
        (deployer, "DELETE", "/v1/tenant", None, "admin"),
    ):
        answer = await client.ask(method, where, body)
        assert (answer.status, answer.code) == (403, "forbidden_scope"), (method, where)
        assert scope in answer.problem["detail"]
    assert (await deployer.get(f"{path}/env?reveal=true")).json == {"A": "secret"}


async def test_a_key_expires(site: Site, acme: Tenant) -> None:
    brief = await site.another_key(acme, expires_in=60)
    assert (await brief.get("/v1/tenant")).status == 200
    unused = await site.another_key(acme, expires_in=60)
    site.clock.ahead_s = 61
    try:
        for client in (brief, unused):
            answer = await client.get("/v1/tenant")
            assert (answer.status, answer.code) == (401, "key_expired")
    finally:
        site.clock.ahead_s = 0


async def test_a_key_that_is_revoked_is_refused_at_once(site: Site, acme: Tenant) -> None:
    for used in (True, False):
        other = await site.another_key(acme)
        if used:
            assert (await other.get("/v1/tenant")).status == 200
        key_id = other.key.partition(".")[0]
        assert (await acme.delete(f"/v1/auth/keys/{key_id}")).status == 204
        answer = await other.get("/v1/tenant")
        assert (answer.status, answer.code) == (401, "key_revoked")
        assert (await acme.delete(f"/v1/auth/keys/{key_id}")).code == "key_not_found"
    assert [row["name"] for row in (await acme.get("/v1/auth/keys")).json] == ["first key"]


async def test_a_key_that_dies_while_its_body_is_on_the_way_does_nothing(site: Site, acme: Tenant) -> None:
    other = await site.another_key(acme)
    assert (await other.get("/v1/tenant")).status == 200
    arrived = asyncio.Event()

    async def slowly():  # type: ignore[no-untyped-def]
        yield b'{"name":'
        await arrived.wait()
        yield b'"late"}'

    asking = asyncio.ensure_future(other.ask("POST", "/v1/services", raw=slowly()))
    while site.app.edge.in_flight == 0:
        await asyncio.sleep(0)
    await acme.delete(f"/v1/auth/keys/{other.key.partition('.')[0]}")
    arrived.set()
    assert (await asking).code == "key_revoked"
    assert (await acme.get("/v1/services")).json == []


async def test_a_key_that_dies_while_a_read_waits_is_told_nothing_more(
    site: Site, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEY_ASKED_AGAIN_S", 0.0)
    other, service = await site.another_key(acme), await acme.running()
    asking = asyncio.ensure_future(other.get(f"/v1/services/{service['id']}?wait=stopped&timeout=20"))
    while site.app.edge.in_flight == 0:
        await asyncio.sleep(0)
    await acme.delete(f"/v1/auth/keys/{other.key.partition('.')[0]}")
    await acme.post(f"/v1/services/{service['id']}/stop")
    assert (await asking).code == "key_revoked"


# the operator


async def test_the_operators_routes_take_its_token_or_its_socket_and_nothing_else(site: Site, acme: Tenant) -> None:
    for method, path in (
        ("GET", "/v1/tenants"),
        ("GET", f"/v1/tenants/{acme.id}"),
        ("PATCH", f"/v1/tenants/{acme.id}/quotas"),
        ("DELETE", f"/v1/tenants/{acme.id}/data"),
        ("POST", "/v1/system/effects/1/unpark"),
        ("GET", "/v1/system/status"),
        ("GET", "/v1/system/garbage"),
        ("POST", "/v1/system/garbage/collect"),
    ):
        for client in (site.anybody, acme):
            answer = await client.ask(method, path)
            assert (answer.status, answer.code) == (403, "operator_only"), (method, path)
        answer = await site.anybody.ask(method, path, headers={"X-Bootstrap-Token": "wrong"})
        assert (answer.status, answer.code) == (401, "bootstrap_token_invalid")
        for client in (site.operator, site.socket, Client(site, {"X-Bootstrap-Token": TOKENS[1]})):
            assert (await client.ask(method, path)).status in (200, 400, 404), (method, path)


@pytest.mark.parametrize("token", TOKENS)
async def test_the_token_may_be_in_the_body_and_each_of_several_is_valid(site: Site, acme: Tenant, token: str) -> None:
    n = TOKENS.index(token)
    body = {"name": f"by body {n}", "email": f"by-body{n}@x", "bootstrap_token": token}
    registered = await site.anybody.post("/v1/tenants/register", body)
    assert registered.status == 201
    recovered = await site.anybody.post("/v1/auth/recover", {"email": body["email"], "bootstrap_token": token})
    assert list(recovered.json) == ["id", "key", "api_key", "name", "created_at"]
    quotas = {"max_services": 6, "bootstrap_token": token}
    assert (await site.anybody.patch(f"/v1/tenants/{acme.id}/quotas", quotas)).json["max_services"] == 6
    assert (await site.anybody.post("/v1/system/bootstrap-token/validate", {"token": token})).json == {"valid": True}
    events = await Tenant(site, "", registered.json["api_key"]).get("/v1/events?after=0", Accept="application/json")
    assert {event["actor"] for event in events.json} == {"bootstrap"}


@pytest.mark.parametrize(
    "body", [{}, {"bootstrap_token": "no"}, {"bootstrap_token": 7}, [], None, {"bootstrap_token": ""}]
)
async def test_without_a_token_nobody_registers_or_recovers(guarded: Site, body: object) -> None:
    guarded.app.gate._failures._hits.clear()
    for path in ("/v1/tenants/register", "/v1/auth/recover", f"/v1/tenants/{LONG_AGO}/reactivate"):
        answer = await guarded.anybody.post(path, body)
        assert (answer.status, answer.code) == (401, "bootstrap_token_invalid")
        assert "WWW-Authenticate" in answer.headers


async def test_a_token_is_checked_without_being_used(site: Site) -> None:
    validate = "/v1/system/bootstrap-token/validate"
    for client, body, valid in (
        (site.operator, None, True),
        (site.anybody, {"bootstrap_token": TOKENS[1]}, True),
        (site.anybody, {"token": "no"}, False),
        (site.anybody, None, False),
    ):
        answer = await client.post(validate, body)
        assert (answer.status, answer.json) == (200, {"valid": valid})


async def test_the_socket_is_the_operators_alone(site: Site, guarded: Site) -> None:
    for where in (site, guarded):
        path = where.config.data_dir / "operator.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await where.socket.get("/v1/tenants")).status == 200
        assert (await where.socket.get("/v1/tenant")).code == "unauthenticated"


async def test_metrics_are_for_all_when_trying_out_and_else_for_the_operator(site: Site, guarded: Site) -> None:
    assert b"ahplat_log_position" in (await site.anybody.get("/metrics")).body
    assert (await guarded.anybody.get("/metrics")).code == "operator_only"
    for client in (guarded.operator, guarded.socket):
        assert (await client.get("/metrics")).headers["Content-Type"].startswith("text/plain; version=0.0.4")
