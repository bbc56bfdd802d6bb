"""What is to run, as values."""

from typing import Any

import pytest

from ahplat import limits
from ahplat.effects.specs import Plan, environment, instance_name, instance_specs, load_plan, port_of
from ahplat.engines.engine import Identity, Image, Network, Spec
from projections.deployments import DeploymentRow
from projections.tenants import TenantRow
from tests.effects.world import INSTALLATION, TENANT, World

IMAGE = Image("web:1", "sha256:abc", "web@sha256:abc")


def a_plan(env: dict[str, str] | None = None, **changes: Any) -> Plan:
    """A deployment of the service `web`, number 3."""
    fields: dict[str, Any] = dict.fromkeys(DeploymentRow.__struct_fields__)
    fields |= {
        "deployment_id": "d" * 32,
        "service_id": "5" * 32,
        "tenant_id": TENANT,
        "intent": 17,
        "number": 3,
        "image": "web:1",
        "port": 8000,
        "memory_mb": 256,
        "cpu_milli": 500,
        "health_path": "",
        "egress": "none",
        "replicas": 1,
        "volumes": "{}",
    }
    tenant = TenantRow(TENANT, b"", b"", b"", "acme", "10.128.0.0/26", "active", 0, 0, None, 1, "10.128.0.64/26")
    return Plan(DeploymentRow(**(fields | changes)), tenant, "web", env or {})


def the_spec(world: World, plan: Plan, image: Image = IMAGE, attempt: int = 1) -> Spec:
    (spec,) = instance_specs(plan, image, world.platform, attempt)
    return spec


async def test_a_plan_gives_exactly_this_spec(world: World) -> None:
    network = Network(f"ah-tenant-{TENANT}", "aha" + "a" * 11, "10.128.0.0/26", INSTALLATION, TENANT)
    outside = Network(f"ah-egress-{TENANT}", "aho" + "a" * 12, "10.128.0.64/26", INSTALLATION, TENANT, internal=False)
    spec = the_spec(world, a_plan({"A": "b"}, egress="internet"), attempt=2)
    assert spec == Spec(
        name="ah-aaaaaaaaaaaa-555555555555-3-1",
        identity=Identity(
            instance=INSTALLATION,
            epoch=1,
            tenant=TENANT,
            service="5" * 32,
            deployment="d" * 32,
            number=3,
            replica=1,
            position=17,
            spec=spec.identity.spec,
            attempt=2,
        ),
        env={"A": "b", "AH_SERVICE": "web", "AH_DEPLOYMENT": "d" * 32, "PORT": "8000"},
        port=8000,
        memory_mb=256,
        cpu_milli=500,
        network=network,
        egress=outside,
    )
    assert len(spec.identity.spec) == 32
    assert max(len(network.bridge), len(outside.bridge)) <= 15


async def test_each_replica_has_a_name_of_its_own(world: World) -> None:
    specs = instance_specs(a_plan(replicas=3), IMAGE, world.platform, 1)
    assert [spec.identity.replica for spec in specs] == [1, 2, 3]
    assert len({spec.name for spec in specs}) == 3


def test_names_are_never_longer_than_a_host_name_may_be() -> None:
    assert len(instance_name("f" * 32, "f" * 32, 10**9, 10)) <= 63


@pytest.mark.parametrize(
    "other",
    [{"memory_mb": 512}, {"cpu_milli": 501}, {"egress": "internet"}, {"port": 8001}],
    ids=lambda one: next(iter(one)),
)
async def test_the_hash_of_a_spec_tells_what_was_asked(world: World, other: dict[str, Any]) -> None:
    asked = the_spec(world, a_plan()).identity.spec
    assert the_spec(world, a_plan(), attempt=9).identity.spec == asked
    assert the_spec(world, a_plan(**other)).identity.spec != asked
    assert the_spec(world, a_plan({"A": "b"})).identity.spec != asked
    assert the_spec(world, a_plan(), Image("web:1", "sha256:other", "web@sha256:other")).identity.spec != asked


async def test_the_hash_of_a_spec_tells_nobody_else_the_variables(world: World) -> None:
    plan = a_plan({"PASSWORD": "1234"})
    spec = the_spec(world, plan)
    world.keyring._platform["specs"] = bytes(32)
    assert the_spec(world, plan).identity.spec != spec.identity.spec


@pytest.mark.parametrize(
    ("own", "port"),
    [
        ("9000", 9000),
        ("1", 1),
        ("65535", 65535),
        ("08000", 8000),
        ("0", 8000),
        ("65536", 8000),
        ("99999999999", 8000),
        ("9" * 5000, 8000),
        ("-1", 8000),
        ("80 ", 8000),
        ("http", 8000),
        ("", 8000),
        ("٨٠٨٠", 8000),
        ("²", 8000),
    ],
)
def test_a_port_of_the_tenants_own_wins_if_it_is_one(own: str, port: int) -> None:
    plan = a_plan({"PORT": own})
    assert port_of(plan) == port
    assert environment(plan)["PORT"] == str(port), "the program and the router read the same"


def test_a_worker_listens_nowhere_whatever_its_variables_say() -> None:
    assert port_of(a_plan(port=0)) == 0
    assert "PORT" not in environment(a_plan(port=0))
    worker = a_plan({"PORT": "9000"}, port=0)
    assert (port_of(worker), environment(worker)["PORT"]) == (0, "9000"), "it is a worker all the same"


def test_what_the_platform_says_of_a_service_cannot_be_overruled() -> None:
    env = environment(a_plan({"AH_SERVICE": "admin", "AH_DEPLOYMENT": "x"}))
    assert (env["AH_SERVICE"], env["AH_DEPLOYMENT"]) == ("web", "d" * 32)


def test_what_the_platform_says_of_a_service_is_refused_where_a_tenant_would_say_it() -> None:
    assert environment(a_plan()).keys() <= {"PORT", *limits.OWN_ENV}


async def test_a_plan_holds_the_variables_as_they_were_asked_for(world: World) -> None:
    await world.create(env={"A": "1"}, memory_mb=128)
    (asked,) = world.deployments
    await world.settled()
    plan = load_plan(world.platform, asked.deployment_id)
    assert (plan.env, plan.deployment.memory_mb, plan.service_name) == ({"A": "1"}, 128, "web")
