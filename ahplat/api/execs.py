"""Commands in a running service over HTTP: run once, within a time, and never again.

The start is an event with the caller's key before anything runs; the end is another, whatever ended it. So a repeat with
the same key finds the start, and tells how it ended, or that it runs. What it said goes to its caller and is kept nowhere.
A caller who goes away, whose key dies, or whose server stops, ends the command.
"""

import asyncio
from contextlib import suppress
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ahplat import limits
from ahplat.answers import Done
from ahplat.api.call import Call, Reply, answer
from ahplat.api.fields import Id, invalid
from ahplat.api.forward import is_gone
from ahplat.api.route import Route
from ahplat.api.services import find
from ahplat.api.stream import Filter, Subscriber
from ahplat.commands.effects import Conclude
from ahplat.commands.execs import StartExec
from ahplat.engines.engine import Execution
from ahplat.errors import AhError, EngineAway, Rejected, Unavailable
from events.event import canonical
from events.execs import ExecEnded
from projections import execs, instances
from projections.execs import ExecRow

_AGAIN_S = 2  # until it is worth asking again how a command ended

Argument = Annotated[str, Meta(max_length=limits.EXEC_ARGUMENT_BYTES)]


class Exec(Struct):
    """A program of the image with its arguments; no shell is put before it."""

    command: Annotated[
        list[Argument],
        Meta(
            min_length=1,
            max_length=limits.EXEC_ARGUMENTS,
            extra_json_schema={"prefixItems": [{"type": "string", "pattern": "^[^-]"}]},
            examples=[["ls", "-l"]],
        ),
    ]
    timeout_s: Annotated[int, Meta(ge=1, le=limits.EXEC_TIMEOUT_S)] = limits.EXEC_TIMEOUT_DEFAULT_S


class ExecResult(Struct, frozen=True):
    """How a command ended. `outcome`: exited, timed_out, cut_off, lost or unknown; without an exit code nobody can tell it.

    A repeat has no output: it is told once, and `truncated` then says that there was more.
    """

    exec_id: Id
    outcome: str
    stdout: str
    stderr: str
    truncated: bool
    timed_out: bool
    duration_ms: int
    exit_code: int | UnsetType = UNSET


class _Begun(Struct, frozen=True):
    """What the writer keeps as the answer to a key."""

    exec_id: str


async def execute(call: Call) -> Reply:
    """Runs a command in a running instance of a service, and answers when it ended.

    No shell is put before it: `["sh", "-c", "…"]` is one. It never runs twice for one Idempotency-Key.
    """
    if begun := call.recalled():
        return _again(call, begun)
    find(call, call.views, call.path_id())
    body = call.body(Exec)
    _check(body.command)
    hub = call.app.hub
    with call.app.execs.taken(call.tenant_id, 1, limits.EXECS, limits.EXECS_OF_TENANT, _AGAIN_S):
        caller = Subscriber(
            call.tenant_id, call.principal.key_id, hub.position, Filter()
        )  # closed when it may not any more
        hub.subscribe(caller)
        try:
            return await _once(call, body, caller)
        finally:
            hub.unsubscribe(caller)


async def _once(call: Call, body: Exec, caller: Subscriber) -> Reply:
    instance = await _instance(call)
    exec_id = call.new_id()
    done = await call.submit(
        StartExec(
            tenant_id=call.tenant_id,
            service_id=call.path_id(),
            exec_id=exec_id,
            instance=instance,
            timeout_s=body.timeout_s,
            due_us=call.app.clock.now_us() + (body.timeout_s + limits.EXEC_LATE_S) * 1_000_000,
            sealed=call.app.keyring.seal(call.tenant_id, f"exec-{exec_id}", "command", canonical(body.command)),
        ),
        lambda _: answer(_Begun(exec_id)),
    )
    if done.replayed:
        return _again(call, call.reply(done))
    return await _Run(call, exec_id, done).run(instance, body, caller)


def _check(command: list[str]) -> None:
    if not command[0] or command[0].startswith("-"):
        raise invalid("/command/0", "expected a program")
    if sum(len(argument.encode()) + 1 for argument in command) > limits.EXEC_ARGUMENT_BYTES:
        raise invalid("/command", f"expected at most {limits.EXEC_ARGUMENT_BYTES} bytes in all")


async def _instance(call: Call) -> str:
    """An instance that runs. Raises Rejected `not_running`, EngineAway."""
    service = find(call, call.views, call.path_id())
    if call.app.runner.engine_away:
        raise EngineAway("the container engine does not answer")
    for row in instances.list_of(call.views, service.service_id):
        seen = await call.app.engine.inspect(row.instance)
        if seen is not None and seen.state == "running":
            return row.instance
    raise Rejected("not_running", f"nothing of the service runs: it is {service.status}")


