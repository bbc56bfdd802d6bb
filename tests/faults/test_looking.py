"""`ah log --follow` beside a real server: what happens is there a moment later, whoever dies."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.faults.harness import TREE, Server
from tests.faults.operator import ah

pytestmark = pytest.mark.embedded


def test_what_happens_is_followed_and_goes_on_after_a_restart(server: Server, api_key: str) -> None:
    server.start()
    argv = [sys.executable, "-P", "-m", "ahplat.cli.entry", "log", "-f", "-n", "0", "--json", "--type", "*.created"]
    environ = os.environ | {"PYTHONPATH": str(TREE)}
    following = subprocess.Popen(
        [*argv, "--data-dir", str(server.folder)], env=environ, cwd=TREE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert following.stdout
        assert json.loads(following.stdout.readline())["type"] == "log.created"
        assert json.loads(following.stdout.readline())["type"] == "key.created"  # from here on it follows
        server.ask("POST", "/v1/services", {"name": "one"}, key=api_key)
        assert json.loads(following.stdout.readline())["data"]["name"] == "one"
        server.end(signal.SIGKILL)
        server.start()
        server.ask("POST", "/v1/services", {"name": "two"}, key=api_key)
        assert json.loads(following.stdout.readline())["data"]["name"] == "two"
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0
    finally:
        following.kill()
        following.wait()


@pytest.mark.parametrize(("where", "code", "said"), [(">&-", 0, ""), ("> /dev/full", 1, "ah: there is no room for")])
def test_where_nothing_can_be_said_a_tool_ends_without_a_traceback(
    server: Server, where: str, code: int, said: str
) -> None:
    server.start()
    for tool in ("log", "why 1", "verify"):
        command = f'exec "$0" -P -m ahplat.cli.entry {tool} --data-dir "$1" {where}'
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, str(server.folder)],
            env=os.environ | {"PYTHONPATH": str(TREE)},
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr[: len(said)]) == (code, said), done.stderr
        assert "Traceback" not in done.stderr


def test_a_service_is_explained_beside_a_server_and_without_one(server: Server, api_key: str) -> None:
    server.start()
    server.ask("POST", "/v1/services", {"name": "web", "image": "ah/hello"}, key=api_key, Prefer="wait=30")
    server.settled(key=api_key)
    told = ah("why", "web", "--data-dir", server.folder)
    assert told.returncode == 0
    assert [line.split()[-2] for line in told.stdout.splitlines() if "service.routed" in line] == ["service.routed"]
    server.end(signal.SIGKILL)
    assert ah("why", "web", "--data-dir", server.folder).stdout == told.stdout


def test_a_replay_beside_a_server_at_work_equals_what_it_serves(server: Server, api_key: str) -> None:
    server.start()
    service = server.ask("POST", "/v1/services", {"name": "web"}, key=api_key).json["id"]
    path = f"/v1/services/{service}/env"
    replaying = subprocess.Popen(
        [sys.executable, "-P", "-m", "ahplat.cli.entry", "replay", "--data-dir", str(server.folder)],
        env=os.environ | {"PYTHONPATH": str(TREE)},
        cwd=TREE,
        stdout=subprocess.PIPE,
        text=True,
    )
    answers = []
    while replaying.poll() is None:
        answers.append(server.ask("POST", path, {"A": "1"}, key=api_key).status)
    assert replaying.returncode == 0 and {*answers} == {200}
    assert replaying.stdout and "two replays and the live file are equal" in replaying.stdout.readline()


def test_what_a_server_did_is_told_as_a_difference(server: Server, api_key: str) -> None:
    server.start()
    before = server.ask("GET", "/v1/system/health/detailed", key=api_key).json["log"]["position"]
    server.ask("POST", "/v1/services", {"name": "web", "image": "ah/hello"}, key=api_key, Prefer="wait=30")
    server.settled(api_key)
    after = server.ask("GET", "/v1/system/health/detailed", key=api_key).json["log"]["position"]
    told = ah("diff", before, after, "--data-dir", server.folder).stdout
    assert "service web " in told and "  + service: " in told and "status running" in told


def test_what_a_tenant_did_is_undone_by_the_operator_beside_the_server(server: Server, api_key: str) -> None:
    server.start()
    service = server.ask("POST", "/v1/services", {"name": "web"}, key=api_key).json["id"]
    path = f"/v1/services/{service}/env"
    server.ask("POST", path, {"A": "s3cret-of-before"}, key=api_key)
    changed = server.ask("POST", path, {"A": "2", "B": "3"}, key=api_key).position
    plan = ah("undo", str(changed), "--dry-run", "--data-dir", server.folder)
    assert "would record service.env_set" in plan.stdout and "s3cret" not in plan.stdout
    refused = ah("undo", str(changed), "--data-dir", server.folder)
    assert refused.returncode == 2 and "say --yes" in refused.stderr and refused.stdout == plan.stdout
    assert server.ask("GET", f"{path}?reveal=true", key=api_key).json == {"A": "2", "B": "3"}
    done = ah("undo", str(changed), "--yes", "--data-dir", server.folder)
    assert done.stdout == f"SetEnv is undone by PutEnvBack, up to position {changed + 2}\n", done.stderr
    assert server.ask("GET", f"{path}?reveal=true", key=api_key).json == {"A": "s3cret-of-before"}
    again = ah("undo", str(changed), "--yes", "--json", "--data-dir", server.folder)
    assert (again.returncode, json.loads(again.stdout)["moved_by"]) == (1, changed + 2)
    assert ah("undo", "1", "--yes", "--data-dir", server.folder).stderr.startswith("ah: undo_impossible: log.created")
    server.end(signal.SIGKILL)
    assert "no server answers" in ah("undo", str(changed), "--yes", "--data-dir", server.folder).stderr


def test_who_sits_at_a_terminal_sees_the_plan_and_is_asked(server: Server, api_key: str) -> None:
    server.start()
    made = server.ask("POST", "/v1/services", {"name": "web", "env": {"A": "1"}}, key=api_key)
    path = f"/v1/services/{made.json['id']}/env"
    changed = server.ask("POST", path, {"A": "2"}, key=api_key).position
    argv = [sys.executable, "-P", "-m", "ahplat.cli.entry", "undo", str(changed), "--data-dir", str(server.folder)]
    for said, returncode, value in ((b"n\n", 1, "2"), (b"y\n", 0, "1")):
        ours, theirs = os.openpty()
        os.write(ours, said)
        environ = os.environ | {"PYTHONPATH": str(TREE)}
        done = subprocess.run(
            argv, env=environ, cwd=TREE, stdin=theirs, capture_output=True, text=True, timeout=60, check=False
        )
        os.close(ours)
        os.close(theirs)
        assert "would record service.env_set" in done.stdout and f"Undo what event {changed} is of?" in done.stdout
        assert done.returncode == returncode, done.stderr
        assert server.ask("GET", f"{path}?reveal=true", key=api_key).json == {"A": value}
