"""Undo over HTTP: the command that appended an event is compensated by another one, where one exists."""

from typing import Any

from msgspec import Struct, json, structs

from ahplat import undo as undoing
from ahplat.api.call import Call, Reply, answer
from ahplat.api.route import Route
from ahplat.api.waiting import waited
from ahplat.api.why import CommandOf, found_event
from ahplat.errors import PreconditionFailed, Rejected, Unavailable
from ahplat.undo import Compensation, Fresh

_TRIES = 10  # while effects append to the same stream


class Undone(Struct, frozen=True):
    """What was undone, by which command, and where that one's events end: an undo of this position takes it back."""

    position: int
    undoes: CommandOf
    command: str
    event_position: int = 0


async def undo(call: Call) -> Reply:
    """Undoes the command that appended an event, all of it, by appending the command that compensates.

    Variables, settings, quotas and profiles get the values of before, a deployment gives way to what served before it, a
    stop to a start, a start to a stop, a deletion of a database to its return. `undo_impossible` says why there is no
    such command, and what to do instead; `undo_stale` which later event is about the same: undone from the newest on, all can be
    undone. An undo is a command, and can be undone itself.
    """
    at = found_event(call)
    if before := call.recalled():
        return _placed(before)
    for _ in range(_TRIES):
        fresh = Fresh(call.new_id(), call.app.clock.now_us() + int(call.app.config.db_retention_s * 1_000_000))
        found = await call.app.history.read(at.tenant, lambda log: undoing.compensation(log, at, fresh))  # noqa: B023
        _check_may(call, found)
        wanted = call.expected()
        if wanted not in ("any", "exists", found.version):
            raise PreconditionFailed(wanted, found.version)
        try:
            return await _order(call, at.position, found)
        except PreconditionFailed:
            if isinstance(wanted, int):
                raise
    raise Unavailable("overloaded", "its stream moves on faster than it is read")


async def _order(call: Call, position: int, found: Compensation) -> Reply:
    told = Undone(position, CommandOf(found.name, found.first, found.last), type(found.command).__name__)
    done = await call.submit(found.command, lambda _: answer(told), cause=position, seen=found.version)
    reply = _placed(call.reply(done))
    await waited(call, found.stream, reply)
    return reply


def _placed(reply: Reply) -> Reply:
    """The answer with the position that the writer gave the command after it was rendered."""
    told = json.decode(reply.body, type=Undone)
    reply.body = json.encode(structs.replace(told, event_position=int(reply.headers["Event-Position"])))
    return reply


def _check_may(call: Call, found: Compensation) -> None:
    """An undo wants what the command wants that it is."""
    principal: Any = call.principal
    if principal.kind == "operator":
        return
    if found.who == "operator":
        raise Rejected("operator_only", "what the operator did is the operator's to undo")
    if found.who == "admin" and "admin" not in principal.scopes:
        raise Rejected("forbidden_scope", "to undo this needs a key with the scope 'admin'")


ROUTES = [
    Route(
        "POST",
        "/v1/events/{event_position}/undo",
        undo,
        "undo_event",
        auth="key_or_operator",
        scope="deploy",
        answer=Undone,
        codes=(
            *("undo_impossible", "undo_stale", "quota_exceeded", "name_taken", "volume_in_use"),
            *("volumes_need_one_replica", "circuit_open", "nothing_to_deploy", "nothing_to_roll_back", "env_not_found"),
            *("service_not_found", "deployment_not_found", "domain_not_found", "database_not_found", "key_not_found"),
            *("build_not_found", "build_ended", "database_not_deleted", "duplicate_email"),
        ),
        destroys=True,
        waits=True,
    )
]
