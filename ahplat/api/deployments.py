"""Deployments over HTTP: what ran, what runs, what is on its way."""

from typing import Annotated, Literal, get_args

from apsw import Connection
from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat.answers import Answer
from ahplat.api.call import Call, Reply, answer, json_reply
from ahplat.api.fields import At, Id, Image, ImageName, check_image, invalid
from ahplat.api.query import Paged, Waits
from ahplat.api.route import Route
from ahplat.api.services import find
from ahplat.api.waiting import waited
from ahplat.commands.deployments import CancelDeployment, DeployImage, DeploymentCommand, RollBack
from ahplat.errors import Rejected
from ahplat.references import PLACEHOLDERS
from projections import builds, deployments
from projections.deployments import DeploymentRow

Status = Literal["pending", "deploying", "running", "failed", "crashed", "superseded", "stopped", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED = frozenset({"failed", "superseded", "stopped", "cancelled"})  # and will not be anything else
StatusText = Annotated[str, Meta(extra_json_schema={"enum": STATUSES})]


class Deployment(Struct, frozen=True):
    """One deployment; what there is none of is absent. `log_tail` is the last of what its instance said.

    `started_at` is when the first attempt began; until then, when it was asked for.
    """

    id: Id
    service_id: Id
    tenant_id: Id
    image: Image
    status: StatusText
    trigger: str
    started_at: At
    created_at: At
    number: int
    build_id: Id | UnsetType = UNSET
    completed_at: At | UnsetType = UNSET
    cancelled_at: At | UnsetType = UNSET
    container_id: str | UnsetType = UNSET
    image_digest: str | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET
    log_tail: str | UnsetType = UNSET


def render(call: Call, views: Connection, row: DeploymentRow) -> Deployment:
    """The public form of a deployment's row."""
    return Deployment(
        id=row.deployment_id,
        service_id=row.service_id,
        tenant_id=row.tenant_id,
        image=row.image,
        status=row.status,
        trigger=row.trigger,
        started_at=row.started_at or row.created_at,
        created_at=row.created_at,
        number=row.number,
        build_id=(builds.of_deployment(views, row.deployment_id) if row.trigger == "build" else None) or UNSET,
        completed_at=row.completed_at or UNSET,
        cancelled_at=row.cancelled_at or UNSET,
        container_id=row.container_id or UNSET,
        image_digest=row.digest or UNSET,
        error_code=row.error_code or UNSET,
        error_message=call.unsealed(row.tenant_id, f"service-{row.service_id}", "detail", row.error) or UNSET,
        log_tail=call.unsealed(row.tenant_id, f"service-{row.service_id}", "tail", row.tail) or UNSET,
    )


async def list_all(call: Call) -> Reply:
    """A service's deployments, newest first."""
    service = find(call, call.views, call.path_id())
    page = call.page("deployments", call.asked(Paged))
    before = int(page.before) if page.before else 0
    rows = deployments.list_of(call.views, service.service_id, page.limit, page.offset, before)
    last = str(rows[-1].number) if rows else ""
    return call.listing("deployments", page, [render(call, call.views, row) for row in rows], last)


def _find(call: Call, views: Connection) -> DeploymentRow:
    service = find(call, views, call.path_id())
    row = deployments.find(views, call.path_id(1))
    if row is None or row.service_id != service.service_id:
        raise Rejected("deployment_not_found", f"the service has no deployment {call.path_id(1)[:64]}")
    return row


class AskedOfOne(Waits):
    """What to wait for."""

    wait: Annotated[Status, Meta(description="answer as soon as the deployment has this status")] | UnsetType = UNSET


async def get(call: Call) -> Reply:
    """One deployment; with `?wait=<status>&timeout=<s>` as soon as it has that status, or has ended, or as it is by then."""
    row = _find(call, call.views)
    asked = call.asked(AskedOfOne)
    if wanted := asked.wait:
        await call.app.hub.until(f"service-{row.service_id}", lambda: _has_come_to(call, wanted), asked.timeout)
        row = _find(call, call.views)
    service = find(call, call.views, row.service_id)
    return json_reply(render(call, call.views, row), ETag=call.etag(service.version))


def _has_come_to(call: Call, wanted: str) -> bool:
    status = _find(call, call.views).status
    return status == wanted or status in ENDED


class Deploy(Struct):
    """The image to deploy; the service's own, pulled again, where none is named."""

    image: ImageName = ""


async def deploy(call: Call) -> Reply:
    """Deploys an image to a service, in place of what serves now.

    What serves goes on until the new one is healthy; where that fails, it stays as it is, and the deployment's
    `error_message` and `log_tail` say why. Answers at once; wait with `Prefer: wait=30`, or `get_deployment?wait=running`.
    """
    body = call.body(Deploy)
    if body.image and body.image in PLACEHOLDERS:
        raise invalid("/image", "a placeholder cannot be deployed: name an image")
    image = check_image(body.image, call.tenant_id, call.app.config.allow_registries)
    command = DeployImage(tenant_id=call.tenant_id, service_id=call.path_id(), deployment_id=call.new_id(), image=image)
    return await _order(call, command)


class Rollback(Struct):
    """The deployment to go back to; without it the one that ran before the present one."""

    deployment_id: Id | UnsetType = UNSET


async def rollback(call: Call) -> Reply:
    """Goes back to an earlier deployment of a service.

    Its image digest, variables and limits are deployed again, as a new deployment; without a `deployment_id` those of the
    one before.
    """
    body = call.body(Rollback)
    to = "" if body.deployment_id is UNSET else body.deployment_id
    command = RollBack(tenant_id=call.tenant_id, service_id=call.path_id(), deployment_id=call.new_id(), to=to)
    return await _order(call, command)


async def _order(call: Call, command: DeploymentCommand) -> Reply:
    def rendered(views: Connection) -> Answer:
        row = deployments.find(views, command.deployment_id)
        assert row
        location = f"/v1/services/{row.service_id}/deployments/{row.deployment_id}"
        return answer(render(call, views, row), 202, location)

    reply = call.reply(await call.submit(command, rendered))
    if await waited(call, f"service-{command.service_id}", reply):
        row = deployments.find(call.views, command.deployment_id)
        if row is not None:  # a replayed answer is about the first request's deployment, and stays as it was
            reply.body = json_reply(render(call, call.views, row)).body
    return reply


async def cancel(call: Call) -> Reply:
    """Calls a deployment off that has not come to serve; what served before goes on."""
    command = CancelDeployment(tenant_id=call.tenant_id, service_id=call.path_id(), deployment_id=call.path_id(1))

    def rendered(views: Connection) -> Deployment:
        found = deployments.find(views, command.deployment_id)
        assert found
        return render(call, views, found)

    return await call.order(command, rendered)


_SERVICE = "/v1/services/{service_id}"
_ALL = f"{_SERVICE}/deployments"
ROUTES = [
    Route(
        "POST",
        f"{_SERVICE}/deploy",
        deploy,
        "deploy_service",
        scope="deploy",
        body=Deploy,
        answer=Deployment,
        status=202,
        codes=("image_forbidden", "image_invalid", "nothing_to_deploy", "quota_exceeded"),
        waits=True,
        grows=True,
    ),
    Route(
        "POST",
        f"{_SERVICE}/rollback",
        rollback,
        "rollback_service",
        scope="deploy",
        body=Rollback,
        answer=Deployment,
        status=202,
        codes=("deployment_not_found", "nothing_to_roll_back", "quota_exceeded"),
        waits=True,
        grows=True,
    ),
    Route("GET", _ALL, list_all, "list_deployments", as_of=True, query=Paged, answer=list[Deployment]),
    Route(
        "GET",
        f"{_ALL}/{{deployment_id}}",
        get,
        "get_deployment",
        as_of=True,
        query=AskedOfOne,
        answer=Deployment,
        versioned=True,
    ),
    Route(
        "POST",
        f"{_ALL}/{{deployment_id}}/cancel",
        cancel,
        "cancel_deployment",
        scope="deploy",
        answer=Deployment,
        codes=("not_cancellable",),
    ),
]
