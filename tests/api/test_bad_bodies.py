"""Bodies that are not what the routes want: always the right 4xx with the pointer of the field, and nothing is appended."""

import gzip
import json
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ahplat import limits
from ahplat.api.route import Route
from ahplat.api.routes import ROUTES
from events.log import read_all
from tests.api import bodies
from tests.api.bodies import Field
from tests.api.site import Answer, Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMMANDS = [route for route in ROUTES if route.method != "GET" and route.path != "/mcp"]  # see tests/mcp
LOOKED_AT = (
    "/v1/services",
    "/v1/services/{service_id}/stop",
)  # one with a body, one without; the others with more time
FIELDS = bodies.fields()
STRUCTS = [route for route in bodies.WITH_BODY if any(field.route == route for field in FIELDS)]
SET_ENV = next(route for route in bodies.WITH_BODY if route.path.endswith("/env"))
CREATE = next(route for route in bodies.WITH_BODY if route.path == "/v1/services")
KNOWN = {"invalid_json", "validation_failed", "duplicate_key", "unknown_field", "image_invalid", "image_forbidden"}
KNOWN |= {"source_invalid", "source_forbidden"}

NOT_THERE = (
    "tenant_not_found",
    "tenant_not_suspended",
    "effect_not_found",
    "duplicate_email",
    "service_not_found",
    "volumes_need_one_replica",
    "domain_not_found",
)


class Target:
    """One request of each route that is right but for its body."""

    def __init__(self, site: Site, acme: Tenant, ids: dict[str, str]) -> None:
        self.site = site
        self._acme = acme
        self._ids = ids

    async def ask(self, route: Route, raw: Any, **headers: str) -> Answer:
        client = self._acme if route.auth == "key" else self.site.operator
        return await client.ask(route.method, route.path.format(**self._ids), raw=raw, headers=headers)

    def ordered_since(self, position: int) -> list[str]:
        """What was appended by requests since then; effects of earlier ones may still be at work."""
        found = read_all(self.site.app.log, position, 1_000)
        return [at.type for at in found if at.decoded_meta().actor != "system"]

    async def drop(self, service_id: str) -> None:
        """Gives a service's name free."""
        assert (await self._acme.delete(f"/v1/services/{service_id}")).status == 204


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(site: Site) -> Target:
    acme = await site.register()
    quotas = dict.fromkeys(limits.QUOTAS, 1_000_000) | {"max_memory_mb": 1_000_000_000}
    await site.operator.patch(f"/v1/tenants/{acme.id}/quotas", quotas)
    service = await acme.service(env={"A": "1"})
    await site.settled()
    [deployment] = (await acme.get(f"/v1/services/{service['id']}/deployments")).json
    return Target(
        site,
        acme,
        {
            "service_id": service["id"],
            "deployment_id": deployment["id"],
            "build_id": "0" * 32,
            "database_id": (await acme.post("/v1/databases", {"name": "db", "type": "redis"})).json["id"],
            "volume_id": "0" * 32,
            "backup_id": "0" * 32,
            "key_id": "0" * 32,
            "key": "A",
            "domain": "www.shop.example",
            "tenant_id": (await site.register()).id,
            "position": "1",
            "event_position": "1",
        },
    )


def refused(answer: Answer, pointer: str, about: object) -> None:
    """It is a 400 about this field; or about the whole body, where that is not even JSON."""
    assert answer.status == 400, (about, answer.status, answer.body[:500])
    assert answer.code in KNOWN, (about, answer.code)
    [found, *_] = answer.pointers
    wanted = "" if answer.code == "invalid_json" else pointer
    assert found == wanted or found.startswith(f"{wanted}/"), (about, found)


# every field, one by one


async def none_is_taken(target: Target, field: Field, texts: list[str]) -> None:
    before = target.site.position
    for text in texts:
        answer = await target.ask(field.route, bodies.body(field.route, **{field.name: text}))
        refused(answer, f"/{field.name}", text[:100])
    assert not target.ordered_since(before)


