"""Services over HTTP. A body is rendered once a version and kept: most reads are of what did not change."""

from typing import Annotated, Literal, TypeVar, get_args

from apsw import Connection
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, json

from ahplat import limits
from ahplat.answers import Answer
from ahplat.api.call import Call, Reply, answer
from ahplat.api.fields import (
    At,
    CpuCount,
    DrainS,
    Egress,
    EnvValues,
    HealthPath,
    Id,
    Image,
    ImageName,
    Label,
    MemoryMb,
    Named,
    Port,
    Replicas,
    ServiceName,
    Url,
    Volumes,
    check_env,
    check_image,
    check_label,
    check_volumes,
    cpu_count,
    cpu_milli,
)
from ahplat.api.query import Paged, Waits
from ahplat.api.route import Route
from ahplat.api.service_hosts import url_of
from ahplat.api.waiting import waited
from ahplat.commands.command import Command
from ahplat.commands.services import ConfigureService, CreateService, DeleteService
from ahplat.errors import Rejected, Violation
from events.services import ServiceConfigured, ServiceCreated
from projections import env, services, volumes
from projections.services import ServiceRow

T = TypeVar("T")

Status = Literal["created", "deploying", "running", "stopped", "failed", "crashed", "circuit_open", "deleted"]
STATUSES: tuple[Status, ...] = get_args(Status)
StatusText = Annotated[str, Meta(extra_json_schema={"enum": STATUSES})]


class Service(Struct, frozen=True):
    """A service; what there is none of is absent. `status` is what is, `desired_status` what was asked for."""

    id: Id
    tenant_id: Id
    name: Named
    dns_label: Label
    status: StatusText
    image: Image
    url: Url
    port: int
    crash_count: int
    circuit_open: bool
    created_at: At
    updated_at: At
    desired_status: StatusText
    memory_mb: int
    cpu_count: float | int
    egress: str
    replicas: int
    drain_s: float | int
    env_keys: list[str]
    volumes: dict[str, str] | UnsetType = UNSET
    switch: str | UnsetType = UNSET  # stop_start: a deploy stops what serves before the next one starts
    health_path: str | UnsetType = UNSET
    container_id: str | UnsetType = UNSET
    deployment_id: Id | UnsetType = UNSET
    image_digest: str | UnsetType = UNSET
    last_error: str | UnsetType = UNSET
    last_crashed_at: At | UnsetType = UNSET
    observed_at: At | UnsetType = UNSET


def render(call: Call, views: Connection, row: ServiceRow) -> bytes:
    """The public form of a service's row, as JSON; kept per version, but never of a batch that may yet be rolled back."""
    if views is not call.app.views:
        return json.encode(_service(call, views, row))
    kept = call.app.rendered.get(row.service_id)
    if kept is not None and kept[0] == row.version:
        return kept[1]
    body = json.encode(_service(call, views, row))
    if len(call.app.rendered) >= limits.RENDERED:
        call.app.rendered.clear()
    call.app.rendered[row.service_id] = (row.version, body)
    return body


def _service(call: Call, views: Connection, row: ServiceRow) -> Service:
    return Service(
        id=row.service_id,
        tenant_id=row.tenant_id,
        name=row.name,
        dns_label=row.label,
        status=row.status,
        image=row.image or "pending",
        url=url_of(call, views, row),
        port=row.port,
        crash_count=row.crash_count,
        circuit_open=bool(row.circuit_open and not row.serving),
        created_at=row.created_at,
        updated_at=row.updated_at,
        desired_status=row.desired,
        memory_mb=row.memory_mb,
        cpu_count=cpu_count(row.cpu_milli),
        egress=row.egress,
        replicas=row.replicas,
        drain_s=_whole(call.app.config.drain_s) if row.drain_s is None else row.drain_s,
        env_keys=list(env.values_at(views, row.service_id, row.env_version)),
        volumes=volumes.paths_of(row.volumes) or UNSET,
        switch="stop_start" if row.volumes != "{}" else UNSET,
        health_path=row.health_path or UNSET,
        container_id=row.container_id or UNSET,
        deployment_id=row.deployment_id or UNSET,
        image_digest=row.image_digest or UNSET,
        last_error=_last_error(call, row),
        last_crashed_at=row.last_crashed_at or UNSET,
        observed_at=row.observed_at or UNSET,
    )


def _whole(seconds: float) -> float | int:
    return int(seconds) if seconds == int(seconds) else seconds


