"""What every engine must do, once: the simulated one, processes and containers all pass this.

An engine's test module derives a class from `EngineContract` and gives these fixtures:

    engine, stranger     of two installations on one host; what they started is gone after the test
    comeback             a function: a fresh engine of the same installation, as a server that came back has
    reference, image     a web service: answers `/` with its AH_SERVICE and AH_DEPLOYMENT, ends on SIGTERM; and fetched
    crashing_image       writes the lines one, two, three and ends with 3
    hanging_image        listens nowhere, and writes a line once it takes no notice of SIGTERM

and may replace `ask`, `network`, `unknown_reference` and `spec_for`.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import msgspec
import pytest

from ahplat.engines.engine import Bunch, Engine, Identity, Image, Instance, Network, RouterSeen, Spec, Volume
from ahplat.errors import EngineAway, Rejected

PATIENCE_S = 30.0  # a deadline for what is expected to happen, not a wait


class SpecFor(Protocol):
    """A spec of that name; what begins with no field of Spec goes to its identity."""

    def __call__(self, name: str = "web", **changes: Any) -> Spec: ...


Ask = Callable[[Instance], Awaitable[str]]


async def eventually(probe: Callable[[], Awaitable[bool]]) -> None:
    """Polls until `probe` says yes; fails when it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not await probe():
        assert time.monotonic() < deadline, f"{probe} did not come true within {PATIENCE_S} s"
        await asyncio.sleep(0.002)


async def ask_over_http(instance: Instance) -> str:
    """What `/` answers, as soon as somebody listens."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            reader, writer = await asyncio.open_connection(instance.host, instance.port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if answer:
                return answer.decode()
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on {instance.host}:{instance.port}"
        await asyncio.sleep(0.002)


def never() -> bool:
    return False


async def ended(engine: Engine, instance: Instance) -> Instance:
    """The instance as it is when it has ended by itself."""
    seen: list[Instance] = []

    async def has_ended() -> bool:
        found = await engine.inspect(instance.id)
        assert found is not None
        seen.append(found)
        return found.state == "exited"

    await eventually(has_ended)
    return seen[-1]


class EngineFixtures:
    """What an engine's test module may replace."""

    @pytest.fixture
    def run_id(self) -> str:
        """Tells this test's instances from what a killed test may have left on the host."""
        return secrets.token_hex(3)

    @pytest.fixture
    def network(self, run_id: str) -> Network:
        return Network(f"ah-tenant-{run_id}", f"ah{run_id}", "10.128.7.0/26", "contract", f"tenant-{run_id}")

    @pytest.fixture
    def volume(self, run_id: str, network: Network) -> Volume:
        return Volume(f"ah-vol-{run_id}", network.instance, network.tenant)

    @pytest.fixture
    def unknown_reference(self) -> str:
        return "ah/nobody-made-this:1"

    @pytest.fixture
    def ask(self) -> Ask:
        return ask_over_http

    @pytest.fixture
    def spec_for(self, run_id: str, network: Network) -> SpecFor:
        def build(name: str = "web", **changes: Any) -> Spec:
            identity = Identity(
                instance=network.instance,
                epoch=1,
                tenant=network.tenant,
                service=f"service-{run_id}",
                deployment=f"deployment-{run_id}",
                number=1,
                replica=1,
                position=7,
                spec="a" * 16,
                attempt=1,
            )
            spec = Spec(f"ah-{run_id}-{name}-1-1", identity, {}, 8000, 128, 500, network)
            of_spec = {key: value for key, value in changes.items() if key in Spec.__struct_fields__}
            of_identity = {key: value for key, value in changes.items() if key not in Spec.__struct_fields__}
            identity = msgspec.structs.replace(identity, **of_identity)
            spec = msgspec.structs.replace(spec, identity=identity, **of_spec)
            env = {"AH_SERVICE": identity.service, "AH_DEPLOYMENT": identity.deployment, "PORT": str(spec.port)}
            return msgspec.structs.replace(spec, env=env | spec.env)

        return build


