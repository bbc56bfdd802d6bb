"""What the figures mean: work by kind, parked work apart, and how far views are behind."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

from projections import builds, todo
from projections.todo import TodoRow
from projections.views import read_checkpoint
from tests.api.site import Site, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEPLOY, ROUTE = "service.deploy_requested", "service.instance_healthy"


async def figures(site: Site) -> dict[str, float]:
    """Every series and its value."""
    told = (await site.socket.get("/metrics")).body.decode()
    pairs = (line.rsplit(" ", 1) for line in told.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, value in pairs}


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as made:
        yield made


def work(site: Site, kind: str, age_s: int, parked: int = 0) -> TodoRow:
    """A row of the to-do list."""
    opened_us = site.clock.now_us() - age_s * 1_000_000
    return TodoRow(7, kind, "service-s", "t", "", opened_us, 0, 1, 0, opened_us, None, 0, None, parked)


async def test_open_work_is_told_by_kind_and_what_is_parked_does_not_hide_what_is_stuck(
    site: Site, patch: pytest.MonkeyPatch
) -> None:
    rows = [work(site, DEPLOY, 9_000, parked=1), work(site, DEPLOY, 40), work(site, ROUTE, 700)]
    patch.setattr(todo, "open_of_all", lambda views: rows)
    found = await figures(site)
    assert found["ahplat_effects_parked"] == 1
    assert found[f'ahplat_effects_open{{intent="{DEPLOY}"}}'] == 2
    assert 40 <= found[f'ahplat_effect_oldest_seconds{{intent="{DEPLOY}"}}'] < 60
    assert 700 <= found[f'ahplat_effect_oldest_seconds{{intent="{ROUTE}"}}'] < 720
    assert found['ahplat_effect_oldest_seconds{intent="build.requested"}'] == 0


async def test_views_that_are_behind_are_told_in_events_and_in_the_age_of_the_first(
    site: Site, acme: Tenant, patch: pytest.MonkeyPatch
) -> None:
    await acme.service()
    await site.settled()
    found = await figures(site)
    assert found["ahplat_projection_lag_events"] == found["ahplat_projection_lag_seconds"] == 0
    there: Any = read_checkpoint(site.app.views)
    patch.setattr("ahplat.metrics.read_checkpoint", lambda views: structs.replace(there, position=there.position - 3))
    site.clock.ahead_s += 60
    found = await figures(site)
    assert found["ahplat_projection_lag_events"] == 3
    assert 60 <= found["ahplat_projection_lag_seconds"] < 120


async def test_figures_of_use_that_are_behind_are_told_until_somebody_asks_for_them(site: Site, acme: Tenant) -> None:
    await site.app.metering.read(lambda _: None)
    service = await acme.service()
    await site.settled()
    site.clock.ahead_s += 60
    found = await figures(site)
    assert found["ahplat_metering_lag_events"] == found["ahplat_log_position"] - site.app.metering.position > 0
    assert 60 <= found["ahplat_metering_lag_seconds"] < 120
    assert (await acme.get(f"/v1/services/{service['id']}/metrics")).status == 200
    found = await figures(site)
    assert found["ahplat_metering_lag_events"] == found["ahplat_metering_lag_seconds"] == 0


async def test_builds_that_wait_and_that_run_are_told_apart(site: Site, patch: pytest.MonkeyPatch) -> None:
    class Row:
        def __init__(self, status: str) -> None:
            self.status = status

    patch.setattr(builds, "list_open", lambda views: [Row("pending"), Row("pending"), Row("running")])
    found = await figures(site)
    assert (found['ahplat_builds{status="pending"}'], found['ahplat_builds{status="running"}']) == (2, 1)


async def test_answers_are_timed_reads_and_commands_apart(site: Site, acme: Tenant) -> None:
    before = await figures(site)
    await acme.get("/v1/services")
    await acme.post("/v1/services", {"name": ""})
    after = await figures(site)
    name = "ahplat_http_request_duration_seconds_count"
    assert after[f'{name}{{kind="command"}}'] - before[f'{name}{{kind="command"}}'] == 1
    assert after[f'{name}{{kind="read"}}'] - before[f'{name}{{kind="read"}}'] == 2  # the look at the figures is one


async def test_status_names_the_oldest_work_and_in_which_state_it_is(site: Site, patch: pytest.MonkeyPatch) -> None:
    rows = [work(site, DEPLOY, 9_000, parked=1), work(site, ROUTE, 700)]
    patch.setattr(todo, "open_of_all", lambda views: rows * 40)
    answer = await site.socket.get("/v1/system/status")
    assert answer.status == 200, answer.body
    assert answer.json["health"]["effects"]["open"] == 80 and len(answer.json["work"]) == 50
    parked, waits = answer.json["work"][:2]
    assert (parked["state"], parked["type"], parked["position"]) == ("parked", DEPLOY, 7)
    assert waits["state"] == "waits" and 700 <= waits["age_s"] < 720


async def test_what_no_checkpoint_covers_is_told_until_it_is_signed(site: Site, acme: Tenant) -> None:
    await acme.service()
    await site.settled()
    await site.app.checkpoints.caught_up.wait()
    signed = site.app.checkpoints.last
    assert signed
    site.clock.ahead_s += 60
    found = await figures(site)
    assert found["ahplat_checkpoint_lag_events"] == found["ahplat_log_position"] - signed.checkpoint.position > 0
    assert 60 <= found["ahplat_checkpoint_lag_seconds"] < 400
    assert (await acme.get(f"/v1/events/{site.position}/proof")).status == 200  # which has it signed
    found = await figures(site)
    assert found["ahplat_checkpoint_lag_events"] == found["ahplat_checkpoint_lag_seconds"] == 0
    assert found["ahplat_signing_stopped"] == 0


async def test_a_log_that_is_not_what_was_signed_of_it_is_told(site: Site, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(site.app.checkpoints, "problem", "the log is not what was signed of it: position 3 …")
    assert (await figures(site))["ahplat_signing_stopped"] == 1