def _last_error(call: Call, row: ServiceRow) -> str | UnsetType:
    if row.last_error_code is None:
        return UNSET
    detail = call.unsealed(row.tenant_id, f"service-{row.service_id}", "detail", row.last_error)
    return f"{row.last_error_code}: {detail or row.last_crash or ''}".rstrip(": ")


def find(call: Call, views: Connection, service_id: str) -> ServiceRow:
    """The caller's service. Raises Rejected, the same for another tenant's as for none."""
    row = services.find(views, service_id)
    if row is None or row.tenant_id != call.tenant_id or row.desired == "deleted":
        raise Rejected("service_not_found", f"there is no service {service_id[:64]}")
    return row


# reading


class AskedOfAll(Paged):
    """Which services."""

    status: Annotated[Status, Meta(description="only services of this status")] | UnsetType = UNSET


_ALL = AskedOfAll()


async def list_all(call: Call) -> Reply:
    """The services of the tenant, newest first.

    A name is known once for each tenant: find the id of a service by its name here.
    """
    app, tenant_id = call.app, call.tenant_id
    only = call.principal.service_id
    is_plain = not (only or call.query_text or app.writer.behind or "If-Position" in call.request.headers)
    if is_plain and (kept := app.listed.get(tenant_id)):
        return Reply(200, kept)
    asked = call.asked(AskedOfAll) if call.query_text else _ALL
    page = call.page("services", asked)
    rows = services.list_of(call.views, tenant_id, asked.status or "", page.limit, page.offset, page.before, only)
    last = rows[-1].service_id if rows else ""
    reply = call.listing("services", page, [Raw(render(call, call.views, row)) for row in rows], last)
    if is_plain and not reply.headers:  # there is no next page
        app.listed[tenant_id] = reply.body
    return reply


class AskedOfOne(Waits):
    """What to wait for."""

    wait: Annotated[Status, Meta(description="answer as soon as the service has this status")] | UnsetType = UNSET


async def get(call: Call) -> Reply:
    """One service; with `?wait=<status>&timeout=<s>` as soon as it has that status, or as it is at the timeout."""
    row = find(call, call.views, call.path_id())
    asked = call.asked(AskedOfOne)
    if wanted := asked.wait:
        await call.app.hub.until(f"service-{row.service_id}", lambda: _has_status(call, wanted), asked.timeout)
        row = find(call, call.views, call.path_id())
    return Reply(200, render(call, call.views, row), headers={"ETag": call.etag(row.version)})


def _has_status(call: Call, wanted: str) -> bool:
    row = services.find(call.views, call.path_id())
    return row is None or row.status == wanted or row.status == "deleted"


# commands


class NewService(Struct):
    """A service that is to be; with no image, or a placeholder, it waits for its first build."""

    name: ServiceName
    image: ImageName = ""
    port: Port = 8000
    env: EnvValues = {}
    memory_mb: MemoryMb = 512
    cpu_count: CpuCount = 1.0
    health_path: HealthPath = ""
    egress: Egress = "none"
    replicas: Replicas = 1
    volumes: Volumes = {}
    drain_s: DrainS | UnsetType = UNSET


async def create(call: Call) -> Reply:
    """Makes a service and has it deployed.

    Answers at once with status `deploying`; `Prefer: wait=30` answers once it runs or failed. Without an image its status
    is `created` until a build, or a deploy, brings one. The program has to listen on the port that PORT tells it; `url` is
    where it answers then. Where it does not come to run, `last_error` says why.
    """
    body = call.body(NewService)
    check_env(body.env, "/env")
    _check_egress(call, body.egress)
    check_volumes(body.volumes, call.app.engine)
    service_id, deployment_id = call.new_id(), call.new_id()
    created = ServiceCreated(
        name=body.name,
        label=check_label(body.name, "/name"),
        image=check_image(body.image, call.tenant_id, call.app.config.allow_registries),
        port=body.port,
        memory_mb=body.memory_mb,
        cpu_milli=cpu_milli(body.cpu_count),
        health_path=body.health_path,
        egress=body.egress,
        replicas=body.replicas,
        volumes=body.volumes,
        drain_s=_given(body.drain_s),
    )
    command = CreateService(
        tenant_id=call.tenant_id,
        service_id=service_id,
        created=created,
        env=seal_env(call, service_id, body.env),
        deployment_id=deployment_id,
    )
    return await order(call, command, service_id, 201, location=f"/v1/services/{service_id}")


def _check_egress(call: Call, egress: str) -> None:
    if egress == "internet" and not call.app.engine.grants_egress:
        detail = f"the {call.app.engine.name} engine lets no service out to the internet"
        raise Rejected("egress_unsupported", detail, (Violation("/egress", detail),))


