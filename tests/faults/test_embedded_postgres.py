"""Postgres on the embedded engine through the whole server, by a user that is not root: linked, killed, deleted, restored."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest

from ahplat.engines import embedded, program_image
from tests.faults.harness import Server, eventually

pytestmark = pytest.mark.embedded

NO_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")  # root's files stay its own in there


@pytest.fixture
def unprivileged(server: Server) -> Iterator[Server]:
    """A server that serves, and is not root."""
    server.runs_by = NO_ROOT if os.geteuid() == 0 else ()
    yield server.start()


def query(connection_string: str, words: str) -> Any:
    """What the database answers."""

    async def ask() -> Any:
        connection = await asyncpg.connect(connection_string, ssl=False)
        try:
            return await connection.fetchval(words)
        finally:
            await connection.close()

    return asyncio.run(ask())


def calling(server: Server, api_key: str) -> Callable[..., Any]:
    """Calls that are to succeed."""

    def call(method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = server.ask(method, path, body, key=api_key, **headers)
        assert 200 <= answer.status < 300, answer
        return answer.json if answer.body else None

    return call


def made(server: Server, api_key: str) -> str:
    """The path of a database that runs."""
    body = {"name": "orders", "type": "postgres"}
    database = calling(server, api_key)("POST", "/v1/databases", body, Prefer="wait=60")
    assert database["status"] == "running", database
    return f"/v1/databases/{database['id']}"


if all(
    shutil.which(program, path=program_image.searched(embedded.PATH)) for program in program_image.PROGRAMS["postgres"]
):

    def test_it_is_made_linked_killed_deleted_and_undeleted(unprivileged: Server, api_key: str) -> None:
        server = unprivileged

        call, path = calling(server, api_key), made(server, api_key)
        where = call("GET", f"{path}/connection-string")["connection_string"]
        query(where, "CREATE TABLE kept AS SELECT 42 AS x")

        service = call("POST", "/v1/services", {"name": "web", "image": "ah/hello"}, Prefer="wait=20")
        call("POST", f"{path}/link", {"service_id": service["id"]}, Prefer="wait=20")
        revealed = call("GET", f"/v1/services/{service['id']}/env?reveal=true")
        assert revealed["DATABASE_URL"] == where

        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        assert query(where, "SELECT x FROM kept") == 42, "it outlives the server"
        server.start()
        server.settled(api_key)
        assert call("GET", path)["status"] == "running"

        call("DELETE", path)
        eventually(lambda: not [name for name in server.instances if "-db-" in name])
        call("POST", f"{path}/undelete", Prefer="wait=60")
        again = call("GET", f"{path}/connection-string")["connection_string"]
        assert query(again, "SELECT x FROM kept") == 42

        call("DELETE", f"{path}?purge=true")
        eventually(lambda: not any("PG_VERSION" in files for _, _, files in os.walk(server.folder)))

    def test_what_was_destroyed_is_back_from_a_backup(unprivileged: Server, api_key: str) -> None:
        server = unprivileged
        call, path = calling(server, api_key), made(server, api_key)
        where = call("GET", f"{path}/connection-string")["connection_string"]
        query(where, "CREATE TABLE kept AS SELECT 42 AS x")
        backup = call("POST", f"{path}/backups", Prefer="wait=60")
        assert (backup["status"], backup["tables"], backup["rows"]) == ("verified", 1, 1), backup
        query(where, "DROP TABLE kept")
        restored = call("POST", f"{path}/restore", {"backup_id": backup["id"]}, Prefer="wait=60")
        assert (restored["status"], restored.get("last_error")) == ("running", None), restored
        assert query(where, "SELECT x FROM kept") == 42
        assert not [name for name in server.instances if "scratch" in name]
        assert not list((server.folder / "volumes").glob("*scratch*"))
