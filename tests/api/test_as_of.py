"""`?as_of=`: every resource and every list as it was, which is what the log alone says of then."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from ahplat import limits
from ahplat.api.frames import rfc3339
from ahplat.api.routes import ROUTES
from ahplat.replaying import KINDS
from projections.past import views_at
from tests.api.answering import answering, with_databases
from tests.api.site import Answer, Client, Site, Tenant, a_site

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATER_S = 30
WITH_PAST = [route for route in ROUTES if route.as_of]
Told = dict[str, tuple[int, bytes, str | None]]  # path → (status, body, ETag)


class Story:
    """Two tenants to whom nearly everything happens, and what each read was answered whenever all was at rest."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.acme: Tenant
        self.other: Tenant
        self.ids: dict[str, str] = {}
        self.seen: list[tuple[int, Told]] = []  # (position, what was told)

    async def tell(self) -> None:
        self.acme, self.other = await self.site.register(), await self.site.register()
        for one in (self.acme, self.other):
            one.fields = {**one.fields, "Accept": "application/json"}  # of /v1/events the list
        acme = self.acme
        with_databases(self.site, f"u_{acme.id[:4]}")
        service = await acme.running("web", env={"A": "1"})
        path = f"/v1/services/{service['id']}"
        [made] = (await acme.get("/v1/events?type=service.created")).json
        self.ids = {"service_id": service["id"], "tenant_id": acme.id, "event_position": str(made["position"])}
        self.ids["deployment_id"] = (await acme.get(f"{path}/deployments")).json[0]["id"]
        for name in ("build_id", "database_id", "backup_id", "volume_id"):
            self.ids[name] = "0" * 32
        await self.look()
        self.site.clock.ahead_s += LATER_S
        await acme.post(f"{path}/env", {"A": "2", "B": "3"})
        await self.look()
        await self.other.running("web", volumes={"data": "/data"})
        await acme.post(f"{path}/deploy", {"image": "web:2"}, Prefer="wait=5")
        await self.look()
        await acme.post(f"{path}/domains", {"domain": f"www.{acme.id[:8]}.example"})
        self.ids["build_id"] = (await acme.post(f"{path}/builds", {"git_url": "https://github.com/a/b"})).json["id"]
        await self.look()
        held = await acme.service("held", volumes={"data": "/data"})
        self.ids["volume_id"] = (await acme.get("/v1/volumes")).json[0]["id"]
        await self.look()
        with answering():
            database = await acme.post("/v1/databases", {"name": "db", "type": "redis"}, Prefer="wait=5")
            self.ids["database_id"] = database.json["id"]
            backup = await acme.post(f"/v1/databases/{database.json['id']}/backups")
            self.ids["backup_id"] = backup.json["id"]
            await self.look()
        another = await self.site.another_key(acme, name="short")
        await acme.delete(f"/v1/auth/keys/{another.key[:32]}")
        await acme.post(f"{path}/deploy", {"image": "broken:latest"}, Prefer="wait=5")
        await self.look()
        await acme.patch("/v1/tenant", {"name": "renamed"})
        await acme.delete(f"/v1/services/{held['id']}", Prefer="wait=5")
        await acme.post(f"{path}/stop", Prefer="wait=5")
        await self.look()
        await acme.delete(f"{path}/env/A")
        await acme.delete(path, Prefer="wait=5")
        await self.look()

    async def look(self) -> None:
        """Notes what every read with a past is answered now."""
        await self.site.settled()
        before = self.site.position
        told = {path: of(await client.get(path)) for path, client in self.asked() if not path.endswith("/metrics")}
        if self.site.position == before:  # else something came between
            self.seen.append((before, told))

    def asked(self) -> list[tuple[str, Client]]:
        """Every read with a past, and who may ask it."""
        by = {"key": self.acme, "operator": self.site.operator}
        return [(route.path.format(**self.ids), by[route.auth]) for route in WITH_PAST]


