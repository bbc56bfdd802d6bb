"""Secrets are planted, a server does all that it can do with them, dies and comes back: then they are looked for everywhere."""

import json
import os
import re
import secrets
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest

from events.catalog import decode
from events.database import open_reader
from events.log import read_all
from tests.builds.git_server import serving
from tests.faults.operator import ah
from tests.forked import AS_A_PROGRAM
from tests.parts.parts import Parts
from tests.real.platform import databases, planted
from tests.real.platform.conftest import MakeServer
from tests.real.platform.server import OPEN, Service, Tenant

pytestmark = pytest.mark.real

TELLS = """
import os
print("it was told", os.environ["PLANTED"], flush=True)
raise SystemExit(3)
"""

_RUN = "(inspect|docker|containerd)"
HAVE_TO_BE = {
    ("bootstrap token", "environment: server"): "it is given so; nothing that the server starts inherits it",
    ("master key", "data/master.key"): "that is where it is kept",
    ("line", r"docker: service/local-logs/container\.log"): "what a service says is in its log",
    ("variable", f"{_RUN}: service.*"): "Docker is told a container's variables, and keeps them",
    (
        "postgres",
        f"{_RUN}: (database|service).*",
    ): "they are variables of the database's container, and of a linked one's",
    ("redis", f"{_RUN}: (database|service).*"): "the same",
}
"""Secret and, as a regular expression, place → why it is there."""


def test_a_secret_is_nowhere_but_where_it_has_to_be(
    running: Parts, make_server: MakeServer, sdk: docker.DockerClient, tmp_path: Path
) -> None:
    path, token = ":".join([*map(str, running.builders), os.environ["PATH"]]), secrets.token_hex(24)
    with serving(tmp_path) as git:
        repository = f"planted-{secrets.token_hex(12)}"
        git.repository(repository, {"main.py": TELLS})
        options = (*OPEN, "--allow-git-host", git.host, "--deploy-timeout-s", "15")
        told = ("--log-level", "debug", "--log-format", "json")
        with planted.watched(but=b"GIT_PROJECT_ROOT=") as processes:
            server = make_server(*options, *told, PATH=path, AH_BOOTSTRAP_TOKEN=token)
            server.runs_by = AS_A_PROGRAM
            server.start()
            tenant = server.register()
            sown = {"bootstrap token": token, "master key": (server.folder / "master.key").read_text().strip()}
            sown |= {"repository": repository} | put_to_use(tenant, git.url(repository))
            assert ah("backup", "--data-dir", server.folder).returncode == 0
            server.end(signal.SIGKILL)
            places = list(planted.files("data", server.folder))
            server.log_name = "again.log"
            server.start()
            assert [one["status"] for one in tenant.call("GET", "/v1/databases")] == ["running", "running"]
    places += [*processes, *planted.files("data", server.folder), *planted.in_docker(sdk, server.installation)]
    places += [("the log, decoded", decoded(server.folder)), ("events", told_of(tenant))]
    places += [("metrics", server.ask("GET", "/metrics").text.encode())]
    found = planted.found_in(places, sown)
    print("\n".join(f"{secret:<16} {place}" for place, secret in sorted(found, key=lambda one: one[1])))
    reasons = {place_and_secret: why_there(*place_and_secret) for place_and_secret in found}
    assert [one for one, reason in reasons.items() if reason is None] == []
    assert set(reasons.values()) == set(HAVE_TO_BE), "it is found where it is"


def why_there(place: str, secret: str) -> tuple[str, str] | None:
    """Which row of HAVE_TO_BE lets it be there."""
    return next((row for row in HAVE_TO_BE if row[0] == secret and re.fullmatch(row[1], place)), None)


