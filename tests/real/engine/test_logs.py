"""Logs of containers as dockerd keeps them: every line once, with its time, in the order in which it was written."""

import asyncio
import time

import docker
import pytest

from ahplat import limits
from ahplat.engines.docker import DockerEngine
from ahplat.engines.engine import Image, Instance, LogLine, Network
from ahplat.errors import Unavailable
from tests.real.engine.instances import a_spec, ask

pytestmark = pytest.mark.real


@pytest.fixture
async def instance(engine: DockerEngine, network: Network, hello: Image) -> Instance:
    instance = await engine.find_or_start(a_spec(network), hello)
    await ask(instance, "/healthz")
    return instance


async def lines(engine: DockerEngine, instance: Instance, tail: int | None = None, since_ns: int = 0) -> list[LogLine]:
    return [line async for bunch in engine.logs(instance.id, tail, since_ns) for line in bunch]


async def written(engine: DockerEngine, instance: Instance, last: bytes) -> list[LogLine]:
    """All lines, once the last one is there: dockerd hears of them a moment after they were written."""
    async with asyncio.timeout(20):
        while not (found := await lines(engine, instance)) or found[-1].text != last:
            await asyncio.sleep(0.01)
    return found


def write(sdk: docker.DockerClient, instance: Instance, written: str) -> None:
    """Writes what is the value of a Python expression to the container's log."""
    script = f"import os; out = os.open('/proc/1/fd/1', os.O_WRONLY); data = {written}\n"
    script += "while data: data = data[os.write(out, data):]"
    done = sdk.containers.get(instance.id).exec_run(["python3", "-c", script])
    assert done.exit_code == 0, done.output


async def test_lines_have_their_time_and_tail_and_since_choose_among_them(
    engine: DockerEngine, instance: Instance
) -> None:
    for word in ("one", "two", "three"):
        await ask(instance, f"/say?line={word}")
    found = await written(engine, instance, b"three")
    assert [line.text for line in found[-3:]] == [b"one", b"two", b"three"]
    assert all(abs(line.at_ns / 1e9 - time.time()) < 60 for line in found)
    assert await lines(engine, instance, tail=2) == found[-2:]
    assert await lines(engine, instance, since_ns=found[-2].at_ns) == found[-2:]
    assert await lines(engine, instance, since_ns=found[-1].at_ns + 1) == []


async def test_a_long_line_is_one_line_and_a_longer_one_is_cut(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    write(sdk, instance, r"b'x' * 50_000 + b'\n'")
    write(sdk, instance, r"b'y' * 900_000 + b'\n' + b'the end\r\n'")
    long, longer, end = (await written(engine, instance, b"the end"))[-3:]
    assert long.text == b"x" * 50_000
    assert longer.text == b"y" * limits.LOG_LINE_BYTES + b" [cut: %d more bytes]" % (900_000 - limits.LOG_LINE_BYTES)
    assert end.text == b"the end"
    write(sdk, instance, r"b'z' * 40_000 + b'\nTraceback\n'")
    await written(engine, instance, b"Traceback")
    assert await engine.tail(instance.id, 2) == "z" * 40_000 + "\nTraceback\n"


async def test_the_tail_counts_lines_however_long_they_are(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    write(
        sdk,
        instance,
        r"b'before\n' + b'x' * 50_000 + b'\n' + b'y' * 900_000 + b'\n' + b'between\n' + b'z' * 40_000 + b'\n'",
    )
    found = await written(engine, instance, b"z" * 40_000)
    assert [line.text[:7] for line in found[-5:]] == [b"before", b"x" * 7, b"y" * 7, b"between", b"z" * 7]
    for tail in (1, 2, 3, 4, 5):
        assert await lines(engine, instance, tail) == found[-tail:], tail
    assert await lines(engine, instance, 10_000) == found
    assert await lines(engine, instance, 4, since_ns=found[-2].at_ns) == found[-2:]


async def test_what_is_followed_begins_with_the_last_whole_lines_too(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    write(sdk, instance, r"b'x' * 50_000 + b'\n'")
    await written(engine, instance, b"x" * 50_000)
    log = engine.logs(instance.id, tail=1, follow=True)
    (long,) = await anext(log)
    assert long.text == b"x" * 50_000
    await ask(instance, "/say?line=next")
    assert [line.text for line in await anext(log)] == [b"next"]
    await log.aclose()


async def test_a_line_is_followed_at_once(engine: DockerEngine, instance: Instance) -> None:
    log = engine.logs(instance.id, tail=1, follow=True)
    await anext(log)
    for n in range(5):
        coming = asyncio.ensure_future(anext(log))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await asyncio.gather(ask(instance, f"/say?line=line{n}"), coming)
        assert coming.result()[-1].text == b"line%d" % n
        assert time.monotonic() - began < 1
    await log.aclose()


async def test_a_reader_that_goes_leaves_neither_thread_nor_connection(
    engine: DockerEngine, instance: Instance
) -> None:
    import threading

    for _ in range(3):
        log = engine.logs(instance.id, follow=True)
        await anext(log)
        await log.aclose()
    async with asyncio.timeout(5):
        while any(thread.name == "docker-logs" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
    assert engine._logs == 0
    assert not engine._streams


async def test_a_log_that_is_not_read_on_waits_and_loses_nothing_that_docker_keeps(
    engine: DockerEngine, instance: Instance, sdk: docker.DockerClient
) -> None:
    log = engine.logs(instance.id, follow=True)
    await anext(log)
    for _ in range(5):
        write(sdk, instance, r"(b'z' * 999 + b'\n') * 1_600")
    found = 0
    async with asyncio.timeout(60):
        async for bunch in log:
            found += len(bunch)
            assert sum(len(line.text) for line in bunch) <= limits.STREAM_CHUNK_BYTES * 2
            if found >= 8_000:
                break
    await log.aclose()


async def test_too_many_readers_are_told_so(
    engine: DockerEngine, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_STREAMS", 1)
    log = engine.logs(instance.id, follow=True)
    await anext(log)
    with pytest.raises(Unavailable, match="overloaded"):
        await lines(engine, instance)
    await log.aclose()
    assert await lines(engine, instance)


async def test_an_engine_that_is_closed_ends_what_is_followed(engine: DockerEngine, instance: Instance) -> None:
    log = engine.logs(instance.id, follow=True)
    await anext(log)
    going_on = asyncio.ensure_future(anext(log))
    await asyncio.sleep(0.1)
    await engine.close()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(going_on, 10)