def seal_env(call: Call, service_id: str, values: dict[str, str]) -> dict[str, bytes]:
    """Seals each variable, bound to its service and name."""
    seal = call.app.keyring.seal
    stream = f"service-{service_id}"
    return {key: seal(call.tenant_id, stream, f"env.{key}", value.encode()) for key, value in values.items()}


async def order(call: Call, command: Command, service_id: str, status: int = 200, location: str = "") -> Reply:
    """Has a command decided and answers with the service; with `Prefer: wait=` once what it started has ended."""

    def rendered(views: Connection) -> Answer:
        row = services.find(views, service_id)
        assert row
        return answer(Raw(render(call, views, row)), status, location, row.version)

    reply = call.reply(await call.submit(command, rendered))
    if await waited(call, f"service-{service_id}", reply):
        row = services.find(call.views, service_id)
        assert row
        reply.body = render(call, call.views, row)
        reply.headers["ETag"] = call.etag(row.version)
    return reply


class ServiceChanges(Struct):
    """What may be changed; it holds from the next deployment on."""

    name: ServiceName | UnsetType = UNSET
    image: ImageName | UnsetType = UNSET
    port: Port | UnsetType = UNSET
    memory_mb: MemoryMb | UnsetType = UNSET
    cpu_count: CpuCount | UnsetType = UNSET
    health_path: HealthPath | UnsetType = UNSET
    egress: Egress | UnsetType = UNSET
    replicas: Replicas | UnsetType = UNSET
    volumes: Volumes | UnsetType = UNSET
    drain_s: DrainS | UnsetType = UNSET


async def patch(call: Call) -> Reply:
    """Changes settings of a service; those that are not named stay.

    They hold from the next deployment on: deploy, redeploy or restart it. Variables are set with `set_env`.
    """
    body = call.body(ServiceChanges)
    service_id = call.path_id()
    if body.egress is not UNSET:
        _check_egress(call, body.egress)
    check_volumes(body.volumes or {}, call.app.engine)
    changes = ServiceConfigured(
        name=_given(body.name),
        label=check_label(body.name, "/name") if body.name is not UNSET else None,
        image=None
        if body.image is UNSET
        else check_image(body.image, call.tenant_id, call.app.config.allow_registries),
        port=_given(body.port),
        memory_mb=_given(body.memory_mb),
        cpu_milli=cpu_milli(body.cpu_count) if body.cpu_count is not UNSET else None,
        health_path=_given(body.health_path),
        egress=_given(body.egress),
        replicas=_given(body.replicas),
        volumes=_given(body.volumes),
        drain_s=_given(body.drain_s),
    )
    return await order(
        call, ConfigureService(tenant_id=call.tenant_id, service_id=service_id, changes=changes), service_id
    )


def _given(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


async def delete(call: Call) -> Reply:
    """Deletes a service; nothing brings it back.

    It is gone for its tenant at once, and what it left is removed behind that. Its volumes stay, and can be given to
    another service.
    """
    command = DeleteService(tenant_id=call.tenant_id, service_id=call.path_id())
    reply = await call.order(command, lambda _: None, 204)
    await waited(call, f"service-{command.service_id}", reply)
    return reply


_ONE = "/v1/services/{service_id}"
_ROOM = ("quota_exceeded", "volume_in_use", "volumes_need_one_replica")
_SETTINGS = ("egress_unsupported", "image_forbidden", "image_invalid", "name_taken", "volumes_unsupported", *_ROOM)
ROUTES = [
    Route(
        "POST",
        "/v1/services",
        create,
        "create_service",
        scope="deploy",
        body=NewService,
        answer=Service,
        status=201,
        codes=_SETTINGS,
        versioned=True,
        waits=True,
        grows=True,
    ),
    Route(
        "GET",
        "/v1/services",
        list_all,
        "list_services",
        as_of=True,
        query=AskedOfAll,
        answer=list[Service],
        narrow=True,
    ),
    Route("GET", _ONE, get, "get_service", as_of=True, query=AskedOfOne, answer=Service, versioned=True),
    Route(
        "PATCH",
        _ONE,
        patch,
        "update_service",
        scope="deploy",
        body=ServiceChanges,
        answer=Service,
        codes=_SETTINGS,
        versioned=True,
        waits=True,
    ),
    Route("DELETE", _ONE, delete, "delete_service", scope="deploy", status=204, destroys=True, waits=True),
]