def put_to_use(tenant: Tenant, repository: str) -> dict[str, str]:
    """What its tenant does with a server, and what that is to keep to itself: what → the secret."""
    sown = {what: f"planted-{secrets.token_hex(12)}" for what in ("variable", "argument", "line", "refused")}
    sown["key"] = tenant.key.partition(".")[2]
    made = [tenant.call("POST", "/v1/auth/keys", {"name": "second"}, Idempotency_Key="once") for _ in range(2)]
    assert made[0] == made[1]
    sown["key of an answer that is kept"] = made[0]["api_key"].partition(".")[2]
    stores = [databases.create(tenant, kind, kind) for kind in ("postgres", "redis")]
    web = tenant.create("web", env={"PLANTED": sown["variable"]})
    ill = tenant.create("ill", env={"PLANTED": sown["variable"]}, health_path="/nowhere")
    told, gone = (
        build(tenant, name, url, sown["variable"])
        for name, url in (("told", repository), ("gone", f"{repository}.gone"))
    )
    refused(tenant, web, sown["refused"])
    for one in (*stores, web):
        one.until("running")
    for store in stores:
        sown[store.kind] = store.string.partition("@")[0].rpartition(":")[2]
        tenant.call("POST", f"{store.path}/link", {"service_id": web.id}, Prefer="wait=60")
    tenant.call("POST", f"{web.path}/env", {"OTHER": sown["variable"]})
    web.settled()
    done = web.order("exec", {"command": ["sh", "-c", "sleep 1; echo $1", "-", sown["argument"]]})
    assert (done["exit_code"], done["stdout"]) == (0, sown["argument"] + "\n")
    web.get(f"/say?line={quote(sown['line'])}")
    assert sown["line"] in tenant.ask("GET", f"{web.path}/logs").text
    for store in stores:
        assert tenant.call("POST", f"{store.path}/backups", Prefer="wait=60")["status"] == "verified"
    for service in (told, gone, ill):
        service.until("failed")
    said = tenant.ask("GET", f"{told.path}/logs").text
    assert f"it was told {sown['variable']}" in said, "what it said before it ended is kept"
    return sown


def build(tenant: Tenant, name: str, url: str, variable: str) -> Service:
    """A service of a repository, which is on its way."""
    service = tenant.create(name, "pending", env={"PLANTED": variable})
    tenant.call("POST", f"{service.path}/builds", {"git_url": url})
    return service


def refused(tenant: Tenant, service: Service, secret: str) -> None:
    """Requests that are wrong, and hold a secret."""
    other_key = f"{tenant.key.partition('.')[0]}.{secret}"
    answers = {
        "a bad name of a variable": tenant.ask("POST", f"{service.path}/env", {"1 bad": secret}),
        "a bad field": tenant.ask("POST", "/v1/services", {"name": "x", "memory_mb": secret}),
        "no object": tenant.ask("POST", "/v1/services", secret),
        "a user in a repository's address": tenant.ask(
            "POST",
            f"{service.path}/builds",
            {"git_url": f"https://me:{quote(secret, safe='')}@github.com/acme/web.git"},
        ),
        "a query": tenant.ask("GET", f"/v1/services?limit={quote(secret)}"),
        "a wrong key": tenant.server.ask("GET", "/v1/services", Authorization=f"Bearer {other_key}"),
        "a wrong token": tenant.server.ask(
            "POST", "/v1/auth/recover", {"email": "a@b.example"}, X_Bootstrap_Token=secret
        ),
    }
    assert {what: answer.status for what, answer in answers.items() if not 400 <= answer.status < 500} == {}


def decoded(data: Path) -> bytes:
    """All events as the code has them."""
    with open_reader(data / "events.db") as log:
        return "\n".join(str(decode(at.type, at.data)) for at in read_all(log, 0, 100_000)).encode()


def told_of(tenant: Tenant) -> bytes:
    """All events as the tenant is told of them."""
    found: list[Any] = []
    while page := tenant.call("GET", f"/v1/events?after={found[-1]['position'] if found else 0}&limit=200"):
        found += page
    return json.dumps(found).encode()
