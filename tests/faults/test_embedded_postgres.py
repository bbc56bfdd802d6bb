"""Postgres through the whole server on the embedded engine, by a user that is not root: linked, killed, deleted, undeleted."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
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


if all(
    shutil.which(program, path=program_image.searched(embedded.PATH)) for program in program_image.PROGRAMS["postgres"]
):

    def test_it_is_made_linked_killed_deleted_and_undeleted(unprivileged: Server, api_key: str) -> None:
        server = unprivileged

        def call(method: str, path: str, body: Any = None, **headers: str) -> Any:
            answer = server.ask(method, path, body, key=api_key, **headers)
            assert 200 <= answer.status < 300, answer
            return answer.json if answer.body else None

        database = call("POST", "/v1/databases", {"name": "orders", "type": "postgres"}, Prefer="wait=60")
        assert database["status"] == "running", database
        path = f"/v1/databases/{database['id']}"
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
        eventually(lambda: not list(server.folder.rglob("PG_VERSION")))
