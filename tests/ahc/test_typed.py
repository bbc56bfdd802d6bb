"""What somebody types, or a script puts in: it is taken as it stands, and leads nowhere else."""

import ssl
from pathlib import Path

import httpx
import pytest

from ahplat.ahc.failures import MISSING, OK, UNAVAILABLE, USAGE
from tests.ahc.desk import URL, WEB, Desk

SERVICE = f"/v1/services/{WEB['id']}"
LISTED = {"GET /v1/services": [WEB]}
PLAN = {"events": [{"type": "some.event"}], "version": 1}


@pytest.mark.parametrize("word", ["..", ".", ""])
def test_a_word_that_is_no_name_reaches_no_other_path(word: str) -> None:
    for arguments in (
        ["env", "web", "--unset", word],
        ["builds", "web", "--cancel", word or ".."],
        ["logs", "web", word or "."],
    ):
        desk = Desk(LISTED)
        assert desk.run(*arguments).code == MISSING
        assert desk.lines == ["GET /v1/services"]


@pytest.mark.parametrize("word", ["../../other", "A?dry_run=true", "A#b", "%2e%2e"])
def test_a_word_stays_one_part_of_its_path(word: str) -> None:
    desk = Desk({**LISTED, f"DELETE {SERVICE}/env/{word}": httpx.Response(204), f"GET {SERVICE}/env": {}})
    assert desk.run("env", "web", "--unset", word).code == OK
    assert [str(asked.url.query) for asked in desk.asked[1:2]] == ["b''"]


def test_values_on_the_command_line_are_set_as_they_stand_and_a_files_are_unquoted(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('# no\nA="x y"\nexport B=1\n')
    desk = Desk({**LISTED, f"POST {SERVICE}/env": {}, f"GET {SERVICE}/env": {}})
    assert desk.run("env", "web", 'Q="quoted"', "E=", "N=x\n", "--file", str(tmp_path / ".env")).code == OK
    assert desk.asked[1].content == b'{"A":"x y","B":"1","Q":"\\"quoted\\"","E":"","N":"x\\n"}'
    assert Desk(LISTED).run("env", "web", "#C").code == USAGE


@pytest.mark.parametrize(
    ("name", "value"), [("AH_KEY", "secret\nline"), ("AH_KEY", "sécret.key"), ("AH_AGENT_NAME", "x\r\nX-Evil: 1")]
)
def test_what_no_request_can_carry_is_refused_at_once_and_not_shown(name: str, value: str) -> None:
    desk = Desk(LISTED, **{name: value})
    done = desk.run("services")
    assert (done.code, done.out, desk.asked, desk.slept) == (USAGE, "", [], [])
    assert value[:6] not in done.err


def test_neither_can_a_bootstrap_token_be() -> None:
    for token in ("é", "secret\nline"):
        desk = Desk({})
        done = desk.run("register", "acme", "a@example.org", "--no-save", "--bootstrap-token", token)
        assert (done.code, desk.asked, "secret" in done.err) == (USAGE, [], False)


def test_a_key_file_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    assert Desk({}).run("login", URL, "--key", str(tmp_path / "none")).code == USAGE


def test_an_idempotency_key_is_one() -> None:
    for key in ("", "é", "a\nb"):
        desk = Desk(LISTED)
        assert desk.run("stop", "web", "--idempotency-key", key).code == USAGE
        assert not [line for line in desk.lines if line.startswith("POST")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", ""],
        ["logs", "web", ""],
        ["db", "create", "redis", ""],
        ["deploy", "x", ""],
        ["builds", "web", "--cancel", ""],
    ],
)
def test_a_variable_that_nobody_set_is_no_choice(arguments: list[str]) -> None:
    desk = Desk(LISTED)
    assert (desk.run(*arguments).code, desk.asked) == (USAGE, [])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<p>welcome"),
        httpx.Response(200, json=None),
        httpx.Response(200, json={"not": "a list"}),
        httpx.Response(200, json=[1, None]),
        httpx.Response(200, text="[" * 100_000, headers={"Content-Type": "application/json"}),
        httpx.Response(400, json={"code": 5, "status": "x"}),
    ],
    ids=["page", "null", "object", "numbers", "deep", "a problem of others"],
)
def test_who_answers_as_no_ahplat_does_is_told_of_with_where_to_look(answer: httpx.Response) -> None:
    desk = Desk({"GET /v1/services": answer})
    done = desk.run("services")
    assert (done.code, len(desk.asked), desk.slept) in ((USAGE, 1, []), (1, 1, []))
    assert done.err.endswith("check AH_URL\n")


@pytest.mark.parametrize(
    ("arguments", "path", "answer"),
    [
        (["whoami"], "/v1/whoami", {}),
        (["whoami"], "/v1/whoami", {"tenant": 5, "key": None}),
        (["services"], "/v1/services", [{"name": "web"}]),
        (["usage"], "/v1/tenant/usage", {"services": []}),
        (["usage", "--metrics"], "/v1/tenant/usage/metrics", [{"timestamp": "yesterday"}]),
        (["events"], "/v1/events", [{"position": 1, "data": 5}]),
        (["builds"], "/v1/builds", [{}]),
    ],
)
def test_json_of_another_shape_is_another_dialect(arguments: list[str], path: str, answer: object) -> None:
    done = Desk({f"GET {path}": answer}).run(*arguments)
    assert (done.code, done.out) == (USAGE, "")
    assert f"{URL} speaks another dialect" in done.err and "check AH_URL" in done.err
    told = Desk({f"GET {path}": answer}).run(*arguments, "--json")
    assert told.code == OK or told.json["code"] == "usage"


def test_a_port_without_tls_is_not_asked_eight_times() -> None:
    lost = httpx.ConnectError("no")
    lost.__cause__ = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    desk = Desk({"GET /v1/services": lost})
    done = desk.run("services")
    assert (done.code, len(desk.asked)) == (UNAVAILABLE, 1)
    assert f"{URL} cannot be reached" in done.err
    assert "is it http" in done.err


def test_a_dry_run_of_a_deployment_shows_settings_and_variables_too() -> None:
    desk = Desk({**LISTED, f"PATCH {SERVICE}": PLAN, f"POST {SERVICE}/env": PLAN, f"POST {SERVICE}/deploy": PLAN})
    done = desk.run("deploy", "ah/hello", "web", "-e", "A=1", "--memory-mb", "300", "--dry-run")
    assert (done.code, done.out.count("plan for")) == (OK, 3)
    assert all("dry_run=true" in str(asked.url) for asked in desk.asked[1:])
    assert len(desk.run("deploy", "ah/hello", "web", "-e", "A=1", "--dry-run", "--json").out.splitlines()) == 2
