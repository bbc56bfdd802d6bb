"""Where the server is and with what key: what wins, who may read it, and that no key is lost."""

import json
from pathlib import Path

import pytest

from ahplat.ahc import settings
from ahplat.ahc.failures import Failure
from tests.ahc.desk import URL, WEB, Desk, problem

ME = {"tenant": {"name": "acme", "id": "t" * 32, "status": "active"}, "key": {"name": "k", "prefix": "p"}, "scopes": []}
HELD = {"url": URL, "key": "kept.secret"}


def kept(home: Path) -> Path:
    return home / ".ah" / "config.json"


def keep(home: Path, mode: int = 0o600) -> Path:
    kept(home).parent.mkdir()
    kept(home).write_text(json.dumps(HELD))
    kept(home).chmod(mode)
    return home


def asked_with(desk: Desk) -> str:
    return str(desk.asked[-1].headers.get("Authorization"))


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    answers = {"GET /v1/services": [WEB]}
    desk = Desk(answers, keep(tmp_path), AH_KEY="", AH_URL="")
    assert desk.run("services").code == 0
    assert asked_with(desk) == "Bearer kept.secret"
    desk = Desk(answers, tmp_path, AH_KEY="mine.secret", AH_URL="")
    assert desk.run("services").code == 0
    assert asked_with(desk) == "Bearer mine.secret"


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    done = Desk({"GET /v1/services": [WEB]}, keep(tmp_path, 0o644), AH_KEY="").run("services")
    assert (done.code, "chmod 600" in done.err) == (0, True)


@pytest.mark.parametrize("content", ["{", "[]", '"x"'])
def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path, content: str) -> None:
    kept(keep(tmp_path)).write_text(content)
    done = Desk({}, tmp_path, AH_KEY="").run("services")
    assert (done.code, str(kept(tmp_path)) in done.err) == (2, True)


def test_without_key_or_server_it_says_how_to_get_one(tmp_path: Path) -> None:
    assert Desk({}, tmp_path, AH_KEY="").run("services").code == 3
    assert Desk({}, tmp_path, AH_URL="").run("services").code == 2
    assert Desk({}, tmp_path, AH_URL="ftp://x").run("services").code == 2


def test_login_keeps_a_key_that_the_server_knows_for_its_holder_alone(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("new.secret\n")
    desk = Desk({"GET /v1/whoami": ME}, tmp_path, AH_KEY="", AH_URL="")
    assert desk.run("login", f"{URL}/", "--key", str(tmp_path / "key")).code == 0
    assert json.loads(kept(tmp_path).read_text()) == {"url": URL, "key": "new.secret"}
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o600
    assert kept(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    refused = Desk({"GET /v1/whoami": problem(401, "unauthenticated")}, tmp_path, AH_KEY="bad.secret")
    assert refused.run("login").code == 3
    assert json.loads(kept(tmp_path).read_text())["key"] == "new.secret"


def test_register_remembers_the_new_key_and_overwrites_none(tmp_path: Path) -> None:
    answers = {"POST /v1/tenants/register": {"tenant_id": "t", "api_key": "new.secret"}}
    desk = Desk(answers, tmp_path, AH_KEY="", AH_BOOTSTRAP_TOKEN="token-of-the-operator")
    done = desk.run("register", "acme", "me@example.org", "--json")
    assert (done.code, done.json["api_key"]) == (0, "new.secret")
    assert json.loads(kept(tmp_path).read_text())["key"] == "new.secret"
    assert "Authorization" not in desk.asked[0].headers
    again = desk.run("register", "other", "other@example.org")
    assert (again.code, len(desk.asked)) == (5, 1)
    shown = desk.run("register", "other", "other@example.org", "--no-save")
    assert "new.secret" in shown.out
    assert desk.run("register", "other", "other@example.org", "--replace").code == 0


def test_a_key_that_cannot_be_kept_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Failure(2, "no space left")

    monkeypatch.setattr(settings, "store", full)
    desk = Desk({"POST /v1/tenants/register": {"tenant_id": "t", "api_key": "new.secret"}}, tmp_path, AH_KEY="")
    done = desk.run("register", "acme", "me@example.org")
    assert (done.code, "new.secret" in done.out, "no space" in done.err) == (0, True, True)


def test_a_registration_whose_key_was_lost_says_so(tmp_path: Path) -> None:
    desk = Desk({"POST /v1/tenants/register": {"tenant_id": "t", "secret_expired": True}}, tmp_path, AH_KEY="")
    done = desk.run("register", "acme", "me@example.org")
    assert (done.code, "recover" in done.err) == (7, True)
