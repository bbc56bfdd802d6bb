"""How often one may ask: per tenant and in all, with wrong keys, and to register."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ahplat import limits
from tests.api.site import BOOTSTRAP, HTTPS, TOKENS, Answer, Client, Site, Tenant, a_site
from tests.folders import memory_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def limited() -> AsyncIterator[Site]:
    """A server with its limits, and a clock that stands still but for what a test adds."""
    with memory_folder() as folder:
        async with a_site(folder / "limited", dev=True, rate_limits=True) as made:
            made.clock.monotonic = lambda: 1e6 + made.clock.ahead_s  # type: ignore[method-assign]
            yield made


async def test_the_limits_are_those_of_the_contract() -> None:
    assert (limits.QUOTAS["api_rate_limit"], limits.RATE_BURST) == (100, 2)
    assert (limits.GLOBAL_RATE, limits.GLOBAL_BURST) == (500, 1_000)
    assert limits.AUTH_FAILURES_PER_MINUTE == 10


async def test_a_tenant_has_a_burst_of_200_and_then_100_a_second(limited: Site) -> None:
    acme, other = await limited.register(), await limited.register()
    answers = [await acme.get("/v1/tenant") for _ in range(201)]
    assert [answer.status for answer in answers] == [200] * 200 + [429]
    first, last, refused = answers[0], answers[199], answers[200]
    assert first.headers["RateLimit-Policy"] == '"default";q=200;w=2'
    assert first.headers["RateLimit"] == '"default";r=199;t=1'
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("200", "199")
    assert (last.headers["RateLimit"], last.headers["X-RateLimit-Remaining"]) == ('"default";r=0;t=2', "0")
    assert (refused.code, refused.headers["Retry-After"]) == ("rate_limited", "1")
    assert refused.problem["retryable"] is True and refused.problem["retry_after_s"] == 1
    assert refused.headers["RateLimit"] == '"default";r=0;t=2'
    assert (await other.get("/v1/tenant")).status == 200
    limited.clock.ahead_s += 1
    assert [(await acme.get("/v1/tenant")).status for _ in range(101)] == [200] * 100 + [429]


async def test_what_is_refused_says_what_is_left_too(limited: Site) -> None:
    acme = await limited.register()
    reader = await limited.another_key(acme, scopes=["read"])
    for n, answer in enumerate((await reader.get("/v1/services/x"), await reader.post("/v1/services", {"name": "x"}))):
        assert answer.status in (403, 404)
        assert answer.headers["X-RateLimit-Remaining"] == str(198 - n)
    assert "X-RateLimit-Limit" not in (await limited.anybody.get("/v1/system/health")).headers


async def test_what_is_left_in_whoami_makes_no_other_tag_and_what_else_is_in_it_does(limited: Site) -> None:
    acme = await limited.register()
    first, again = await acme.get("/v1/whoami"), await acme.get("/v1/whoami")
    assert first.body != again.body and first.headers["ETag"] == again.headers["ETag"]
    tag = first.headers["ETag"]
    for sent in (tag, tag.removeprefix("W/"), f'"1.999", {tag}'):
        kept = await acme.get("/v1/whoami", If_None_Match=sent)
        assert (kept.status, kept.body, kept.headers["ETag"]) == (304, b"", tag)
        assert int(kept.headers["X-RateLimit-Remaining"]) < 198
    await acme.service(image="")
    assert (await acme.get("/v1/whoami", If_None_Match=tag)).status == 200


async def test_what_is_left_is_in_whoami(limited: Site) -> None:
    acme = await limited.register()
    await acme.get("/v1/tenant")
    found = (await acme.get("/v1/whoami")).json
    assert found["limits_left"] == {"requests": 198, "requests_max": 200}
    assert found["quotas_left"] == {
        "services": 5,
        "databases": 3,
        "api_keys": 19,
        "memory_mb": 6144,
        "cpu_cores": 8,
        "disk_gb": 20,
    }


async def test_the_operators_figure_holds_at_once_and_after_a_restart(limited: Site) -> None:
    acme, other = await limited.register(), await limited.register()
    assert (await acme.get("/v1/tenant")).headers["X-RateLimit-Limit"] == "200"
    answer = await limited.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"api_rate_limit": 10})
    assert (answer.status, answer.json["api_rate_limit"]) == (200, 10)
    assert (await acme.get("/v1/tenant")).headers["X-RateLimit-Limit"] == "20"
    await limited.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"max_services": 7})
    assert (await acme.get("/v1/tenant")).headers["X-RateLimit-Limit"] == "20"
    await limited.restart()
    assert [(await acme.get("/v1/tenant")).status for _ in range(21)] == [200] * 20 + [429]
    assert (await other.get("/v1/tenant")).headers["X-RateLimit-Limit"] == "200"
    await limited.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"api_rate_limit": 0})
    assert (await acme.get("/v1/tenant")).code == "rate_limited"
    await limited.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"api_rate_limit": 1_000})
    limited.clock.ahead_s += 60
    assert (await acme.get("/v1/tenant")).headers["X-RateLimit-Limit"] == "2000"


async def test_all_together_have_a_limit_which_health_does_not_know(
    limited: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await limited.register()
    everybody = limited.app.rates._everybody
    while everybody.take("", limited.clock.monotonic()).allowed:
        pass
    for client in (acme, limited.anybody, limited.operator):
        answer = await client.get("/v1/tenant")
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, "rate_limited", "1")
        assert answer.headers["RateLimit-Policy"] == '"default";q=1000;w=2'
    assert (await limited.anybody.get("/v1/system/health")).status == 200
    limited.clock.ahead_s += 1
    assert (await acme.get("/v1/tenant")).status == 200


async def test_open_streams_are_no_requests(limited: Site) -> None:
    acme = await limited.register()
    async with acme.stream() as stream:
        await stream.content.readuntil(b"\n\n")
        assert limited.app.edge.in_flight == 0
        assert stream.headers["X-RateLimit-Remaining"] == "199"
        assert limited.app.hub.streams == 1


async def test_limits_can_be_turned_off(site: Site, acme: Tenant) -> None:
    await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", {"api_rate_limit": 1})
    answers = [await acme.get("/v1/tenant") for _ in range(5)]
    assert {answer.status for answer in answers} == {200}
    assert "RateLimit" not in answers[0].headers
    assert "limits_left" not in (await acme.get("/v1/whoami")).json


# wrong keys


def from_address(site: Site, address: str, key: str) -> Client:
    """A client behind the proxy."""
    return Client(site, {"Authorization": f"Bearer {key}", "X-Forwarded-For": address} | HTTPS)


async def failures(client: Client, times: int) -> list[Answer]:
    return [await client.get("/v1/tenant") for _ in range(times)]


async def test_ten_wrong_keys_a_minute_from_an_address_are_enough(limited: Site) -> None:
    acme = await limited.register()
    wrong = f"{acme.key[:-1]}{'A' if acme.key[-1] != 'A' else 'B'}"
    guesses = await failures(from_address(limited, "192.0.2.1", wrong), 11)
    assert [answer.status for answer in guesses] == [401] * 10 + [429]
    assert (guesses[-1].code, guesses[-1].headers["Retry-After"]) == ("auth_rate_limited", "60")
    assert (await from_address(limited, "192.0.2.1", "another.key").get("/v1/tenant")).status == 429
    assert (await from_address(limited, "192.0.2.2", wrong).get("/v1/tenant")).status == 401
    assert (await from_address(limited, "192.0.2.2", acme.key).get("/v1/tenant")).status == 200
    assert (await from_address(limited, "192.0.2.1", acme.key).get("/v1/tenant")).status == 200  # known by now
    limited.clock.ahead_s += 61
    assert (await from_address(limited, "192.0.2.1", wrong).get("/v1/tenant")).status == 401


async def test_an_ipv6_host_is_its_network(limited: Site) -> None:
    for n in range(10):
        assert (await from_address(limited, f"2001:db8::{n}", "a.b").get("/v1/tenant")).status == 401
    assert (await from_address(limited, "2001:db8::ffff", "a.b").get("/v1/tenant")).status == 429
    assert (await from_address(limited, "2001:db8:0:1::1", "a.b").get("/v1/tenant")).status == 401


async def test_ten_wrong_bootstrap_tokens_a_minute_are_enough(limited: Site) -> None:
    def holding(token: str, address: str = "192.0.2.9") -> Client:
        return Client(limited, {"X-Bootstrap-Token": token, "X-Forwarded-For": address} | HTTPS)

    for n in range(10):
        path = ("/v1/tenants", "/v1/tenants/x")[n % 2]
        assert (await holding(f"{TOKENS[0][:-1]}{n}x").get(path)).code == "bootstrap_token_invalid"
    assert (await holding(TOKENS[0]).get("/v1/tenants")).code == "auth_rate_limited"
    validate = await limited.anybody.post(
        "/v1/system/bootstrap-token/validate", {"token": "x"}, X_Forwarded_For="192.0.2.9"
    )
    assert validate.code == "auth_rate_limited"
    assert (await holding(TOKENS[0], "192.0.2.8").get("/v1/tenants")).status == 200


# registrations


async def test_registrations_are_limited_by_address_and_in_all_outside_dev(folder: Path) -> None:
    async with a_site(folder) as site:

        async def register(n: int, address: str, **fields: str) -> Answer:
            body = {"name": f"t{n}", "email": f"t{n}@x"}
            headers = {"X_Forwarded_For": address, **fields}
            return await Client(site, HTTPS | BOOTSTRAP).post("/v1/tenants/register", body, **headers)

        first = await register(0, "192.0.2.1", Idempotency_Key="k")
        assert first.status == 201
        assert [(await register(n, "192.0.2.1")).status for n in range(1, 6)] == [201] * 4 + [429]
        refused = await register(6, "192.0.2.1")
        assert (refused.code, refused.headers["Retry-After"] > "0") == ("registration_limited", True)
        repeated = await register(0, "192.0.2.1", Idempotency_Key="k")
        assert (repeated.status, repeated.body) == (201, first.body)
        for n in range(10, 25):
            assert (await register(n, f"192.0.2.{n}")).status == 201
        assert (await register(99, "192.0.2.99")).code == "registration_limited"
        site.clock.ahead_s += 3_601
        assert (await register(99, "192.0.2.99")).status == 201


async def test_registrations_are_not_limited_for_trying_out(limited: Site) -> None:
    assert len({(await limited.register()).id for _ in range(25)}) == 25