OF_ROUTES = pytest.mark.parametrize("route", STRUCTS, ids=lambda route: f"{route.method} {route.path}")


@OF_ROUTES
async def test_a_field_that_is_not_of_its_type_is_pointed_at(target: Target, route: Route) -> None:
    """Every sixth of the values, another sixth for the next field; all of them are tried with the embedded tests."""
    for number, field in enumerate(FIELDS):
        if field.route == route:
            await none_is_taken(target, field, list(bodies.wrong(field.type))[number % 6 :: 6])


@pytest.mark.embedded
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.where)
async def test_no_value_of_another_type_is_taken_for_a_field(target: Target, field: Field) -> None:
    await none_is_taken(target, field, [*bodies.wrong(field.type), *bodies.NOT_JSON])


@pytest.mark.parametrize("field", [field for field in FIELDS if field.required], ids=lambda field: field.where)
async def test_a_field_that_is_missing_is_pointed_at(target: Target, field: Field) -> None:
    others = {name: text for name, text in bodies.skeleton(field.route).items() if name != field.name}
    raw = json.dumps({name: json.loads(text) for name, text in others.items()}).encode()
    refused(await target.ask(field.route, raw), f"/{field.name}", "missing")


@pytest.mark.parametrize("text", bodies.NOT_JSON)
async def test_what_is_no_json_is_said_so(target: Target, text: str) -> None:
    answer = await target.ask(CREATE, bodies.body(CREATE, memory_mb=text))
    refused(answer, "", text)
    assert answer.code == "invalid_json"


async def test_a_field_that_is_there_twice_is_pointed_at(target: Target) -> None:
    for field in FIELDS:
        raw = bodies.body(field.route, **{field.name: "1"}).replace(b"{", b'{"%b":1,' % field.name.encode(), 1)
        answer = await target.ask(field.route, raw)
        assert (answer.code, answer.pointers) == ("duplicate_key", [f"/{field.name}"])


@OF_ROUTES
async def test_fields_at_their_limits_are_taken(target: Target, route: Route) -> None:
    for field in FIELDS:
        if field.route == route and field.name != "deployment_id" and not route.path.endswith("/data"):
            await limits_are_taken(target, field)


async def limits_are_taken(target: Target, field: Field) -> None:
    for number, value in enumerate(bodies.TEXTS.get(field.name) or bodies.right(field.type)):
        if value == "pending" and field.route.path.endswith("/deploy"):
            continue
        own = {"email": f"limit{number}-{field.name}@example.org", "name": f"limit {field.name} {number}"}
        given = {name: json.dumps(own[name]) for name in bodies.skeleton(field.route) if name in own}
        given[field.name] = json.dumps(value)
        answer = await target.ask(field.route, bodies.body(field.route, **given))
        assert answer.status < 300 or answer.code in NOT_THERE, (str(value)[:80], answer.body)
        if answer.status == 201 and field.route.path == "/v1/services":
            await target.drop(answer.json["id"])


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({}, ""),
        ([], ""),
        ({f"A{n}": "" for n in range(101)}, ""),
        ({"A": 1}, "/A"),
        ({"A": None}, "/A"),
        ({"OK": "1", "A-B": "1"}, "/A-B"),
        ({"": "1"}, "/"),
        ({"a/b~c": "1"}, "/a~1b~0c"),
        ({"A" * 129: "1"}, f"/{'A' * 129}"),
        ({"A": "x" * 32_769}, "/A"),
        ({"A": "\u00e4" * 16_385}, "/A"),
        ({"A": "a\0b"}, "/A"),
        ({"Path": "1"}, "/Path"),
        ({"ld_preload": "1"}, "/ld_preload"),
        ({"LD_LIBRARY_PATH": ""}, "/LD_LIBRARY_PATH"),
        ({"OK": "1", "AH_SERVICE": "admin"}, "/AH_SERVICE"),
        ({"AH_DEPLOYMENT": "x"}, "/AH_DEPLOYMENT"),
        ({"ah_instance_id": "x"}, "/ah_instance_id"),
        ({"AH_EXEC_ID": "x"}, "/AH_EXEC_ID"),
    ],
)
async def test_variables_that_cannot_be_set_are_pointed_at(target: Target, values: Any, pointer: str) -> None:
    before = target.site.position
    answer = await target.ask(SET_ENV, json.dumps(values))
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", [pointer])
    assert not target.ordered_since(before)
    refused(await target.ask(CREATE, bodies.body(CREATE, env=json.dumps(values or 1))), f"/env{pointer}", values)


