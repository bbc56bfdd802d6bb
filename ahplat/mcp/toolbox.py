"""The tools of this server, ready to be shown and used. Made once, from the tools' table and the routes'."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from ahplat import limits
from ahplat.api import inside, problems
from ahplat.api.call import Call, Principal
from ahplat.api.inside import Answered
from ahplat.api.route import Route
from ahplat.api.schemas import Schema
from ahplat.errors import Rejected, Violation
from ahplat.mcp import results, schemas
from ahplat.mcp.arguments import Asked, asked
from ahplat.mcp.protocol import INVALID_PARAMS, Fault
from ahplat.mcp.results import Result
from ahplat.mcp.schemas import CONFIRM, DRY_RUN
from ahplat.mcp.tools import DEPLOYMENT, TOOLS, Tool
from events.catalog import decode
from events.log import read_tenant
from events.services import ServiceDeployRequested


class Served(Struct, frozen=True):
    """A tool with its route, and what it takes."""

    tool: Tool
    route: Route
    arguments: Schema
    shown: dict[str, Any]  # as `tools/list` has it


class Toolbox:
    """See the module. What it shows is the same each time: order and schemas come from tables."""

    def __init__(self, routes: list[Route]) -> None:
        by_id = {route.id: route for route in routes}
        self._served = {tool.name: _served(tool, by_id[tool.name]) for tool in TOOLS}
        self._names = {(one.route.method, one.route.path): one.tool.name for one in self._served.values()}

    def shown_to(self, key: Principal) -> list[dict[str, Any]]:
        """The tools that a key may use; of one that is for a service, those that are about a service."""
        return [one.shown for one in self._served.values() if not _forbidden(one.route, key)]

    async def use(self, call: Call, name: str, arguments: dict[str, Any], about: Mapping[str, str]) -> Result:
        """Does what a tool does, as its route does it for the caller. Raises Fault where there is no such tool.

        `about` are header fields that the protocol has in another place; the caller's own come first.
        """
        one = self._served.get(name)
        if one is None:
            raise Fault(INVALID_PARAMS, f"there is no tool {name[:100]!r}: tools/list has those that there are")
        try:
            wanted = asked(one.route, one.arguments, arguments)
            may = not _forbidden(one.route, call.principal)  # what it may not the route itself says
            if one.tool.confirm and may and arguments.get(DRY_RUN) is not True:
                await self._confirm(call, one, arguments)
        except Rejected as error:
            _, body = problems.problem(
                error.code, error.detail, request_id=call.request_id, violations=error.violations
            )
            return self._refused(Answered(0, {}, body))
        answer = await _ask(call, wanted, about)
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            known = deploying(call, arguments, answer) if one.tool.look is DEPLOYMENT else {}
            return results.succeeded(one.tool, one.route, arguments, answer, known)
        return self._refused(answer)

    async def _confirm(self, call: Call, one: Served, arguments: dict[str, Any]) -> None:
        """Raises Rejected unless the name of what is to be destroyed is repeated; what is not there has no name."""
        reader = self._served[one.tool.confirm]
        ids = {name: arguments[name] for name in reader.route.segments}
        found = await _ask(call, asked(reader.route, reader.arguments, ids), {})
        if found.status >= HTTPStatus.MULTIPLE_CHOICES:
            return
        name = msgspec.json.decode(found.body)["name"]
        if arguments.get(CONFIRM) != name:
            message = f"expected {name!r}, the name of what this is about: repeat it to show that you mean this one"
            raise Rejected("validation_failed", f"{CONFIRM}: {message}", (Violation(f"/{CONFIRM}", message),))

    def _refused(self, answer: Answered) -> Result:
        return results.refused(msgspec.json.decode(answer.body), self._names)


def _served(tool: Tool, route: Route) -> Served:
    arguments = schemas.arguments_of(tool, route)
    shown = {
        "name": tool.name,
        "title": tool.name.replace("_", " ").capitalize(),
        "description": tool.description,
        "inputSchema": arguments,
        "outputSchema": schemas.result_of(tool, route),
        "annotations": {
            "readOnlyHint": route.method == "GET",
            "destructiveHint": route.destroys,
            "idempotentHint": route.method != "POST",
            "openWorldHint": tool.open_world,
        },
    }
    return Served(tool, route, arguments, shown)


def _forbidden(route: Route, key: Principal) -> str:
    """Why a key may not use a tool, whatever it says; "" where it may."""
    return route.forbids(key, tuple(key.service_id if name == "service_id" else "" for name in route.segments))


async def _ask(call: Call, wanted: Asked, about: Mapping[str, str]) -> Answered:
    fields = {name: value for name, value in about.items() if name not in call.request.headers} | wanted.fields
    return await inside.ask(call, wanted.method, wanted.path, fields, wanted.body, limits.MCP_LINES_BYTES)


def deploying(call: Call, arguments: dict[str, Any], answer: Answered) -> dict[str, str]:
    """Service and deployment of a command whose last event asks for one; that is as true for a repeat as for the first."""
    position = int(answer.headers.get("Event-Position", "0"))
    for at in read_tenant(call.app.log, call.tenant_id, position - 1, 1):
        event = decode(at.type, at.data)
        is_own = at.subject == arguments.get("service_id", at.subject)
        if at.position == position and is_own and isinstance(event, ServiceDeployRequested):
            return {"service_id": at.subject, "deployment_id": event.deployment_id}
    return {}
