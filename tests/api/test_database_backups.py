"""Backups of databases over HTTP: the answer comes at once, and only what was proved can be restored."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio

from events.database_backups import DatabaseBackupRequested
from tests.api.answering import answering, with_databases
from tests.api.site import Site, Tenant
from tests.effects.database_contents import Contents

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEW = ["id", "database_id", "tenant_id", "status", "created_at"]
TAKEN = ["bytes", "sha256"]


@pytest.fixture(scope="module", autouse=True)
def ready() -> Iterator[None]:
    """Servers answer queries as soon as they run."""
    with answering():
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def contents(site: Site) -> Contents:
    return with_databases(site, "u_db")


@pytest_asyncio.fixture(loop_scope="module")
async def path(acme: Tenant) -> str:
    """Of a database that runs."""
    answer = await acme.post("/v1/databases", {"name": "db", "type": "postgres"}, Prefer="wait=5")
    assert answer.json["status"] == "running"
    return f"/v1/databases/{answer.json['id']}"


async def backed_up(acme: Tenant, path: str) -> dict[str, Any]:
    answer = await acme.post(f"{path}/backups", Prefer="wait=5")
    assert (answer.status, answer.json["status"]) == (202, "verified"), answer.body
    return dict(answer.json)


async def test_a_backup_is_answered_at_once_as_pending(acme: Tenant, path: str) -> None:
    answer = await acme.post(f"{path}/backups")
    made = answer.json
    assert (answer.status, answer.headers["Location"]) == (202, f"{path}/backups/{made['id']}")
    assert list(made) == NEW and made["status"] == "pending"
    assert answer.body.startswith(b'{"id":"%b"' % made["id"].encode())
    got = await acme.get(f"{answer.headers['Location']}?wait=verified&timeout=5")
    assert list(got.json) == [*NEW, *TAKEN, "tables", "rows", "taken_at", "finished_at"]
    assert (got.json["status"], got.json["tables"]) == ("verified", 2)
    assert re.fullmatch("[0-9a-f]{64}", got.json["sha256"])
    assert got.headers["ETag"] != answer.headers["ETag"]


async def test_a_backup_of_redis_counts_keys(acme: Tenant) -> None:
    made = await acme.post("/v1/databases", {"name": "cache", "type": "redis"}, Prefer="wait=5")
    backup = await backed_up(acme, f"/v1/databases/{made.json['id']}")
    assert list(backup) == [*NEW, *TAKEN, "keys", "taken_at", "finished_at"]


async def test_lists_are_newest_first_and_in_pages(acme: Tenant, path: str) -> None:
    ids = [(await backed_up(acme, path))["id"] for _ in range(3)]
    assert [one["id"] for one in (await acme.get(f"{path}/backups")).json] == ids[::-1]
    page = await acme.get(f"{path}/backups?limit=2")
    assert [one["id"] for one in page.json] == ids[:0:-1]
    following = re.findall("<(.*)>", page.headers["Link"])[0]
    assert [one["id"] for one in (await acme.get(following)).json] == ids[:1]


async def test_a_restore_is_accepted_and_the_database_says_when_it_is_done(
    site: Site, acme: Tenant, path: str, contents: Contents
) -> None:
    volume = f"ah-db-{path.rpartition('/')[2]}"
    contents.databases[volume]["u_db"] = b"then"
    backup = await backed_up(acme, path)
    contents.databases[volume]["u_db"] = b"now"
    string = (await acme.get(f"{path}/connection-string")).json
    answer = await acme.post(f"{path}/restore", {"backup_id": backup["id"]})
    assert (answer.status, answer.json["status"], answer.headers["Location"]) == (202, "restoring", path)
    assert (await acme.get(f"{path}?wait=running&timeout=5")).json["status"] == "running"
    assert contents.databases[volume]["u_db"] == b"then"
    assert (await acme.get(f"{path}/connection-string")).json == string
    waited = await acme.post(f"{path}/restore", {"backup_id": backup["id"]}, Prefer="wait=5")
    assert (waited.status, waited.json["status"], waited.headers["Preference-Applied"]) == (202, "running", "wait=5")


async def test_a_restore_can_be_bound_to_what_its_caller_saw(acme: Tenant, path: str) -> None:
    backup = await backed_up(acme, path)
    etag = (await acme.get(path)).headers["ETag"]
    await acme.get(f"{path}/connection-string")
    body = {"backup_id": backup["id"]}
    answer = await acme.ask("POST", f"{path}/restore", body, headers={"If-Match": etag})
    assert (answer.status, answer.code) == (412, "precondition_failed")


async def test_what_failed_says_why(site: Site, acme: Tenant, path: str, contents: Contents) -> None:
    contents.broken = {"pg_dump"}
    failed = await acme.post(f"{path}/backups", Prefer="wait=5")
    contents.broken = {"pg_restore"}
    unproved = await acme.post(f"{path}/backups", Prefer="wait=5")
    contents.broken = set()
    assert (failed.json["status"], failed.json["error_code"]) == ("failed", "dump_failed")
    assert failed.json["error"] == "pg_dump: it ended with exit code 1: no, I will not"
    assert (unproved.json["status"], unproved.json["error_code"]) == ("failed", "not_restorable")
    answer = await acme.post(f"{path}/restore", {"backup_id": unproved.json["id"]})
    assert (answer.status, answer.code) == (409, "backup_not_verified")
    good = await backed_up(acme, path)
    contents.broken = {"pg_restore"}
    restored = await acme.post(f"{path}/restore", {"backup_id": good["id"]}, Prefer="wait=5")
    contents.broken = set()
    assert restored.json["status"] == "running"
    assert restored.json["last_error"].startswith("restore_failed: it ended with exit code 1")


async def test_one_under_way_is_pointed_at_and_can_be_removed(
    site: Site, acme: Tenant, path: str, contents: Contents
) -> None:
    contents.hung = {"pg_dump"}
    first = await acme.post(f"{path}/backups")
    second = await acme.post(f"{path}/backups")
    contents.hung = set()
    assert (second.status, second.code, second.json["retryable"]) == (409, "backup_under_way", True)
    assert second.json["remediation"]["path"] == f"{path}/backups"
    assert first.json["id"] in second.json["detail"]
    assert (await acme.delete(f"{path}/backups/{first.json['id']}")).status == 204
    await site.settled()
    gone = await acme.get(f"{path}/backups/{first.json['id']}")
    assert (gone.status, gone.code) == (404, "backup_not_found")
    assert (await acme.get(f"{path}/backups")).json == []


async def test_another_tenants_are_none(site: Site, acme: Tenant, path: str) -> None:
    backup, other = await backed_up(acme, path), await site.register()
    for method, at, body in (
        ("GET", f"{path}/backups", None),
        ("POST", f"{path}/backups", None),
        ("GET", f"{path}/backups/{backup['id']}", None),
        ("DELETE", f"{path}/backups/{backup['id']}", None),
        ("POST", f"{path}/restore", {"backup_id": backup["id"]}),
    ):
        answer = await other.ask(method, at, body)
        assert (answer.status, answer.code) in ((404, "database_not_found"), (404, "backup_not_found")), (method, at)
    own = await other.post("/v1/databases", {"name": "db", "type": "postgres"}, Prefer="wait=5")
    answer = await other.post(f"/v1/databases/{own.json['id']}/restore", {"backup_id": backup["id"]})
    assert (answer.status, answer.code) == (404, "backup_not_found")


async def test_a_key_that_only_reads_reads(site: Site, acme: Tenant, path: str) -> None:
    backup, reader = await backed_up(acme, path), await site.another_key(acme, scopes=["read"])
    assert (await reader.get(f"{path}/backups")).status == 200
    for method, at in (
        ("POST", f"{path}/backups"),
        ("DELETE", f"{path}/backups/{backup['id']}"),
        ("POST", f"{path}/restore"),
    ):
        answer = await reader.ask(method, at, {"backup_id": backup["id"]})
        assert (answer.status, answer.code) == (403, "forbidden_scope")


@pytest.mark.parametrize(("body", "pointer"), [({}, "/backup_id"), ({"backup_id": "x"}, "/backup_id")])
async def test_what_is_no_backup_is_pointed_at(acme: Tenant, path: str, body: Any, pointer: str) -> None:
    answer = await acme.post(f"{path}/restore", body)
    assert (answer.status, answer.code, answer.pointers) == (400, "validation_failed", [pointer])


async def test_what_happened_to_them_is_told(site: Site, acme: Tenant, path: str) -> None:
    backup = await backed_up(acme, path)
    lines = (await acme.get("/v1/activity?resource_type=database_backup")).json
    assert [line["action"] for line in lines] == ["verified", "taken", "requested"]
    assert {line["resource_id"] for line in lines} == {backup["id"]}
    events = await acme.get(f"/v1/events?after=0&resource={backup['id']}", Accept="application/json")
    requested = [one for one in events.json if one["type"] == "database_backup.requested"]
    assert requested[0]["data"] == {"database_id": path.rpartition("/")[2]}, DatabaseBackupRequested
