"""What a service is told to do: start, stop, restart, forget its crashes, pull its image again."""

from apsw import Connection
from msgspec import Struct

from ahplat.answers import Answer
from ahplat.api.call import Call, Reply, answer
from ahplat.api.route import Route
from ahplat.api.services import Service, StatusText, order
from ahplat.api.waiting import waited
from ahplat.commands.command import Command
from ahplat.commands.deployments import DeployImage, ResetService, RestartService, StartService
from ahplat.commands.services import StopService
from projections import services


class Standing(Struct, frozen=True):
    """Where a service stands, and where it is to be."""

    status: StatusText
    desired_status: StatusText


async def _status(call: Call, command: Command) -> Reply:
    service_id = call.path_id()

    def told(views: Connection) -> Answer:
        row = services.find(views, service_id)
        assert row
        return answer(Standing(row.status, row.desired), version=row.version)

    reply = call.reply(await call.submit(command, told))
    if await waited(call, f"service-{service_id}", reply):
        now = told(call.views)
        reply.body = now.body
        reply.headers["ETag"] = call.etag(now.version)
    return reply


async def start(call: Call) -> Reply:
    """Starts a service that was stopped: what ran last runs again."""
    return await _status(
        call, StartService(tenant_id=call.tenant_id, service_id=call.path_id(), deployment_id=call.new_id())
    )


async def stop(call: Call) -> Reply:
    """Stops a service: nothing of it is to run until it is started or deployed."""
    return await _status(call, StopService(tenant_id=call.tenant_id, service_id=call.path_id()))


async def restart(call: Call) -> Reply:
    """Restarts a service with today's settings and variables, in fresh instances of the same image."""
    return await _status(
        call, RestartService(tenant_id=call.tenant_id, service_id=call.path_id(), deployment_id=call.new_id())
    )


async def reset(call: Call) -> Reply:
    """Forgets that a service crashed too often, and deploys it again.

    Read its `last_error` and its logs first, and mend the cause: it would crash as before.
    """
    return await _status(
        call, ResetService(tenant_id=call.tenant_id, service_id=call.path_id(), deployment_id=call.new_id())
    )


async def redeploy(call: Call) -> Reply:
    """Pulls the service's image again and deploys it."""
    command = DeployImage(tenant_id=call.tenant_id, service_id=call.path_id(), deployment_id=call.new_id())
    return await order(call, command, call.path_id())


_ONE = "/v1/services/{service_id}"
_RUN = ("nothing_to_deploy", "quota_exceeded")
ROUTES = [
    *(
        Route(
            "POST",
            f"{_ONE}/{verb}",
            handler,
            f"{verb}_service",
            scope="deploy",
            answer=Standing,
            codes=codes,
            versioned=True,
            waits=True,
        )
        for verb, handler, codes in (
            ("start", start, (*_RUN, "circuit_open")),
            ("stop", stop, ()),
            ("restart", restart, (*_RUN, "circuit_open")),
            ("reset", reset, ("quota_exceeded",)),
        )
    ),
    Route(
        "POST",
        f"{_ONE}/redeploy",
        redeploy,
        "redeploy_service",
        scope="deploy",
        answer=Service,
        codes=_RUN,
        versioned=True,
        waits=True,
        grows=True,
    ),
]
