"""Commands in containers under gVisor: how they end, and that nothing of them is left when their time is over."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import docker
import pytest

from ahplat import limits
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Execution, Image, Instance, Network
from tests.engines.stubborn import STUBBORN
from tests.real.beside import REGISTRY, pushed
from tests.real.engine.instances import a_spec, ask, never

pytestmark = pytest.mark.real


@pytest.fixture
async def instance(engine: DockerEngine, network: Network, hello: Image) -> AsyncIterator[Instance]:
    instance = await engine.find_or_start(a_spec(network), hello)
    await ask(instance, "/healthz")
    yield instance


async def run(engine: DockerEngine, instance: Instance, *argv: str, timeout_s: float = 20) -> Execution:
    return await engine.execute(instance.id, argv, secrets.token_hex(16), timeout_s)


def living(sdk: docker.DockerClient, instance: Instance) -> list[str]:
    """What lives in a container, but who looks: pid and name. Orphans that its first process does not reap are dead."""
    script = "grep -hsE '^[0-9]+ .*[)] [^ZX] ' /proc/[0-9]*/stat"
    told = sdk.containers.get(instance.id).exec_run(["sh", "-c", script]).output.decode()
    return [line.partition(")")[0] for line in told.splitlines() if "(sh)" not in line and "(grep)" not in line]


async def test_a_command_has_the_containers_environment_and_no_stdin(engine: DockerEngine, instance: Instance) -> None:
    done = await run(engine, instance, "sh", "-c", "echo $AH_SERVICE; cat; echo bad >&2; exit 7")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"svc\n", b"bad\n")


async def test_a_command_that_speaks_as_the_runtime_does_runs_once(engine: DockerEngine, instance: Instance) -> None:
    script = "echo x >> /tmp/count; echo 'OCI runtime exec failed: x'; exit 126"
    done = await run(engine, instance, "sh", "-c", script)
    assert (done.exit_code, done.stdout) == (126, b"OCI runtime exec failed: x\n")
    assert (await run(engine, instance, "cat", "/tmp/count")).stdout == b"x\n"


async def test_what_is_not_there_is_127_and_what_is_no_program_126(engine: DockerEngine, instance: Instance) -> None:
    missing, folder = await run(engine, instance, "nosuch"), await run(engine, instance, "/etc")
    assert (missing.exit_code, folder.exit_code) == (127, 126)
    assert b"nosuch" in missing.stderr
    assert missing.stdout == folder.stdout == b""


async def test_arguments_reach_a_program_as_they_are(engine: DockerEngine, instance: Instance) -> None:
    odd = ["a b", "$HOME", "`id`", "'\"", "ü\n", "", "-n", "*"]
    done = await run(engine, instance, "python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *odd)
    assert done.stdout.decode().strip() == ascii(odd)


async def test_more_output_than_is_kept_is_dropped_and_said_so(engine: DockerEngine, instance: Instance) -> None:
    script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 4"
    done = await run(engine, instance, "sh", "-c", script)
    sizes = (len(done.stdout), len(done.stderr), done.truncated, done.exit_code)
    assert sizes[0] == limits.EXEC_OUTPUT_BYTES
    assert sizes[2:] == (True, 4)


async def test_when_its_time_is_over_no_process_of_it_is_left_however_stubborn(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    before = living(sdk, instance)
    began = time.monotonic()
    done = await run(engine, instance, "python3", "-c", STUBBORN, timeout_s=2)
    assert (done.exit_code, done.timed_out, done.stdout) == (137, True, b"up\n")
    assert time.monotonic() - began < 10
    assert living(sdk, instance) == before
    assert (await ask(instance, "/")).startswith("hello 1")


@pytest.mark.parametrize(("last", "timed_out"), [("exec env -i sleep 987", True), ("exit 3", False)])
async def test_what_clears_its_environment_and_leaves_its_session_and_parent_ends_with_it(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient, last: str, timed_out: bool
) -> None:
    before = living(sdk, instance)
    script = f"(env -i setsid setsid sleep 987 >/dev/null 2>&1 & env -i sleep 987 >/dev/null 2>&1 &); {last}"
    done = await run(engine, instance, "sh", "-c", script, timeout_s=2)
    assert (done.exit_code, done.timed_out) == (137 if timed_out else 3, timed_out)
    assert living(sdk, instance) == before


async def test_a_command_cannot_take_its_mark_off(engine: DockerEngine, instance: Instance) -> None:
    script = "import resource as r; r.setrlimit(r.RLIMIT_RSS, (r.RLIM_INFINITY, r.RLIM_INFINITY))"
    done = await run(engine, instance, "python3", "-c", script)
    assert done.exit_code == 1
    assert b"limit" in done.stderr


async def test_what_it_left_behind_ends_with_it(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    before = living(sdk, instance)
    done = await run(engine, instance, "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & exit 3")
    assert (done.exit_code, done.timed_out) == (3, False)
    assert living(sdk, instance) == before


async def test_a_fork_bomb_ends_when_its_time_is_over(engine: DockerEngine, instance: Instance) -> None:
    """At worst its container ends with it: nothing else of the tenant, and nobody else's, is touched."""
    done = await run(
        engine, instance, "sh", "-c", "n=0; while [ $n -lt 3000 ]; do n=$((n+1)); sleep 99 & done", timeout_s=2
    )
    assert done.timed_out or done.exit_code is not None


async def test_a_call_that_is_cancelled_ends_it(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    before = living(sdk, instance)
    for delay_s in (0.0, 0.01, 0.05, 0.2, 1.0):
        running = asyncio.create_task(run(engine, instance, "sleep", "1000"))
        await asyncio.sleep(delay_s)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert living(sdk, instance) == before, delay_s


async def test_a_fresh_engine_ends_what_a_killed_server_left(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    before, mark = living(sdk, instance), secrets.token_hex(16)
    script = f"AH_EXEC_ID={mark} setsid sleep 1000 >/dev/null 2>&1 &"
    sdk.containers.get(instance.id).exec_run(["sh", "-c", script])
    assert len(living(sdk, instance)) == len(before) + 1
    await engine.end_execution(instance.id, mark)
    assert living(sdk, instance) == before


async def test_a_container_that_dies_ends_its_command(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    running = asyncio.create_task(run(engine, instance, "sleep", "1000", timeout_s=60))
    await asyncio.sleep(1)
    sdk.containers.get(instance.id).kill()
    done = await asyncio.wait_for(running, 10)
    assert done.exit_code in (None, 137)
    assert not done.timed_out


async def test_in_an_image_without_a_shell_a_command_runs_and_its_end_ends_the_container_only_when_it_must(
    engine: DockerEngine, network: Network, sdk: docker.DockerClient
) -> None:
    changes = ["ENV PATH=/nowhere", 'ENTRYPOINT ["/usr/bin/python3"]', 'CMD ["/app/app.py"]']
    image = await engine.fetch(pushed(sdk, "hello:1", f"{REGISTRY}/test/shellless", changes), never)
    instance = await engine.find_or_start(a_spec(network), image)
    await ask(instance, "/healthz")
    done = await run(engine, instance, "/usr/bin/id", "-u")
    assert (done.exit_code, done.stderr) == (0, b"")
    missing = await run(engine, instance, "nosuch")
    assert (missing.exit_code, missing.stdout) == (127, b"")
    assert (await ask(instance, "/")).startswith("hello")
    done = await run(engine, instance, "/usr/bin/sleep", "1000", timeout_s=1)
    assert done.timed_out
    ended = await engine.inspect(instance.id)
    assert ended is not None
    assert ended.state == "exited"