def _again(call: Call, begun: Reply) -> Reply:
    """How the first one ended. Raises Unavailable `idempotency_in_flight` while it runs."""
    row = execs.find(call.views, msgspec.json.decode(begun.body, type=_Begun).exec_id)
    if row is None or row.outcome is None:
        raise Unavailable("idempotency_in_flight", "the command of this key is still running", _AGAIN_S)
    begun.body = msgspec.json.encode(_told(row))
    return begun


def _told(row: ExecRow) -> ExecResult:
    return ExecResult(
        exec_id=row.exec_id,
        outcome=row.outcome or "",
        stdout="",
        stderr="",
        truncated=True,
        timed_out=row.outcome == "timed_out",
        duration_ms=row.duration_ms,
        exit_code=UNSET if row.exit_code is None else row.exit_code,
    )


class _Run:
    """One command that runs. From its start on nothing is Rejected: for the key there is an answer already."""

    def __init__(self, call: Call, exec_id: str, begun: Done) -> None:
        self._call = call
        self._app = call.app
        self._id = exec_id
        self._begun = begun
        self._began_s = call.app.clock.monotonic()

    async def run(self, instance: str, body: Exec, caller: Subscriber) -> Reply:
        """To its end, and the record of it. Raises Unavailable where there is no result to tell."""
        running = asyncio.ensure_future(self._app.engine.execute(instance, body.command, self._id, body.timeout_s))
        closing: asyncio.Future[Any] = asyncio.ensure_future(caller.wake.wait())
        try:
            while not (running.done() or self._is_unwanted(caller)):
                await asyncio.wait({running, closing}, timeout=limits.LOG_GONE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            running.cancel()
            await asyncio.wait({running})  # whatever it was, it is ended when this returns
        return await self._end(running)

    def _is_unwanted(self, caller: Subscriber) -> bool:
        """Whether its caller went, or may not any more."""
        expires_at = self._call.principal.expires_at
        has_expired = bool(expires_at) and self._app.clock.now_us() >= expires_at * 1_000_000
        return caller.closed or has_expired or is_gone(self._call.request)

    async def _end(self, running: asyncio.Future[Execution]) -> Reply:
        duration_ms = round((self._app.clock.monotonic() - self._began_s) * 1_000)
        if running.cancelled():
            await self._record(ExecEnded(*self._about, "cut_off", duration_ms=duration_ms))
            raise Unavailable("exec_cut_off", "the command was ended before its time")
        if error := running.exception():
            await self._record(ExecEnded(*self._about, "lost", duration_ms=duration_ms))
            detail = error.detail if isinstance(error, AhError) else "something broke on our side"
            raise Unavailable("exec_lost", detail) from error
        return await self._tell(running.result(), duration_ms)

    @property
    def _about(self) -> tuple[int, str]:
        """The start that has its outcome now, and the service's stream."""
        return self._begun.first_position, f"service-{self._call.path_id()}"

    async def _tell(self, result: Execution, duration_ms: int) -> Reply:
        outcome = "timed_out" if result.timed_out else "lost" if result.exit_code is None else "exited"
        await self._record(ExecEnded(*self._about, outcome, result.exit_code, result.truncated, duration_ms))
        reply = self._call.reply(self._begun)
        reply.body = msgspec.json.encode(
            ExecResult(
                exec_id=self._id,
                outcome=outcome,
                stdout=result.stdout.decode(errors="replace"),
                stderr=result.stderr.decode(errors="replace"),
                truncated=result.truncated,
                timed_out=result.timed_out,
                duration_ms=duration_ms,
                exit_code=UNSET if result.exit_code is None else result.exit_code,
            )
        )
        return reply

    async def _record(self, ended: ExecEnded) -> None:
        """Where that fails, the outcome is taken to be unknown once it is overdue."""
        command = Conclude(
            tenant_id=self._call.tenant_id,
            intent=ended.intent,
            attempt=0,  # none that followed it up
            stream=f"exec-{self._id}",
            outcome=[ended],
        )
        with suppress(Rejected, Unavailable):
            await self._app.writer.submit(
                command,
                actor=self._call.principal.actor,
                cause=self._begun.first_position,
                correlation=self._call.request_id,
                traceparent=self._call.traceparent,
                agent=self._call.agent,
                run=self._call.run,
            )


ROUTES = [
    Route(
        "POST",
        "/v1/services/{service_id}/exec",
        execute,
        "exec_command",
        scope="deploy",
        body=Exec,
        answer=ExecResult,
        codes=(
            "engine_unavailable",
            "exec_busy",
            "exec_cut_off",
            "exec_lost",
            "idempotency_in_flight",
            "not_running",
        ),
        destroys=True,
        stream=True,
    )
]