async def test_numbers_that_a_reader_might_take_for_whole_are_not(target: Target) -> None:
    """512.0 is not 512 here: an integer stays one on its way through every client."""
    refused(await target.ask(CREATE, bodies.body(CREATE, memory_mb="512.0")), "/memory_mb", "512.0")


@pytest.mark.parametrize(
    ("path", "text", "code"),
    [
        ("/v1/services", "nginx; rm", "validation_failed"),
        ("/v1/services", "NGINX", "image_invalid"),
        ("/v1/services", "-v", "image_invalid"),
        ("/v1/services", "evil.example/x", "image_forbidden"),
        ("/v1/services", "127.0.0.1:5000/ah/other-x", "image_forbidden"),
        ("/v1/services", f"ah/{'0' * 32}-{'1' * 32}:1", "image_forbidden"),
        ("/v1/services", f"docker.io/ah/{'0' * 32}-{'1' * 32}:1", "image_forbidden"),
        ("/v1/services/{service_id}/deploy", "a//b", "image_invalid"),
        ("/v1/services/{service_id}/deploy", "pending", "validation_failed"),
    ],
)
async def test_an_image_that_is_none_or_is_not_allowed_is_pointed_at(
    target: Target, path: str, text: str, code: str
) -> None:
    route = next(route for route in bodies.WITH_BODY if route.path == path)
    answer = await target.ask(route, bodies.body(route, image=json.dumps(text)))
    assert (answer.status, answer.code, answer.pointers) == (400, code, ["/image"])


@pytest.mark.parametrize("name", ["...", "ÄÖ", "api", "Traefik", "😀"])
async def test_a_name_that_gives_no_host_name_is_pointed_at(target: Target, name: str) -> None:
    for path in ("/v1/services", "/v1/tenants/register"):
        route = next(route for route in bodies.WITH_BODY if route.path == path)
        refused(await target.ask(route, bodies.body(route, name=json.dumps(f"{name}"))), "/name", name)


# whole bodies


WHOLE: list[tuple[bytes, str]] = [
    (b"[]", "validation_failed"),
    (b"null", "validation_failed"),
    (b'"x"', "validation_failed"),
    (b"17", "validation_failed"),
    (b"true", "validation_failed"),
    (b"{", "invalid_json"),
    (b"{}{}", "invalid_json"),
    (b" ", "invalid_json"),
    (b"\xff\xfe{\x00}\x00", "invalid_json"),
    (b"\xef\xbb\xbf{}", "invalid_json"),
    (b'{"a":1,"a":1}', "duplicate_key"),
    (b'{"a":{"b":[1,{"c":1,"c":2}]}}', "duplicate_key"),
    (b'{"zzz":"\\u0000"}', "validation_failed"),
    (b'{"zzz":"\\ud800"}', "invalid_json"),
    (b'{"zzz":' + b"9" * 400 + b"}", "validation_failed"),
    (b'{"a":' * 100_000, "invalid_json"),
    (b"[" * 500_000 + b"]" * 500_000, "invalid_json"),
    (b"name=web&image=web", "invalid_json"),
    (b"<xml/>", "invalid_json"),
]


