"""`ah diff`: what is not the same at two positions, by resource, and nothing that is sealed."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from click.testing import CliRunner

from ahplat.cli.main import main
from events.services import ServiceConfigured
from events.tenants import TenantQuotasSet
from projections.compare import changes, tables_of
from projections.past import views_at
from tests.commands.facts import a_deploy, a_key, a_service, a_tenant, env_set
from tests.commands.given import OTHER_SERVICE, OTHER_TENANT, SERVICE, TENANT, World, a_world, given, later, of
from tests.projections.story import tell


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def diff(world: World, *arguments: object) -> str:
    done = CliRunner().invoke(main, ["diff", *map(str, arguments), "--data-dir", str(world.folder)])
    assert done.exit_code == 0, done.output
    return done.output


def as_json(world: World, *arguments: object) -> Any:
    return json.loads(diff(world, "--json", *arguments))


def test_a_row_that_changed_shows_before_and_after_under_its_resource(world: World) -> None:
    given(a_tenant(), a_service("web"))
    before = world.log.position
    given(ServiceConfigured(memory_mb=768))
    assert diff(world, before, world.log.position).splitlines() == [
        f"service web {SERVICE}",
        "    service: memory_mb 256 → 768, version 1 → 2",
    ]
    assert diff(world, world.log.position, before).splitlines()[1] == "    service: memory_mb 768 → 256, version 2 → 1"
    assert diff(world, before, before) == ""


def test_what_came_and_went_is_told_under_its_resource(world: World) -> None:
    given(a_tenant(), a_service("web"))
    before = world.log.position
    given(a_deploy("d1"), TenantQuotasSet({"max_services": 9}), a_key("k1"), a_key("k2", service_id=SERVICE))
    web, acme = as_json(world, before, world.log.position)
    assert (web["type"], web["id"], web["name"]) == ("service", SERVICE, "web")
    came = {change["table"]: change for change in web["changes"] if change["before"] is None}
    assert came.keys() == {"deployment", "todo", "key"} and came["deployment"]["after"]["image"] == "web:1"
    assert (acme["type"], acme["id"], acme["name"]) == ("tenant", TENANT, "acme")
    assert came["key"]["key"] == {"key_id": "k2"}
    assert {change["table"]: change["key"] for change in acme["changes"]} == {
        "key": {"key_id": "k1"},
        "quota": {"tenant_id": TENANT, "name": "max_services"},
        "tenant": {"tenant_id": TENANT},
    }
    back = as_json(world, world.log.position, before)
    assert {change["table"] for change in back[0]["changes"] if change["after"] is None} == came.keys()
    assert "  + deployment d1: " in diff(world, before, world.log.position)
    assert "  - deployment d1: " in diff(world, world.log.position, before)


def test_what_is_sealed_is_shown_as_sealed_also_where_it_changed(world: World) -> None:
    given(a_tenant(), a_service("web"), env_set("A", value=b"first secret"))
    before = world.log.position
    given(env_set("A", value=b"other secret"))
    told = diff(world, before, world.log.position)
    assert "env A" in told and "sealed sealed" in told and "secret" not in told
    assert "secret" not in diff(world, 1, world.log.position, "--json")


def test_one_tenant_is_told_of_alone(world: World) -> None:
    given(a_tenant(), of(a_tenant("other", b"other@", "10.128.0.64/26"), tenant=OTHER_TENANT))
    before = world.log.position
    given(a_service("web"), of(a_service("api"), OTHER_SERVICE, OTHER_TENANT))
    assert [one["id"] for one in as_json(world, before, world.log.position)] == [SERVICE, OTHER_SERVICE]
    assert [one["id"] for one in as_json(world, before, world.log.position, "--tenant", "other")] == [OTHER_SERVICE]


def test_moments_are_positions_or_times(world: World) -> None:
    given(a_tenant())
    later(10)
    given(a_service("web"))
    assert as_json(world, "2023-11-14T22:13:20Z", "2023-11-14T22:13:30Z") == as_json(world, 2, 3)
    for wrong in ("99", "yesterday", "2023-11-14", "9" * 30):
        done = CliRunner().invoke(main, ["diff", "1", wrong, "--data-dir", str(world.folder)])
        assert done.exit_code == 1 and len(done.output.splitlines()) == 1, done.output


def test_the_changes_between_any_two_positions_turn_the_one_into_the_other(world: World) -> None:
    tell()
    marks = [*range(1, world.log.position, 9), world.log.position]
    for before, after in pairwise(marks):
        one, other = views_at(world.log.db, None, before), views_at(world.log.db, None, after)
        for table in tables_of(one):
            keyed = [apply(one, table), apply(other, table)]
            for change, _ in changes(one, other, table):
                key = tuple(change.key.values())
                assert (change.before is None) == (key not in keyed[0])
                assert (change.after is None) == (key not in keyed[1])
                keyed[0].pop(key, None)
                if change.after is not None:
                    keyed[0][key] = keyed[1][key]
            assert keyed[0] == keyed[1], table


def apply(db: Any, table: str) -> dict[tuple[Any, ...], Any]:
    """The rows of a table by their keys."""
    columns = [*db.execute("SELECT name, pk FROM pragma_table_info(?)", (table,))]
    keys = [name for name, place in sorted(columns, key=lambda column: int(column[1])) if place]
    names = [name for name, _ in columns]
    return {tuple(row[names.index(key)] for key in keys): row for row in db.execute(f"SELECT * FROM {table}")}