def of(answer: Answer) -> tuple[int, bytes, str | None]:
    """What an answer says that follows from the log; of problems no more than which."""
    if answer.status != 200:
        return answer.status, answer.code.encode(), None
    tag = answer.headers.get("ETag")
    body = answer.json
    for one in body if isinstance(body, list) else [body]:
        if one.pop("bytes", None) is not None and "sha256" not in one:
            tag = None
        if one.pop("queue_position", None):
            tag = None
    return 200, msgspec.json.encode(body), tag


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(module_folder: Path) -> AsyncIterator[Story]:
    async with a_site(module_folder / "story", dev=True) as site:
        told = Story(site)
        await told.tell()
        yield told


def at(path: str, moment: int | str) -> str:
    return f"{path}?as_of={moment}"


async def test_what_was_told_once_is_told_again_of_then(story: Story) -> None:
    assert len(story.seen) >= 6
    answered = set()
    for position, told in story.seen:
        for path, client in story.asked():
            if path in told:
                again = of(await client.get(at(path, position)))
                assert again == told[path], (position, path)
                answered |= {path} if again[0] == 200 else set()
    assert answered >= {path for path, _ in story.asked() if not path.endswith("/metrics")}  # which go on by the second


async def test_at_every_position_it_is_what_a_replay_of_the_whole_log_says(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replayed(log: Any, tenant_id: str, position: int, kind: str) -> tuple[Any, int]:
        return views_at(log, None, position, KINDS[kind]), 1

    history = type(story.site.app.history)
    for position in range(story.seen[0][0], story.site.position + 1, 3):
        own = {path: await client.get(at(path, position)) for path, client in story.asked()}
        with monkeypatch.context() as patch:
            patch.setattr("ahplat.api.history._folded", replayed)
            patch.setattr(story.site.app, "history", history(story.site.config.data_dir / "events.db"))
            for path, client in story.asked():
                whole = await client.get(at(path, position))
                assert (of(own[path]), own[path].headers.get("Link")) == (of(whole), whole.headers.get("Link")), path


async def test_usage_of_then_is_what_was_reserved_up_to_then(story: Story) -> None:
    log, service_id = story.site.app.log, story.ids["service_id"]
    served, at_us = log.execute(
        "SELECT position, at_us FROM event WHERE type = 'service.instance_healthy' AND tenant = ?", (story.acme.id,)
    ).fetchone()
    path = f"/v1/services/{service_id}/metrics"
    assert (await story.acme.get(at(path, served - 1))).json == []
    for position, _ in story.seen[1:]:
        until_us = log.execute("SELECT at_us FROM event WHERE position = ?", (position,)).get
        rows = (await story.acme.get(at(path, position))).json
        ran_s = sum(row["running_seconds"] for row in rows)
        assert LATER_S <= ran_s <= until_us // 1_000_000 - at_us // 1_000_000, position
        whole = (await story.acme.get(at("/v1/tenant/usage/metrics", position))).json
        assert [row for row in whole if row.get("service_id") == service_id] == rows


async def test_a_time_is_as_good_as_the_position_that_was_last_then(story: Story) -> None:
    log, (position, told) = story.site.app.log, story.seen[2]
    at_us = log.execute("SELECT at_us FROM event WHERE position = ?", (position,)).get
    path = f"/v1/services/{story.ids['service_id']}"
    assert of(await story.acme.get(at(path, rfc3339(at_us)))) == told[path]
    earlier = at(path, rfc3339(log.execute("SELECT at_us FROM event WHERE position = 5").get - 1))
    assert (await story.acme.get(earlier)).status in (404, 200)
    now = of(await story.acme.get(at("/v1/activity", rfc3339(story.site.clock.now_us()))))
    assert now == of(await story.acme.get("/v1/activity"))


async def test_a_tag_of_then_saves_the_read_and_is_the_tag_that_it_had(story: Story) -> None:
    position, told = story.seen[1]
    path = f"/v1/services/{story.ids['service_id']}"
    tag = told[path][2]
    assert tag
    again = await story.acme.get(at(path, position), If_None_Match=tag)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert (await story.acme.get(at(path, story.seen[2][0]), If_None_Match=tag)).status == 200


async def test_it_is_known_also_where_unknown_parameters_are_refused(story: Story) -> None:
    position, _ = story.seen[-1]
    for path, client in story.asked():
        assert (await client.get(at(path, position), Prefer="handling=strict")).status in (200, 404), path
    assert (await story.acme.get(f"/v1/whoami?as_of={position}", Prefer="handling=strict")).code == "unknown_field"


async def all_pages(client: Client, path: str) -> list[Any]:
    """A list to its end, as its links lead on."""
    found: list[Any] = []
    while path:
        answer = await client.get(path)
        found += answer.json
        path = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    return found


async def test_pages_of_a_list_of_then_are_all_of_then(story: Story) -> None:
    position, _ = story.seen[-2]
    whole = (await story.acme.get(f"/v1/activity?limit=200&as_of={position}")).json
    found = await all_pages(story.acme, f"/v1/activity?limit=7&as_of={position}")
    assert found == whole and whole[0]["position"] <= position


async def test_events_of_then_are_those_up_to_then_read_either_way(story: Story) -> None:
    whole = (await story.acme.get("/v1/events?after=0&limit=200")).json
    for position, _ in story.seen:
        then = [event for event in whole if event["position"] <= position]
        assert then != whole or position == story.seen[-1][0]
        assert (await story.acme.get(f"/v1/events?limit=200&as_of={position}")).json == then[::-1]
        assert await all_pages(story.acme, f"/v1/events?after=0&limit=2&as_of={position}") == then


async def test_a_cursor_past_then_is_gone_as_it_was_then(story: Story) -> None:
    position, _ = story.seen[0]
    assert (await story.acme.get(f"/v1/events?after={position}&as_of={position}")).json == []
    assert (await story.acme.get(f"/v1/events?after={position + 1}&as_of={position}")).code == "cursor_gone"


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json, text/event-stream", "*/*"])
async def test_a_stream_goes_on_and_has_no_past(story: Story, accept: str) -> None:
    answer = await story.acme.get(at("/v1/events", story.seen[0][0]), Accept=accept)
    assert (answer.status, answer.pointers) == (400, ["/query/as_of"])


async def test_an_event_led_to_nothing_before_it_happened(story: Story) -> None:
    position = int(story.ids["event_position"])
    for path in (f"/v1/events/{position}", f"/v1/events/{position}/why"):
        assert (await story.acme.get(at(path, position - 1))).code == "event_not_found"
    first = (await story.acme.get(at(f"/v1/events/{position}/why", position))).json
    assert first["event"].get("effects", []) == [] and first["read_to"] == position


async def test_variables_of_then_are_masked_and_can_be_revealed(story: Story) -> None:
    path = f"/v1/services/{story.ids['service_id']}/env"
    position, _ = story.seen[0]
    assert (await story.acme.get(at(path, position))).json == {"A": "********"}
    revealed = await story.acme.get(f"{path}?reveal=true&as_of={position}")
    assert revealed.json == {"A": "1"} and revealed.headers["Cache-Control"] == "no-store"
    reader = await story.site.another_key(story.acme, scopes=["read"])
    assert (await reader.get(f"{path}?reveal=true&as_of={position}")).code == "forbidden_scope"


@pytest.mark.parametrize(
    "moment", ["", "x", "-1", "1.5", "9" * 18, "9" * 30, "2026-01-31", "2999-01-01T00:00:00Z", "1%00"]
)
async def test_what_is_no_moment_or_has_not_come_is_refused(story: Story, moment: str) -> None:
    for path in ("/v1/services", f"/v1/services/{story.ids['service_id']}"):
        answer = await story.acme.get(at(path, moment))
        assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", ["/query/as_of"])


async def test_before_a_tenant_was_there_it_is_not_found(story: Story) -> None:
    log = story.site.app.log
    registered = log.execute("SELECT position FROM event WHERE tenant = ? LIMIT 1", (story.acme.id,)).get
    for moment in (0, 1, registered - 1, "2001-01-01T00:00:00Z"):
        answer = await story.acme.get(at("/v1/services", moment))
        assert (answer.status, answer.code) == (404, "tenant_not_found")
    assert (await story.acme.get(at("/v1/services", registered))).json == []
    listed = (await story.site.operator.get(at("/v1/tenants", registered - 1))).json
    assert story.acme.id not in [row["id"] for row in listed]
    assert (await story.site.operator.get(at(f"/v1/tenants/{story.acme.id}", registered - 1))).status == 404


async def test_what_is_only_known_of_now_and_commands_say_so(story: Story) -> None:
    ids = dict.fromkeys(("key", "key_id", "domain", "code", "position"), "x") | story.ids
    by: dict[str, Client] = {"key": story.acme, "key_or_operator": story.acme}
    before = story.site.position
    for route in ROUTES:
        if not route.as_of and route.path != "/metrics":
            client = by.get(route.auth, story.site.operator)
            path = at(route.path.format(**ids), before)
            answer = await client.ask(route.method, path, {} if route.method != "GET" else None)
            assert (answer.status, answer.pointers) == (400, ["/query/as_of"]), path
            assert "no past" in answer.problem["detail"]
    assert story.site.position == before


async def test_the_past_is_not_waited_for(story: Story) -> None:
    path = f"/v1/services/{story.ids['service_id']}"
    answer = await story.acme.get(f"{path}?as_of={story.seen[0][0]}&wait=running")
    assert (answer.status, answer.pointers) == (400, ["/query/wait"])


async def test_another_tenants_past_is_not_there(story: Story) -> None:
    for position, _ in story.seen[1:]:
        for path, client in story.asked():
            if client is story.acme:
                answer = await story.other.get(at(path, position))
                assert answer.status == 404 or story.ids["service_id"].encode() not in answer.body, path
                assert answer.status == (404 if any(id_ in path for id_ in story.ids.values()) else 200), path


async def test_a_key_for_one_service_sees_the_past_of_that_one(story: Story) -> None:
    own = await story.acme.post("/v1/services", {"name": "own"})
    narrow = await story.site.another_key(story.acme, service_id=own.json["id"])
    now = story.site.position
    assert [row["id"] for row in (await narrow.get(at("/v1/services", now))).json] == [own.json["id"]]
    assert (await narrow.get(at("/v1/services", story.seen[1][0]))).json == []
    assert (await narrow.get(at(f"/v1/services/{story.ids['service_id']}", now))).code == "forbidden_scope"


async def test_how_much_is_folded_and_kept_is_bounded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    history = story.site.app.history
    history._kept.clear()
    with monkeypatch.context() as patch:
        patch.setattr(limits, "PAST_EVENTS", 5)
        answer = await story.acme.get(at("/v1/services", story.site.position))
        assert (answer.status, answer.pointers) == (400, ["/query/as_of"])
    first = story.seen[0][0]
    with monkeypatch.context() as patch:
        patch.setattr(limits, "PAST_EVENTS", 2 * first)
        for position in range(first - 4, first + 1):
            assert (await story.acme.get(at("/v1/services", position))).status == 200
        assert sum(events for _, events in history._kept.values()) <= 2 * first
        assert (story.acme.id, first, "views") in history._kept and (
            story.acme.id,
            first - 4,
            "views",
        ) not in history._kept
    with monkeypatch.context() as patch:
        patch.setattr(limits, "PAST_KEPT", 2)
        for position in range(first - 4, first + 1):
            assert (await story.acme.get(at("/v1/services", position))).status == 200
        assert [*history._kept] == [(story.acme.id, first - 1, "views"), (story.acme.id, first, "views")]
    with monkeypatch.context() as patch:
        patch.setattr(limits, "PAST_WAITING", 0)
        assert (await story.acme.get(at("/v1/services", first))).status == 200  # it is kept
        answer = await story.acme.get(at("/v1/services", first - 4))
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "overloaded", "1")


async def test_of_an_erased_tenant_nothing_is_told_of_the_past_either(site: Site) -> None:
    gone = await site.register("secret name")
    await gone.running("shop")
    position = site.position
    path = f"/v1/tenants/{gone.id}"
    assert (await site.operator.get(at(path, position))).json["name"] == "secret name"
    await site.operator.delete(f"{path}/data", {"confirm": "secret name"}, Prefer="wait=10")
    assert (await site.operator.get(path)).json["status"] == "erased"
    for asked in (path, "/v1/tenants"):
        body = (await site.operator.get(at(asked, position))).body
        assert gone.id.encode() in body and b"secret" not in body
    assert (await gone.get(at("/v1/services", position))).status in (401, 403, 404)
