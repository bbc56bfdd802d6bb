"""What is to run, as values: from the rows of the views to the engine's `Spec`. Pure but for the unsealing of variables."""

from apsw import Connection
from msgspec import Struct

from ahplat.effects.task import Platform
from ahplat.effects.volumes import volume_of
from ahplat.engines.engine import Identity, Image, Mount, Network, Spec, Volume
from ahplat.routers.router import Route
from events.event import canonical
from projections import databases, deployments, domains, env, services, tenants, volumes
from projections.deployments import DeploymentRow
from projections.services import ServiceRow
from projections.tenants import TenantRow

UP = ("running", "crashed")  # statuses of a deployment that came to serve and was not ended since


class Plan(Struct, frozen=True):
    """A deployment with all that is needed to make it run. `env` is in the clear: it never leaves the process."""

    deployment: DeploymentRow
    tenant: TenantRow
    service_name: str
    env: dict[str, str]
    hosts: dict[str, str] = {}  # names of the tenant's databases → addresses
    service_label: str = ""


def load_plan(platform: Platform, deployment_id: str) -> Plan:
    """Reads what a deployment is to be from the views, and unseals its variables."""
    views: Connection = platform.views
    deployment = deployments.find(views, deployment_id)
    assert deployment, f"an intent names deployment {deployment_id}, the views do not know it"
    tenant = tenants.find(views, deployment.tenant_id)
    service = services.find(views, deployment.service_id)
    assert tenant and service, f"deployment {deployment_id} is nobody's"
    sealed = env.values_at(views, deployment.service_id, deployment.env_version)
    stream = f"service-{deployment.service_id}"
    values = {
        key: platform.keyring.unseal(deployment.tenant_id, stream, f"env.{key}", value).decode()
        for key, value in sealed.items()
    }
    hosts = {row.internal_name: row.address for row in databases.list_of(views, deployment.tenant_id)}
    return Plan(deployment, tenant, service.name, values, hosts, service.label)


def deployment_up(views: Connection, service: ServiceRow) -> DeploymentRow | None:
    """The deployment that should be running now: the last one that was healthy, unless it was ended since."""
    if service.desired != "running" or not service.deployment_id:
        return None
    last = deployments.find(views, service.deployment_id)
    return last if last and (service.serving or last.status in UP) else None


def instance_name(tenant_id: str, service_id: str, number: int, replica: int) -> str:
    """Deterministic and at most 63 characters: the random ends of the ids, then which deployment and replica.

    >>> instance_name("0" * 20 + "a" * 12, "0" * 20 + "b" * 12, 3, 1)
    'ah-aaaaaaaaaaaa-bbbbbbbbbbbb-3-1'
    """
    return f"ah-{tenant_id[-12:]}-{service_id[-12:]}-{number}-{replica}"


def name_of(identity: Identity) -> str:
    """What a service's instance is called, if nobody renamed it."""
    return instance_name(identity.tenant, identity.service, identity.number, identity.replica)


def volumes_of(plan: Plan, installation: str) -> dict[str, Volume]:
    """Path → the volume that is mounted there."""
    tenant_id = plan.deployment.tenant_id
    paths = volumes.paths_of(plan.deployment.volumes)
    return {
        path: volume_of(volumes.volume_id(tenant_id, name), tenant_id, installation)
        for name, path in sorted(paths.items())
    }


def network_of(tenant: TenantRow, installation: str) -> Network:
    """The tenant's own network; the bridge's name fits the 15 characters that Linux allows."""
    return Network(
        name=f"ah-tenant-{tenant.tenant_id}",
        bridge=f"ah{tenant.tenant_id[-12:]}",
        subnet=tenant.subnet,
        instance=installation,
        tenant=tenant.tenant_id,
    )


def egress_of(tenant: TenantRow, installation: str) -> Network | None:
    """The network through which the tenant reaches the internet; None for one that was registered before there was any."""
    if not tenant.egress_subnet:
        return None
    return Network(
        name=f"ah-egress-{tenant.tenant_id}",
        bridge=f"aho{tenant.tenant_id[-12:]}",
        subnet=tenant.egress_subnet,
        instance=installation,
        tenant=tenant.tenant_id,
        internal=False,
    )


def networks_of(tenant: TenantRow, installation: str) -> list[Network]:
    """All that a tenant may have."""
    egress = egress_of(tenant, installation)
    return [network_of(tenant, installation), *([egress] if egress else [])]


def environment(plan: Plan) -> dict[str, str]:
    """The tenant's variables, then the platform's; `PORT` is what `port_of` says, so that all sides read the same."""
    ours = {"AH_SERVICE": plan.service_name, "AH_DEPLOYMENT": plan.deployment.deployment_id}
    port = port_of(plan)
    return plan.env | ours | ({"PORT": str(port)} if port else {})


def port_of(plan: Plan) -> int:
    """Where the service listens, 0 for nowhere: a `PORT` of the tenant's own moves the route with it, where there is one."""
    own = plan.env.get("PORT", "") if plan.deployment.port else ""
    if own.isascii() and own.isdecimal() and len(own) <= 5 and 0 < int(own) < 65_536:
        return int(own)
    return plan.deployment.port


def instance_specs(plan: Plan, image: Image, platform: Platform, attempt: int) -> list[Spec]:
    """One spec for each replica."""
    return [_spec(plan, image, platform, attempt, replica) for replica in range(1, plan.deployment.replicas + 1)]


def _labels(plan: Plan, platform: Platform) -> dict[str, str]:
    """What the router wants to see on an instance: under which names the service answers, when it is made."""
    deployment, tenant = plan.deployment, plan.tenant
    own = f"{plan.service_label}.{tenant.label}.{platform.domain}"
    further = [row.host for row in domains.list_of(platform.views, deployment.service_id) if row.verified]
    network = network_of(tenant, platform.installation).name
    return platform.router.labels(Route(deployment.service_id, (own, *further)), port_of(plan), network)


def _spec(plan: Plan, image: Image, platform: Platform, attempt: int, replica: int) -> Spec:
    deployment, tenant = plan.deployment, plan.tenant
    env = environment(plan)
    mounts = tuple(Mount(one.name, path) for path, one in volumes_of(plan, platform.installation).items())
    asked: tuple[object, ...] = (
        image.digest,
        sorted(env.items()),
        deployment.memory_mb,
        deployment.cpu_milli,
        deployment.egress,
    )
    asked += (mounts,) if mounts else ()
    return Spec(
        name=instance_name(tenant.tenant_id, deployment.service_id, deployment.number, replica),
        identity=Identity(
            instance=platform.installation,
            epoch=platform.epoch,
            tenant=tenant.tenant_id,
            service=deployment.service_id,
            deployment=deployment.deployment_id,
            number=deployment.number,
            replica=replica,
            position=deployment.intent,
            spec=platform.keyring.mac("specs", canonical(asked)).hex()[:32],
            attempt=attempt,
        ),
        env=env,
        port=port_of(plan),
        memory_mb=deployment.memory_mb,
        cpu_milli=deployment.cpu_milli,
        network=network_of(tenant, platform.installation),
        egress=egress_of(tenant, platform.installation) if deployment.egress == "internet" else None,
        mounts=mounts,
        hosts=plan.hosts,  # not in the hash: a database that comes later is no reason to replace what runs
        labels=_labels(plan, platform),
    )
