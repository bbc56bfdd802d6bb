"""`ah log` and `ah why` over a folder: what is asked for, and nothing that is sealed."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from ahplat.cli.main import main
from events.effects import EffectAttempted
from events.event import Meta
from events.services import ServiceRouteRepaired
from tests.commands.facts import a_deploy, a_key, a_service, a_tenant, env_set
from tests.commands.given import OTHER_SERVICE, OTHER_TENANT, SERVICE, TENANT, World, a_world, given, later, of

SEALED = [b64encode(text).decode() for text in (b"sealed", b"name", b"email", b"acme@", b"digest")]


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        given(a_tenant(), a_key("k1"))  # 2, 3
        given(of(a_tenant("other", b"other@", "10.128.0.64/26"), tenant=OTHER_TENANT))  # 4
        later(10)
        given(a_service("web"), env_set("HUSH"), a_deploy("d1"))  # 5, 6, 7
        later(10)
        given(of(a_service("web"), OTHER_SERVICE, OTHER_TENANT))  # 8
        given(EffectAttempted(7, f"service-{SERVICE}", 1))  # 9
        yield made


def ah(world: World, *arguments: str) -> str:
    """What a command says, where it ends well."""
    done = CliRunner().invoke(main, [*arguments, "--data-dir", str(world.folder)])
    assert done.exit_code == 0, done.output
    return done.output


def refused(world: World, *arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments, "--data-dir", str(world.folder)])
    assert done.exit_code == 1, done.output
    assert len(done.output.splitlines()) == 1
    return done.output


def positions(world: World, *options: str) -> list[int]:
    return [json.loads(line)["position"] for line in ah(world, "log", "--json", *options).splitlines()]


def test_all_is_shown_in_order(world: World) -> None:
    assert positions(world) == [*range(1, 10)]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--tenant", TENANT], [2, 3, 5, 6, 7, 9]),
        (["--tenant", "other"], [4, 8]),
        (["--type", "service.*"], [5, 6, 7, 8]),
        (["--type", "service.created"], [5, 8]),
        (["--type", "*created", "--type", "tenant.*"], [1, 2, 3, 4, 5, 8]),
        (["--resource", SERVICE], [5, 6, 7, 9]),
        (["--resource", "web"], [5, 6, 7, 8, 9]),
        (["--resource", "web", "--tenant", "other"], [8]),
        (["--resource", "d1".zfill(32)], []),
        (["--actor", "system"], [1]),
        (["--actor", "t*t"], [*range(2, 10)]),
        (["--after", "6"], [7, 8, 9]),
        (["--to", "3"], [1, 2, 3]),
        (["--since", "1700000010"], [5, 6, 7, 8, 9]),
        (["--since", "2023-11-14T22:13:30Z", "--until", "2023-11-14T22:13:40Z"], [5, 6, 7]),
        (["--until", "1700000000"], []),
        (["-n", "2"], [8, 9]),
        (["-n", "2", "--type", "service.*", "--to", "6"], [5, 6]),
        (["-n", "0"], [*range(1, 10)]),
        (["-n", "1", "--after", "5"], [6, 7, 8, 9]),
    ],
)
def test_what_is_asked_for_is_shown_and_nothing_else(world: World, options: list[str], wanted: list[int]) -> None:
    assert positions(world, *options) == wanted


def test_a_long_log_is_read_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ahplat.cli.log.CHUNK", 2)
    assert positions(world, "-n", "0") == [*range(1, 10)]


def test_a_line_says_where_when_who_what_and_about_what(world: World) -> None:
    [line] = ah(world, "log", "--after", "4", "--to", "5").splitlines()
    assert line.split()[:5] == ["5", "2023-11-14T22:13:30.000Z", "test", "service.created", f"service-{SERVICE}"]
    assert "name web" in line


def test_nothing_sealed_is_shown(world: World) -> None:
    for told in (ah(world, "log"), ah(world, "log", "--json"), ah(world, "why", "6"), ah(world, "why", "--json", "6")):
        assert not any(secret in told for secret in SEALED), told


def test_an_event_of_a_newer_release_is_shown_by_its_type_alone(world: World) -> None:
    world.log.begin()
    world.log.db.execute(
        "INSERT INTO event SELECT position + 1, stream, version + 1, 'service.sang', at_us, tenant,"
        ' CAST(\'{"type":"service.sang"}\' AS BLOB), meta, link'
        " FROM event WHERE position = 9"
    )
    world.log.db.execute("COMMIT")
    shown = json.loads(ah(world, "log", "--json", "--after", "9"))
    assert (shown["type"], shown["data"]) == ("service.sang", {})


def test_what_is_not_there_is_refused_in_one_line(world: World, tmp_path: object) -> None:
    assert "there is no tenant nobody" in refused(world, "log", "--tenant", "nobody")
    assert "nothing is or was called gone" in refused(world, "log", "--resource", "gone")
    assert "expected unix seconds" in refused(world, "log", "--since", "yesterday")
    assert "there is no event 99" in refused(world, "why", "99")
    assert "name one by its id" in refused(world, "why", "web")
    done = CliRunner().invoke(main, ["log", "--data-dir", str(tmp_path)])
    assert done.exit_code == 2 and "is it the server's --data-dir?" in done.output


@pytest.mark.parametrize("option", ["--after", "--to", "-n"])
def test_a_number_that_no_position_can_be_is_refused(world: World, option: str) -> None:
    assert positions(world, option, str(10**18 - 1)) == ([] if option == "--after" else [*range(1, 10)])
    done = CliRunner().invoke(main, ["log", option, str(2**63), "--data-dir", str(world.folder)])
    assert (done.exit_code, "is not in the range" in done.output) == (2, True)


def test_why_draws_the_tree_from_the_request_on(world: World) -> None:
    world.log.begin()
    for cause, seconds in ((7, 1), (10, 65), (7, 66)):
        meta = Meta("system", "Report", cause=cause)
        at_us = 1_700_000_010_000_000 + seconds * 1_000_000
        world.log.append(f"service-{SERVICE}", [ServiceRouteRepaired("x")], "any", TENANT, at_us, meta)
    world.log.commit()
    drawn = ah(world, "why", SERVICE).splitlines()
    assert drawn[0].startswith("2023-11-14T22:13:30.000000Z  test: ")
    assert [re.split("  (?:service|effect)-", line)[0].strip() for line in drawn[2:]] == [
        "5 to 7 are of one command",
        "7              service.deploy_requested",
        "9     +10.0 s  ├─ effect.attempted",
        "10      +1.0 s  ├─ service.route_repaired",
        "11       +1m4s  │  └─ service.route_repaired",
        "12       +1m6s  └─ service.route_repaired",
    ]
    assert [line.endswith("◀") for line in drawn[3:]] == [False] * 4 + [True]
    below = ah(world, "why", "10").splitlines()
    assert len(below) == 6 and below[4].endswith("◀")
    told = json.loads(ah(world, "why", "--json", "10"))
    assert [one["position"] for one in told["causes"]] == [7]
    assert told["event"]["effects"][0]["position"] == 11


def test_why_finds_a_resource_of_one_tenant_by_its_name(world: World) -> None:
    assert "service.created" in ah(world, "why", "web", "--tenant", "other")
    assert "effect.attempted" in ah(world, "why", "web", "--tenant", TENANT)