class EngineContract(EngineFixtures):
    """See the module."""

    # ── find or start ──

    async def test_what_was_started_runs_and_says_who_it_is(
        self, engine: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        spec = spec_for()
        started = await engine.find_or_start(spec, image)
        assert (started.name, started.identity, started.state) == (spec.name, spec.identity, "running")
        assert started.host
        assert started.port
        assert await engine.inspect(started.id) == started

    async def test_its_environment_reaches_it(self, engine: Engine, image: Image, spec_for: SpecFor, ask: Ask) -> None:
        spec = spec_for()
        answer = await ask(await engine.find_or_start(spec, image))
        assert spec.identity.service in answer
        assert spec.identity.deployment in answer

    async def test_a_worker_has_no_address(self, engine: Engine, hanging_image: Image, spec_for: SpecFor) -> None:
        started = await engine.find_or_start(spec_for(port=0), hanging_image)
        assert (started.state, started.port) == ("running", 0)

    async def test_what_runs_is_adopted_whatever_the_attempt(
        self, engine: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        first = await engine.find_or_start(spec_for(attempt=1), image)
        assert await engine.find_or_start(spec_for(attempt=2), image) == first

    async def test_a_server_that_comes_back_adopts_what_ran_on(
        self, engine: Engine, comeback: Callable[[], Engine], image: Image, spec_for: SpecFor
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        await engine.close()
        fresh = comeback()
        assert await fresh.list() == [started]
        assert await fresh.find_or_start(spec_for(), image) == started

    @pytest.mark.parametrize(
        "other",
        [{"position": 8}, {"epoch": 2}, {"spec": "b" * 16}, {"deployment": "another"}],
        ids=lambda one: next(iter(one)),
    )
    async def test_another_identity_under_that_name_is_replaced(
        self, engine: Engine, image: Image, spec_for: SpecFor, other: dict[str, Any]
    ) -> None:
        first = await engine.find_or_start(spec_for(), image)
        second = await engine.find_or_start(spec_for(**other), image)
        assert second.id != first.id
        assert second.identity == spec_for(**other).identity
        assert await engine.inspect(first.id) is None
        assert await engine.list() == [second]

    async def test_what_ended_is_started_again(self, engine: Engine, image: Image, spec_for: SpecFor) -> None:
        first = await engine.find_or_start(spec_for(), image)
        await engine.stop(first.id, 5)
        again = await engine.find_or_start(spec_for(), image)
        assert (again.id, again.state, again.exit_code) == (first.id, "running", None)

    async def test_a_strangers_name_is_left_alone(
        self, engine: Engine, stranger: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        theirs = await stranger.find_or_start(spec_for(instance="stranger"), image)
        with pytest.raises(Rejected) as refused:
            await engine.find_or_start(spec_for(), image)
        assert refused.value.code == "name_taken"
        assert await stranger.inspect(theirs.id) == theirs

    async def test_callers_at_the_same_time_get_one_instance(
        self, engine: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        found = await asyncio.gather(*(engine.find_or_start(spec_for(attempt=1), image) for _ in range(5)))
        assert len({one.id for one in found}) == 1
        assert await engine.list() == found[:1]

    async def test_instances_start_side_by_side(
        self, engine: Engine, image: Image, spec_for: SpecFor, ask: Ask
    ) -> None:
        specs = [spec_for(f"web{number}", replica=number) for number in range(1, 5)]
        found = await asyncio.gather(*(engine.find_or_start(spec, image) for spec in specs))
        assert len({(one.host, one.port) for one in found}) == 4
        await asyncio.gather(*(ask(one) for one in found))
        assert {one.id for one in await engine.list()} == {one.id for one in found}

    # ── ending ──

    async def test_stop_ends_it_and_may_be_repeated(
        self, engine: Engine, image: Image, spec_for: SpecFor, ask: Ask
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        await ask(started)
        await engine.stop(started.id, 10)
        await engine.stop(started.id, 10)
        stopped = await engine.inspect(started.id)
        assert stopped is not None
        assert (stopped.state, stopped.exit_code) == ("exited", 0)

    async def test_what_does_not_heed_sigterm_is_killed_after_the_grace(
        self, engine: Engine, hanging_image: Image, spec_for: SpecFor
    ) -> None:
        started = await engine.find_or_start(spec_for(), hanging_image)

        async def is_deaf() -> bool:
            return await engine.tail(started.id, 1) != ""

        await eventually(is_deaf)
        await engine.stop(started.id, 0)
        stopped = await engine.inspect(started.id)
        assert stopped is not None
        assert (stopped.state, stopped.exit_code) == ("exited", 137)

    async def test_a_crash_shows_its_exit_code(self, engine: Engine, crashing_image: Image, spec_for: SpecFor) -> None:
        crashed = await ended(engine, await engine.find_or_start(spec_for(), crashing_image))
        assert (crashed.exit_code, crashed.oom_killed) == (3, False)

    async def test_remove_takes_what_runs_and_may_be_repeated(
        self, engine: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        await engine.remove(started.id)
        await engine.remove(started.id)
        assert await engine.inspect(started.id) is None
        assert await engine.list() == []

    async def test_a_stale_id_does_nothing(self, engine: Engine, image: Image, spec_for: SpecFor) -> None:
        stale = await engine.find_or_start(spec_for(), image)
        fresh = await engine.find_or_start(spec_for(position=8), image)
        await engine.stop(stale.id, 0)
        await engine.remove(stale.id)
        assert await engine.tail(stale.id, 10) == ""
        assert await engine.inspect(fresh.id) == fresh

    async def test_an_id_that_never_was_does_nothing(self, engine: Engine) -> None:
        unknown = "0123456789ab" * 5
        await engine.stop(unknown, 0)
        await engine.remove(unknown)
        assert await engine.inspect(unknown) is None
        assert await engine.tail(unknown, 10) == ""

    # ── seeing ──

    async def test_list_shows_any_state_and_can_name_a_service(
        self, engine: Engine, image: Image, crashing_image: Image, spec_for: SpecFor
    ) -> None:
        runs = await engine.find_or_start(spec_for("one", service="one"), image)
        crashed = await ended(engine, await engine.find_or_start(spec_for("two", service="two"), crashing_image))
        assert {one.id for one in await engine.list()} == {runs.id, crashed.id}
        assert await engine.list("two") == [crashed]
        assert await engine.list("three") == []

    async def test_list_leaves_other_installations_out(
        self, engine: Engine, stranger: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        theirs = await stranger.find_or_start(spec_for("theirs", instance="stranger"), image)
        ours = await engine.find_or_start(spec_for("ours"), image)
        assert await engine.list() == [ours]
        assert await stranger.list() == [theirs]

    async def test_tail_gives_the_last_lines_also_of_what_ended(
        self, engine: Engine, crashing_image: Image, spec_for: SpecFor
    ) -> None:
        crashed = await ended(engine, await engine.find_or_start(spec_for(), crashing_image))
        assert (await engine.tail(crashed.id, 2)).splitlines() == ["two", "three"]
        assert (await engine.tail(crashed.id, 50)).splitlines() == ["one", "two", "three"]

    # ── logs ──

    async def test_logs_give_every_line_also_of_what_ended(
        self, engine: Engine, crashing_image: Image, spec_for: SpecFor
    ) -> None:
        crashed = await ended(engine, await engine.find_or_start(spec_for(), crashing_image))
        assert await told(engine.logs(crashed.id)) == [b"one", b"two", b"three"]
        assert await told(engine.logs(crashed.id, tail=2)) == [b"two", b"three"]
        assert await told(engine.logs(crashed.id, tail=9)) == [b"one", b"two", b"three"]
        assert await told(engine.logs(crashed.id, tail=2, follow=True)) == [b"two", b"three"]

    async def test_logs_give_what_was_written_since(
        self, engine: Engine, crashing_image: Image, spec_for: SpecFor
    ) -> None:
        crashed = await ended(engine, await engine.find_or_start(spec_for(), crashing_image))
        lines = [line async for bunch in engine.logs(crashed.id) for line in bunch]
        times = [line.at_ns for line in lines]
        assert times == sorted(times)
        later = [line.text for line in lines if line.at_ns >= times[1]]
        assert later
        assert await told(engine.logs(crashed.id, since_ns=times[1])) == later
        assert await told(engine.logs(crashed.id, since_ns=times[-1] + 1)) == []

    async def test_a_log_is_followed_until_its_instance_ends(
        self, engine: Engine, hanging_image: Image, spec_for: SpecFor
    ) -> None:
        started = await engine.find_or_start(spec_for(), hanging_image)
        bunches = aiter(engine.logs(started.id, follow=True))
        assert await asyncio.wait_for(anext(bunches), PATIENCE_S)
        going_on = asyncio.ensure_future(anext(bunches))
        await engine.stop(started.id, 0)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(going_on, PATIENCE_S)

    async def test_the_log_of_what_is_not_there_is_empty(self, engine: Engine) -> None:
        assert await told(engine.logs("0123456789ab" * 5, follow=True)) == []

    # ── commands ──

    @pytest.fixture
    def talking(self) -> list[str]:
        """A command that says `out` and `err` where they belong, and ends with 7."""
        return ["sh", "-c", "echo out; echo err >&2; exit 7"]

    @pytest.fixture
    def sleeping(self) -> list[str]:
        """A command that does not end by itself."""
        return ["sleep", "1000"]

    async def test_a_command_tells_its_output_and_how_it_ended(
        self, engine: Engine, image: Image, spec_for: SpecFor, talking: list[str]
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        done = await engine.execute(started.id, talking, secrets.token_hex(16), PATIENCE_S)
        assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
        assert not done.truncated
        assert not done.timed_out

    async def test_a_program_that_is_not_there_is_127(self, engine: Engine, image: Image, spec_for: SpecFor) -> None:
        started = await engine.find_or_start(spec_for(), image)
        done = await engine.execute(started.id, ["no-such-program"], secrets.token_hex(16), PATIENCE_S)
        assert (done.exit_code, done.stdout) == (127, b"")
        assert b"not found" in done.stderr or b"no such program" in done.stderr

    async def test_a_command_is_ended_when_its_time_is_over(
        self, engine: Engine, image: Image, spec_for: SpecFor, sleeping: list[str]
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        done = await engine.execute(started.id, sleeping, secrets.token_hex(16), 0.3)
        assert (done.exit_code, done.timed_out) == (137, True)

    async def test_a_command_ends_with_its_instance(
        self, engine: Engine, image: Image, spec_for: SpecFor, sleeping: list[str]
    ) -> None:
        started = await engine.find_or_start(spec_for(), image)
        running = asyncio.ensure_future(engine.execute(started.id, sleeping, secrets.token_hex(16), PATIENCE_S))
        await asyncio.sleep(0)
        await engine.stop(started.id, 0)
        with contextlib.suppress(Rejected):  # it had not begun
            done = await asyncio.wait_for(running, PATIENCE_S)
            assert done.exit_code != 0
            assert not done.timed_out

    async def test_where_nothing_runs_nothing_is_executed(
        self, engine: Engine, crashing_image: Image, spec_for: SpecFor, talking: list[str]
    ) -> None:
        crashed = await ended(engine, await engine.find_or_start(spec_for(), crashing_image))
        for instance_id in (crashed.id, "0123456789ab" * 5):
            with pytest.raises(Rejected) as refused:
                await engine.execute(instance_id, talking, secrets.token_hex(16), PATIENCE_S)
            assert refused.value.code == "not_running"
            await engine.end_execution(instance_id, secrets.token_hex(16))

    async def test_watch_hints_at_the_service_whose_instance_ends(
        self, engine: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        spec = spec_for()
        hints = aiter(engine.watch())
        hint = asyncio.ensure_future(anext(hints))
        deadline = time.monotonic() + PATIENCE_S
        while not hint.done():  # again, since nobody says when a watch has begun
            assert time.monotonic() < deadline, "no hint"
            started = await engine.find_or_start(spec, image)
            await engine.stop(started.id, 5)
            await asyncio.wait([hint], timeout=1)
        assert await hint == spec.identity.service
        await close(hints)

    # ── databases and volumes ──

    async def test_a_databases_server_is_told_apart_from_services(
        self, engine: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        service = await engine.find_or_start(spec_for("web"), image)
        spec = spec_for("db", service="", deployment="", database="one")
        server = await engine.find_or_start(spec, image)
        assert (server.identity, server.identity.subject) == (spec.identity, "one")
        assert await engine.list() == [service]
        assert await engine.list_databases() == await engine.list_databases("one") == [server]
        assert await engine.list_databases("two") == []
        assert await engine.find_or_start(spec, image) == server

    async def test_watch_hints_at_the_database_whose_server_ends(
        self, engine: Engine, image: Image, spec_for: SpecFor
    ) -> None:
        spec = spec_for("db", service="", deployment="", database="one")
        hints = aiter(engine.watch())
        hint = asyncio.ensure_future(anext(hints))
        deadline = time.monotonic() + PATIENCE_S
        while not hint.done():  # again, since nobody says when a watch has begun
            assert time.monotonic() < deadline, "no hint"
            started = await engine.find_or_start(spec, image)
            await engine.stop(started.id, 5)
            await asyncio.wait([hint], timeout=1)
        assert await hint == "one"
        await close(hints)

    async def test_a_volume_is_made_once_and_goes_when_it_is_removed(self, engine: Engine, volume: Volume) -> None:
        for _ in range(2):
            await engine.ensure_volume(volume)
        assert volume.name in await engine.volume_bytes()
        for _ in range(2):
            await engine.remove_volume(volume)
        assert volume.name not in await engine.volume_bytes()

    async def test_a_strangers_volume_is_left_alone(self, engine: Engine, stranger: Engine, volume: Volume) -> None:
        theirs = msgspec.structs.replace(volume, instance="stranger")
        await stranger.ensure_volume(theirs)
        with pytest.raises(Rejected) as refused:
            await engine.ensure_volume(volume)
        assert refused.value.code == "name_taken"
        await engine.remove_volume(volume)
        assert volume.name not in await engine.volume_bytes()
        assert volume.name in await stranger.volume_bytes()
        await stranger.remove_volume(theirs)

    async def test_closing_the_engine_ends_its_watch(self, engine: Engine) -> None:
        hint = asyncio.ensure_future(anext(aiter(engine.watch())))
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises((StopAsyncIteration, EngineAway)):
            await asyncio.wait_for(hint, PATIENCE_S)

    # ── images, networks, status ──

    async def test_an_unknown_image_is_not_found(self, engine: Engine, unknown_reference: str) -> None:
        with pytest.raises(Rejected) as refused:
            await engine.fetch(unknown_reference, never)
        assert refused.value.code == "image_not_found"

    async def test_a_pinned_image_is_the_one_that_was_fetched(
        self, engine: Engine, reference: str, image: Image
    ) -> None:
        assert image.reference == reference
        assert image.digest in image.pinned
        again = await engine.fetch(image.pinned, never)
        assert (again.digest, again.pinned) == (image.digest, image.pinned)

    async def test_a_network_is_made_once(self, engine: Engine, network: Network) -> None:
        await engine.ensure_network(network)
        await engine.ensure_network(network)

    async def test_one_that_was_told_of_no_router_joins_none(self, engine: Engine, network: Network) -> None:
        await engine.ensure_network(network)
        assert await engine.join_router([network]) == RouterSeen()

    async def test_status_and_guard_say_how_it_is(self, engine: Engine) -> None:
        status = await engine.status()
        assert (status.name, status.available) == (engine.name, True)
        assert isinstance(await engine.guard(), list)


async def told(logs: AsyncIterator[Bunch]) -> list[bytes]:
    """All lines of a log, to its end."""
    async with asyncio.timeout(PATIENCE_S):
        return [line.text async for bunch in logs for line in bunch]


async def close(hints: AsyncIterator[str]) -> None:
    """Ends a watch where it can be ended: an async generator can."""
    aclose = getattr(hints, "aclose", None)
    if aclose is not None:
        await aclose()