@pytest.mark.parametrize(
    "route",
    [pytest.param(one, marks=() if one.path in LOOKED_AT else pytest.mark.embedded) for one in COMMANDS],
    ids=lambda route: f"{route.method} {route.path}",
)
async def test_a_body_that_is_no_object_is_refused_by_every_command(target: Target, route: Route) -> None:
    before = target.site.position
    most = limits.OPEN_BODY_BYTES if route.auth == "none" else limits.BODY_BYTES
    for raw, code in WHOLE:
        answer = await target.ask(route, raw)
        is_long = len(raw) > most
        wanted = (413, "payload_too_large") if is_long else (400, code)
        assert (answer.status, answer.code) == wanted, (raw[:40], answer.body[:300])
        assert is_long or answer.pointers[0] in ("", "/a", "/a/b/1/c", "/zzz"), raw[:40]
    for raw, headers, status, code in (
        (gzip.compress(b"{}"), {"Content-Encoding": "gzip"}, 415, "encoding_unsupported"),
        (b"{}", {"Content-Encoding": "br, gzip"}, 415, "encoding_unsupported"),
        (
            '{"name":"\u00e4"}'.encode("utf-16"),
            {"Content-Type": "application/json; charset=utf-16"},
            400,
            "invalid_json",
        ),
        (
            '{"name":"\u00e4"}'.encode("latin-1"),
            {"Content-Type": "application/json; charset=latin-1"},
            400,
            "invalid_json",
        ),
        (b"x" * (most + 1), {}, 413, "payload_too_large"),
        (b" " * most, {}, 400, "invalid_json"),
    ):
        answer = await target.ask(route, raw, **headers)
        assert (answer.status, answer.code) == (status, code), (headers, answer.body)
    assert not target.ordered_since(before)
    assert (await target.site.anybody.get("/v1/system/health")).status == 200


async def test_a_body_of_exactly_one_mib_is_taken_and_one_byte_more_is_not(target: Target) -> None:
    small = b'{"A":"1"}'
    whole = small + b" " * (limits.BODY_BYTES - len(small))
    assert (await target.ask(SET_ENV, whole)).status == 200
    assert (await target.ask(SET_ENV, whole + b" ")).code == "payload_too_large"
    for sent, status in ((whole, 200), (whole + b" ", 413)):
        assert (await target.ask(SET_ENV, in_pieces(sent))).status == status


async def in_pieces(whole: bytes):  # type: ignore[no-untyped-def]
    for start in range(0, len(whole), 100_000):
        yield whole[start : start + 100_000]


# anything


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.sampled_from([*bodies.HUGE, *bodies.NOT_JSON]) | JSON.map(lambda value: json.dumps(value))


@st.composite
def requests(draw: st.DrawFn) -> tuple[Route, bytes, dict[str, str]]:
    """A route and a body that is right but for some of its fields, or for some of its bytes."""
    route = draw(st.sampled_from(bodies.WITH_BODY))
    mine = [field.name for field in FIELDS if field.route == route] or ["A", "B_C", "PATH", "", "a b"]
    changed = draw(st.dictionaries(st.sampled_from([*mine, "zzz"]), TEXTS, min_size=1, max_size=3))
    raw = bodies.body(route, **changed)
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(st.binary(max_size=4)) + raw[place + draw(st.integers(0, 3)) :]
    headers = {"Prefer": "handling=strict"} if draw(st.booleans()) else {}
    return route, raw, headers


async def is_answered(target: Target, request: tuple[Route, bytes, dict[str, str]]) -> None:
    route, raw, headers = request
    before = target.site.position
    answer = await target.ask(route, raw, **headers)
    assert answer.status < 500, (route.path, raw, answer.body)
    if answer.status == 400:
        assert answer.code in KNOWN and answer.pointers, (route.path, raw, answer.body)
        assert not target.ordered_since(before)
    elif answer.status >= 300:
        assert answer.problem


LOOSE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(deadline=None, max_examples=60, suppress_health_check=LOOSE)
@given(requests())
async def test_no_body_brings_about_anything_but_an_answer(target: Target, request: Any) -> None:
    await is_answered(target, request)


@pytest.mark.embedded
@settings(deadline=None, max_examples=1_000, suppress_health_check=LOOSE)
@given(requests())
async def test_no_body_of_thousands_brings_about_anything_but_an_answer(target: Target, request: Any) -> None:
    await is_answered(target, request)
