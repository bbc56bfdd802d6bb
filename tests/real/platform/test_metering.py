"""What containers under gVisor use is counted, and told before they go."""

from typing import Any

import docker
import pytest

from tests.real.platform.server import Service, Tenant, direct, eventually

pytestmark = pytest.mark.real


def used(service: Service) -> dict[str, float]:
    """The sum of all that is told of the service."""
    rows: list[dict[str, Any]] = service.tenant.call("GET", f"{service.path}/metrics")
    return {name: sum(row[name] for row in rows) for name in ("cpu_seconds", "network_rx_bytes", "network_tx_bytes")}


def test_what_a_container_used_is_told_before_it_goes(tenant: Tenant, sdk: docker.DockerClient) -> None:
    service = tenant.run("web")
    container = service.container(sdk)
    for _ in range(5):
        direct(container, "/")
    seen = container.stats(stream=False, one_shot=True)
    assert used(service)["cpu_seconds"] == 0  # told once an hour
    tenant.call("POST", f"{service.path}/stop")
    eventually(lambda: not service.containers(sdk))
    eventually(lambda: used(service)["cpu_seconds"] > 0)
    told = used(service)
    assert told["cpu_seconds"] >= seen["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9 - 0.001
    assert told["network_rx_bytes"] >= seen["networks"]["eth0"]["rx_bytes"] > 0
    assert told["network_tx_bytes"] >= seen["networks"]["eth0"]["tx_bytes"] > 0


def test_what_is_reserved_is_told_to_the_second(tenant: Tenant) -> None:
    service = tenant.run("web", memory_mb=128)
    created: int = service.now["created_at"]
    eventually(lambda: reserved(service) > 0)
    tenant.call("POST", f"{service.path}/stop")
    whole: int = service.now["updated_at"] - created
    assert 0 < reserved(service) <= (whole + 1) * 128
    assert reserved(service) % 128 == 0


def reserved(service: Service) -> int:
    rows: list[dict[str, int]] = service.tenant.call("GET", f"{service.path}/metrics")
    return sum(row["reserved_mb_seconds"] for row in rows)
