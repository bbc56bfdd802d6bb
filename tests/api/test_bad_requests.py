"""Requests that are odd everywhere but in their body: paths, queries, header fields, framing. All are answered, none breaks."""

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ahplat import limits
from ahplat.api.connection import Protocol, Server
from ahplat.api.routes import ROUTES
from tests.api.site import Answer, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOSE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
JUNK = [
    "%00",
    "%ff",
    "%C0%80",
    "%ED%A0%80",
    "..%2f..",
    "%2e%2e",
    "x" * 300,
    "'--",
    "%0d%0aX-Evil:%201",
    "{}",
    "*",
    "%25%30%30",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def curious(site: Site) -> Tenant:
    """A tenant with a service, for all tests that change nothing."""
    tenant = await site.register()
    await tenant.service(image="")
    return tenant


async def is_well(site: Site) -> bool:
    return (await site.anybody.get("/v1/system/health")).body == b'{"status":"ok"}'


# paths


@pytest.mark.parametrize(
    "path",
    [
        "//v1/services",
        "/v1//services",
        "/v1/services//",
        "/v1/./services",
        "/v1/../v1/services",
        "/v1/%2e%2e/v1/services",
        "/v1/services%2f",
        "/v1%2fservices",
        "/%76%31/services",
        "/v1/services/%2e%2e/tenant",
        "/v1/services;x=1",
        "/v1/services%00",
        "/V1/services",
        "/v1/{}/env",
        "/v1/services/a/b/c/d/e/f/g",
        "/" + "a/" * 3_500,
        "/{}",
        "/" + "%2f" * 2_000,
    ],
)
async def test_a_path_is_what_it_is_and_nothing_else(site: Site, curious: Tenant, path: str) -> None:
    answer = await curious.ask("GET", path)
    assert (answer.status, answer.code) == (404, "not_found")
    assert "Location" not in answer.headers


@pytest.mark.parametrize("junk", JUNK)
async def test_an_id_that_is_none_is_not_found_on_every_route(site: Site, curious: Tenant, junk: str) -> None:
    before = site.position
    for route in ROUTES:
        if route.auth == "key" and "{" in route.path:
            names = (
                "service_id",
                "deployment_id",
                "build_id",
                "key_id",
                "key",
                "database_id",
                "backup_id",
                "volume_id",
                "domain",
                "event_position",
            )
            bodies = {"env": {"A": "1"}, "domains": {"domain": "a.example"}, "restore": {"backup_id": "0" * 32}}
            body = bodies.get(route.path.rpartition("/")[2], {})
            answer = await curious.ask(
                route.method, route.path.format(**dict.fromkeys(names, junk)), None if route.method == "GET" else body
            )
            assert answer.status == 404 and answer.code.endswith("_not_found"), (route.path, answer.body)
    assert site.position == before
    assert b"\r\nX-Evil" not in await raw(site, curious, f"/v1/services/{junk}")


async def raw(site: Site, client: Tenant, path: str, *fields: str) -> bytes:
    """A GET of which not even a client library has an opinion."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {client.key}",
        "Connection: close",
        *fields,
    ]
    return await site.raw("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))


async def test_bytes_that_no_url_has_are_refused(site: Site, curious: Tenant) -> None:
    for path in ("/v1/services/\udcff", "/v1/services/ä", "/v1/services?status=\udcff", "/v1/ser vices", "/v1/\x01"):
        assert b" 400 " in (await raw(site, curious, path)).splitlines()[0], path
    assert await is_well(site)


async def test_what_a_parser_of_another_kind_lets_through_is_no_break_either(site: Site, curious: Tenant) -> None:
    """The parser in use refuses bytes that no URL has; should it once not, they become U+FFFD."""
    from ahplat.api.server import _origin_form

    class Odd:
        raw_path = "/v1/services/\udcff?status=\udcff"

    assert _origin_form(Odd()) == "/v1/services/\ufffd?status=\ufffd"  # type: ignore[arg-type]


# queries

PARAMETERS = [
    ("/v1/services", ["limit", "offset", "cursor", "status", "min_position"]),
    ("/v1/services/{id}", ["wait", "timeout", "min_position"]),
    ("/v1/services/{id}/env", ["reveal"]),
    ("/v1/services/{id}/deployments", ["limit", "offset", "cursor"]),
    ("/v1/auth/keys", ["limit", "cursor"]),
    ("/v1/activity", ["limit", "offset", "cursor", "since", "resource_type", "action", "service_id"]),
    ("/v1/events", ["after", "type", "resource", "limit"]),
    ("/v1/tenant", ["fields"]),
]


def well_answered(answer: Answer, about: object) -> None:
    assert answer.status in (200, 400, 404, 410), (about, answer.status, answer.body)
    if answer.status == 400:
        assert answer.code == "validation_failed", about
        assert all(pointer.startswith("/query/") for pointer in answer.pointers) and answer.pointers, about
    elif answer.status != 200:
        assert answer.code in ("cursor_gone", "service_not_found", "not_found"), about
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(("path", "names"), PARAMETERS)
async def test_junk_in_a_parameter_is_a_400_or_finds_nothing(
    site: Site, curious: Tenant, path: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POSITION_WAIT_S", 0.0)
    [service] = (await curious.get("/v1/services")).json
    for name in names:
        for value in [*JUNK, "", "-1", "1e3", "9" * 40, "0x1", "null", "[1]", "%D9%A3", "+1", "%20" + "1", "1%0a"]:
            query = f"{path.format(id=service['id'])}?{name}={value}"
            well_answered(await curious.get(query, Accept="application/json"), query)


async def test_of_a_parameter_that_is_given_twice_the_first_counts(site: Site, curious: Tenant) -> None:
    assert (await curious.get("/v1/services?limit=1&limit=x&&&=&=x&limit")).status == 200
    assert (await curious.get("/v1/services?limit=x&limit=1")).pointers == ["/query/limit"]


async def is_answered_whatever_the_query(curious: Tenant, query: tuple[str, list[tuple[str, str]], bool]) -> None:
    path, pairs, accepts_json = query
    text = "&".join(f"{name}={value}" for name, value in pairs)
    fields = {"Accept": "application/json"} if accepts_json or path == "/v1/events" else {}
    answer = await curious.get(f"{path.format(id='0' * 32)}?{text}", **fields)
    well_answered(answer, (path, text))


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]], bool]:
    path, names = draw(st.sampled_from(PARAMETERS))
    safe = [name for name in names if name not in ("min_position", "wait")]
    value = st.sampled_from(JUNK) | st.integers(-5, 300).map(str) | st.text("0123456789abcdefT:-+Z.%20*,_", max_size=30)
    wellformed = value.filter(lambda text: len(text) < 7_000)
    return path, draw(st.lists(st.tuples(st.sampled_from([*safe, "zzz"]), wellformed), max_size=4)), draw(st.booleans())


@settings(deadline=None, max_examples=40, suppress_health_check=LOOSE)
@given(queries())
async def test_no_query_brings_about_anything_but_an_answer(curious: Tenant, query: Any) -> None:
    await is_answered_whatever_the_query(curious, query)


@pytest.mark.embedded
@settings(deadline=None, max_examples=1_000, suppress_health_check=LOOSE)
@given(queries())
async def test_no_query_of_many_brings_about_anything_but_an_answer(curious: Tenant, query: Any) -> None:
    await is_answered_whatever_the_query(curious, query)


# header fields


@pytest.mark.parametrize(
    "field",
    [
        "X-Request-Id: a\r\n evil: 1",
        "X-Request-Id: a\nevil: 1",
        "X-Request-Id: a\revil: 1",
        "Idempotency-Key: a\r\n\tb",
        "X-Request-Id: \udcff",
        "If-None-Match: \udcff",
        "Prefer: \udcff",
        "traceparent: \udcff",
        "Accept: \udcff",
        "Last-Event-ID: \udcff",
        "X-Forwarded-For: \udcff, \udcff",
        "X-Forwarded-Proto: \udcff",
        "Authorization: Bearer \udcff",
        "If-Position: \udcff",
        "X-Bootstrap-Token: \udcff",
        "Host: \udcff",
        "Content-Length: -1",
        "Content-Length: 1, 2",
        "Transfer-Encoding: gzip",
        ": x",
        "X-Request-Id",
        "Expect: 200-maybe",
        "Upgrade: websocket",
        "Content-Encoding: \udcff",
    ],
)
async def test_no_header_field_breaks_anything_or_becomes_another(site: Site, curious: Tenant, field: str) -> None:
    for line in ("GET /v1/services", "HEAD /v1/events", "POST /v1/system/bootstrap-token/validate"):
        text = f"{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {curious.key}\r\nConnection: close\r\n"
        answer = await site.raw(f"{text}{field}\r\n\r\n".encode("utf-8", "surrogateescape"))
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        assert status < 500, answer
        assert b"\r\nevil:" not in head.lower() and b"\nevil" not in head.lower()
        if status >= 400 and body:
            assert json.loads(body)["status"] == status
    assert await is_well(site)


async def test_a_token_of_bytes_that_are_no_text_is_only_wrong(site: Site) -> None:
    head = b"GET /v1/tenants HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    assert b'"bootstrap_token_invalid"' in await site.raw(head + b"X-Bootstrap-Token: \xff\xfe\r\n\r\n")
    assert b'"unauthenticated"' in await site.raw(
        head.replace(b"tenants", b"tenant") + b"Authorization: Bearer a.\xff\r\n\r\n"
    )


# framing

POST = "POST /v1/services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n"


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", b"bad_request"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n", b"bad_request"),
        (b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"bad_request"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", b"bad_request"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"validation_failed"),
        (b"Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 2\r\n\r\n{}", b"Idempotency-Key: expected"),
        (b"Content-Length: 2\r\n\r\n{}", b"validation_failed"),
        (b"Content-Length: 99999999999999999999\r\n\r\n{}", b"_"),
        (b"Content-Length: 1048577\r\n\r\n" + b" " * 1_048_577, b"payload_too_large"),
    ],
)
async def test_a_body_in_a_broken_frame_is_refused(site: Site, curious: Tenant, rest: bytes, code: bytes) -> None:
    before = site.position
    answer = await site.raw(POST.format(curious.key).encode() + rest)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert 400 <= int(head.split()[1]) < 500 and code in body, answer
    assert site.position == before
    assert await is_well(site)


async def half_a_body(site: Site, client: Tenant, rest: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request whose handler waits for the rest of the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.port)
    writer.write(POST.format(client.key).encode().replace(b"Connection: close\r\n", b"") + rest)
    async with asyncio.timeout(5):
        while not site.app.edge.in_flight:
            await asyncio.sleep(0)
    return reader, writer


@pytest.mark.parametrize("late", [b"ZZ\r\n", b"1\r\n}}}", b"\x00"])
async def test_a_frame_that_breaks_while_the_body_is_read_is_refused_too(
    site: Site, curious: Tenant, late: bytes
) -> None:
    reader, writer = await half_a_body(site, curious, b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    writer.write(late + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ") and b'"bad_request"' in answer, answer
    assert answer.count(b"HTTP/1.1 400 ") == 1


async def test_garbage_after_a_request_does_not_spoil_it(site: Site, curious: Tenant) -> None:
    fresh = await site.another_key(curious)  # that bcrypt has to look at: there is time for the garbage to arrive
    text = f"POST /v1/auth/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {fresh.key}\r\nContent-Length: 2\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.port)
    writer.write(text.encode() + b"{}")
    async with asyncio.timeout(5):
        while not site.app.edge.in_flight:
            await asyncio.sleep(0)
    writer.write(b"garbage\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 201 ") and b" 400 Bad Request\r\n" in answer


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    site: Site, curious: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.01)
    reader, writer = await half_a_body(site, curious, b"Content-Length: 100\r\n\r\n{")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET /v1", b"GET /v1/system/health HTTP/1.1\r\nHost: x\r\n"])
@pytest.mark.parametrize("before", [b"", b"GET /v1/system/health HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_connection_on_which_no_whole_request_comes_is_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch, before: bytes, begun: bytes
) -> None:
    monkeypatch.setattr(limits, "HEAD_S", 0.05)
    monkeypatch.setattr(limits, "HEAD_SWEEP_S", 0.01)
    await site.restart()  # which looks as often as that
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.port)
    writer.write(before + begun)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.count(b"HTTP/1.1 200 ") == (1 if before else 0)


async def test_a_connection_that_is_used_stays_though_no_look_meets_a_request(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[Server] = []

    async def by_hand(server: Server) -> None:
        servers.append(server)

    monkeypatch.setattr(Server, "sweep", by_hand)
    await site.restart()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.app.port)
    for _ in range(3):
        for connection in list(servers[0].connections):
            assert isinstance(connection, Protocol)
            connection._quiet_since -= limits.HEAD_S + 1  # so much time has gone by
        writer.write(b"GET /v1/system/health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.readuntil(b'{"status":"ok"}'), 5)
        assert answer.startswith(b"HTTP/1.1 200 ")
        for connection in list(servers[0].connections):
            assert isinstance(connection, Protocol)
            connection.sweep()
    writer.close()


async def test_a_large_body_of_nobody_is_not_even_read(site: Site) -> None:
    body = b'{"name":"' + b"x" * limits.OPEN_BODY_BYTES + b'"}'
    answer = await site.anybody.ask("POST", "/v1/tenants/register", raw=body)
    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_a_client_that_goes_before_its_body_is_there_does_no_harm(site: Site, curious: Tenant) -> None:
    before = site.position
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", site.app.port)
        writer.write(POST.format(curious.key).encode() + b'Content-Length: 100\r\n\r\n{"name":')
        await writer.drain()
        writer.transport.abort()
    while site.app.edge.in_flight:
        await asyncio.sleep(0)
    assert site.position == before and await is_well(site)


async def test_a_body_on_a_read_is_let_go(site: Site, curious: Tenant) -> None:
    for sent in (b"{", b"x" * limits.BODY_BYTES, b'{"limit":1}'):
        answer = await curious.ask("GET", "/v1/services", raw=sent)
        assert (answer.status, len(answer.json)) == (200, 1)
    assert (await curious.ask("GET", "/v1/services", raw=b"x" * (limits.BODY_BYTES + 1))).code == "payload_too_large"


async def test_who_waits_to_be_told_to_go_on_is_told_so_or_refused(site: Site, curious: Tenant) -> None:
    head = POST.format(curious.key).encode() + b"Expect: 100-continue\r\nContent-Length: "
    for length, first in ((b"2", b"HTTP/1.1 100 "), (b"9999999", b"HTTP/1.1 413 ")):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.app.port)
        writer.write(head + length + b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(first)
        if length == b"2":
            writer.write(b"{}")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_requests_may_come_one_right_after_the_other(site: Site, curious: Tenant) -> None:
    one = b"GET /v1/system/health HTTP/1.1\r\nHost: a\r\n\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = await site.raw(one * 5 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 6 == answer.count(b'{"status":"ok"}')
