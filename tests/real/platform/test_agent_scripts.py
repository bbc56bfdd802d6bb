"""Agents' scripts on the real engine: ours, and what clients of the system before this one do, as they do it."""

import os
import subprocess
from pathlib import Path

import docker
import pytest

from tests.faults.harness import TREE
from tests.real.platform.databases import client
from tests.real.platform.server import Server, Tenant

pytestmark = [pytest.mark.real, pytest.mark.sampled(among="file")]

SCRIPTS = TREE / "deploy/agent/scripts"
ASK = {
    "postgres": 'psql -AtX "$DATABASE_URL" -c "SELECT 6*7"',
    "redis": 'redis-cli -u "$REDIS_URL" --no-auth-warning PING',
}
SAYS = {"postgres": "42", "redis": "PONG"}
BEFORE = """
set -euo pipefail
auth="Authorization: Bearer $AH_KEY"
curl -sf "$AH_URL/v1/services" -H "$auth" | grep -q '"name":"'"$SERVICE"'"'
SERVICE_ID=$(curl -sf "$AH_URL/v1/services" -H "$auth" | grep -o '"id":"[^"]*"' | head -1 | cut -d'"' -f4)
DB=$(curl -sf -X POST "$AH_URL/v1/databases" -H "$auth" -H "Idempotency-Key: db-1" \\
  -d '{"name":"old-db","type":"postgres"}')
DB_ID=$(echo "$DB" | grep -o '"id":"[^"]*"' | head -1 | cut -d'"' -f4)
for _ in $(seq 1 12); do
  if curl -sf "$AH_URL/v1/databases/$DB_ID" -H "$auth" | grep -q '"status":"running"'; then break; fi
  sleep 5
done
STRING=$(curl -sf "$AH_URL/v1/databases/$DB_ID/connection-string" -H "$auth" |
  grep -o '"connection_string":"[^"]*"' | cut -d'"' -f4)
curl -sf -X POST "$AH_URL/v1/services/$SERVICE_ID/env" -H "$auth" -d "{\\"DATABASE_URL\\":\\"$STRING\\"}" |
  grep -q '"status":"updated"'
curl -sf -X POST "$AH_URL/v1/services/$SERVICE_ID/restart" -H "$auth"
for _ in $(seq 1 12); do
  if curl -sf "$AH_URL/v1/services/$SERVICE_ID" -H "$auth" |
    grep -o '"status":"[^"]*"' | head -1 | grep -q running; then exit 0; fi
  sleep 5
done
exit 1
"""


def ran(argv: list[Path | str], server: Server, tenant: Tenant, **more: str) -> None:
    """Runs a script for a tenant, to its end, which has to be good."""
    environ = {"PATH": os.environ["PATH"], "AH_URL": f"http://127.0.0.1:{server.port}", "AH_KEY": tenant.key, **more}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_db_provision_wires_a_database_to_a_service(
    server: Server, tenant: Tenant, sdk: docker.DockerClient, kind: str
) -> None:
    service = client(tenant)
    name = service.now["name"]
    ran([SCRIPTS / "db-provision.sh", name, kind], server, tenant)
    service.settled()
    said = service.container(sdk).exec_run(["sh", "-c", ASK[kind]])
    assert said.output.decode().strip() == SAYS[kind]
    ran([SCRIPTS / "db-provision.sh", name, kind], server, tenant)
    assert len(tenant.call("GET", "/v1/databases")) == 1


def test_a_script_of_the_system_before_wires_one_as_it_always_did(
    server: Server, tenant: Tenant, sdk: docker.DockerClient
) -> None:
    service = client(tenant)
    ran(["bash", "-c", BEFORE], server, tenant, SERVICE=service.now["name"])
    service.settled()
    said = service.container(sdk).exec_run(["sh", "-c", ASK["postgres"]])
    assert said.output.decode().strip() == "42"
