"""The five scripts of deploy/agent against a real server, to the end; and what shellcheck says of them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import TOKEN
from tests.builds.git_server import GitServer
from tests.faults.harness import TREE, Server

SCRIPTS = TREE / "deploy/agent/scripts"
NAMES = ["register.sh", "deploy.sh", "status.sh", "db-provision.sh", "logs.sh"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def key(server: Server) -> str:
    """Of a tenant that register.sh makes."""
    environ = {"PATH": os.environ["PATH"], "AH_URL": f"http://127.0.0.1:{server.port}", "AH_BOOTSTRAP_TOKEN": TOKEN}
    return ok(_run(environ, "register.sh", "acme", "a@example.org")).partition("export AH_KEY=")[2].strip()


@pytest.fixture
def run(server: Server, key: str) -> Run:
    """Runs a script for that tenant."""
    base = {"PATH": os.environ["PATH"], "AH_URL": f"http://127.0.0.1:{server.port}", "AH_KEY": key}
    return lambda *argv, **environ: _run(base | environ, *argv)


def _run(environ: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / argv[0], *argv[1:]], env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done
    return done.stdout


def visit(server: Server, url: str) -> str:
    return server.ask("GET", "/", Host=url.strip().rpartition("\n")[2].removeprefix("http://")).body.decode()


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", "-x", *NAMES, "lib.sh"], cwd=SCRIPTS, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_each_says_how_it_is_used(name: str) -> None:
    environ = {"PATH": os.environ["PATH"]}
    assert _run(environ, name, "--help").stdout.startswith("usage: ")
    wrong = _run(environ, name, *"abcdef")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "set -euo pipefail" in Path(SCRIPTS / name).read_text()


@pytest.mark.embedded
def test_an_image_is_deployed_twice_and_its_log_and_state_are_shown(run: Run, server: Server) -> None:
    assert "Hello" in visit(server, ok(run("deploy.sh", "ah/hello", "web", "8000")))
    assert "Hello" in visit(server, ok(run("deploy.sh", "ah/hello", "web", "8000")))
    assert "Listening on port" in ok(run("logs.sh", "web"))
    lines = ok(run("status.sh")).splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("  ")] == [["web", "running"]]


@pytest.mark.embedded
def test_a_repository_is_built_deployed_and_its_log_shown(run: Run, server: Server, git_server: GitServer) -> None:
    assert visit(server, ok(run("deploy.sh", git_server.url("web"), "site", "3000"))) == "built from git: one"
    git_server.repository("web", {"said.txt": "two"})
    assert visit(server, ok(run("deploy.sh", git_server.url("web"), "site", "3000"))) == "built from git: two"
    assert "commit " in ok(run("logs.sh", "site"))


@pytest.mark.embedded
def test_what_is_refused_is_said_with_what_to_do(run: Run) -> None:
    done = run("logs.sh", "nothing")
    assert (done.returncode, "no service nothing" in done.stderr) == (4, True)
    done = run("deploy.sh", "ah/hello", "web", "99999")
    assert (done.returncode, "validation_failed" in done.stderr) == (4, True), done
    done = run("status.sh", AH_KEY="wrong.key")
    assert (done.returncode, "(unauthenticated)" in done.stderr) == (4, True), done
    assert run("status.sh", AH_KEY="two\nlines").returncode == 2


@pytest.mark.embedded
def test_the_skills_own_function_asks_and_shows_no_secret(server: Server, key: str, tmp_path: Path) -> None:
    skill = (TREE / "deploy/agent/skills/ahplat/SKILL.md").read_text()
    function = skill.partition("```bash\n")[2].partition("```")[0]
    seen = tmp_path / "argv"
    spy = tmp_path / "curl"
    spy.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >>{seen}\nexec /usr/bin/curl "$@"\n')
    spy.chmod(0o755)
    story = f"""set -euo pipefail
{function}
ID=$(ah POST /v1/services '{{"name":"web","image":"ah/hello","port":8000}}' |
  grep -o '"id":"[0-9a-f]*"' | head -n 1 | cut -d '"' -f 4)
ah POST "/v1/services/$ID/env" '{{"TOKEN":"s3cret-value"}}'
ah GET "/v1/services/$ID?wait=running&timeout=20"
"""
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AH_URL": f"http://127.0.0.1:{server.port}", "AH_KEY": key}
    done = subprocess.run(["bash", "-c", story], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and '"status":"running"' in done.stdout, done
    assert "/v1/whoami" in seen.read_text()
    assert "s3cret-value" not in seen.read_text() and key not in seen.read_text()
