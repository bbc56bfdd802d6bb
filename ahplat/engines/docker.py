"""Docker Engine with runsc: the engine of production.

The port, and which blocking step stands behind each method. The steps are in `lifecycle.py`, `bridges.py`, `pulls.py`
and `watch.py`, what they ask for in `container.py`; threads, timeouts and errors are `dockerd.py`'s. Only this module
is imported from outside, and only when this engine was chosen: the SDK is a large part of the server's memory.
"""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from docker import APIClient
from msgspec import structs

from ahplat import limits, processes
from ahplat.engines import (
    belongings,
    bridges,
    container,
    container_logs,
    container_stats,
    images,
    lifecycle,
    pulls,
    resolver,
    router_container,
    stored_images,
    volumes,
    watch,
)
from ahplat.engines.addresses import Addresses
from ahplat.engines.changes import Changes
from ahplat.engines.container_exec import ContainerExec
from ahplat.engines.container_logs import Beginning
from ahplat.engines.container_pipe import ContainerPipe
from ahplat.engines.dockerd import Dockerd, Stream, open_stream
from ahplat.engines.engine import (
    Belonging,
    Bunch,
    Counters,
    EngineStatus,
    Execution,
    Image,
    Instance,
    Network,
    RouterSeen,
    Spec,
    Volume,
)
from ahplat.engines.firewall import Firewall
from ahplat.engines.handover import Handover
from ahplat.engines.images import InspectedImage
from ahplat.errors import EngineAway, Rejected, Unavailable


class DockerEngine:
    """See the module. `installation` is the value of `ah.instance` that tells ours from everybody else's.

    What containers see of the host (their resolv.conf) is kept in `data_dir`. `router` is the name of the router's
    container, "" where it is none.
    """

    name = "docker"
    grants_egress = True
    mounts_volumes = True

    def __init__(
        self,
        installation: str,
        data_dir: Path,
        *,
        base_url: str | None = None,
        runtime: str = container.RUNTIME,
        router: str = "",
    ) -> None:
        self._installation = installation
        self._router = router
        self._resolvers = data_dir / "resolv"
        self._runtime = runtime
        self._dockerd = Dockerd(base_url)
        self._addresses = Addresses()
        self._networks = asyncio.Lock()  # one change at a time: Docker would give two networks one name
        self._firewall = Firewall()
        self._guarding = asyncio.Lock()  # and a chain looked at twice at once would be mended twice
        self._volumes: dict[str, tuple[str, ...]] = {}  # by pinned image: what a digest declares never changes
        self._runtime_versions: dict[str, str] = {}  # by path
        self._asked: asyncio.Future[tuple[str, str | None, str]] | None = (
            None  # for its versions: one question at a time
        )
        self._streams: set[Stream] = set()
        self._logs = 0  # being read
        self._closed = False

    async def status(self) -> EngineStatus:
        """See `Engine`. Isolated even where runsc is missing: then nothing starts. A daemon that hangs is away, too."""
        isolated = self._runtime == container.RUNTIME
        try:
            version, path, root = await self._told_versions()
        except Unavailable as error:
            return EngineStatus(self.name, available=False, isolated=isolated, detail=error.detail)
        if path is None:
            detail = f"Docker has no runtime {self._runtime}"
            return EngineStatus(self.name, available=True, isolated=isolated, version=version, detail=detail, root=root)
        runtime, detail = await self._runtime_version(path)
        return EngineStatus(self.name, True, isolated, version, runtime, detail, root)

    async def fetch(self, reference: str, cancelled: Callable[[], bool]) -> Image:
        """See `Engine`."""
        digest = images.digest_of(reference)
        if digest is not None and (known := await self._dockerd.call(lambda client: pulls.look(client, reference))):
            return self._image(reference, digest, known)
        pull = pulls.Pull(reference)
        digest = await pulls.to_its_end(self._dockerd.begin_pull(pull.run), pull, cancelled)
        name = images.pin(reference, digest) if digest else reference
        pulled = await self._dockerd.call(lambda client: pulls.look(client, name))
        if pulled is None:
            raise Unavailable("registry_unavailable", f"image {reference} was pulled and is not there")
        return self._image(reference, digest, pulled)

    async def image_sizes(self, pinned: Sequence[str]) -> dict[str, int]:
        """See `Engine`."""
        return await self._dockerd.call(lambda client: stored_images.sizes(client, pinned))

    async def remove_image(self, pinned: str, names: Sequence[str]) -> bool:
        """See `Engine`."""
        return await self._dockerd.call(lambda client: stored_images.remove(client, pinned, names))

    async def ensure_network(self, network: Network) -> None:
        """See `Engine`. Raises Rejected `name_taken`, Unavailable `network_unavailable` and `guard_failed`."""
        await self.guard()
        async with self._networks:
            await self._dockerd.call(lambda client: self._ensure(client, network))

    async def remove_network(self, network: Network) -> None:
        """See `Engine`."""
        async with self._networks:
            await self._dockerd.call(lambda client: self._remove(client, network))

    async def join_router(self, networks: Sequence[Network]) -> RouterSeen:
        """See `Engine`."""
        if not self._router:
            return RouterSeen()
        async with self._networks:
            return await self._dockerd.call(lambda client: router_container.join(client, self._router, list(networks)))

    async def guard(self) -> list[str]:
        """See `Engine`: the rules that keep containers away from the host. Raises Unavailable `guard_failed`."""
        async with self._guarding:
            return await self._firewall.repair()

    async def find_or_start(self, spec: Spec, image: Image) -> Instance:
        """See `Engine`."""
        found = await self._dockerd.call(lambda client: self._find_or_start(client, spec, image))
        instance = container.instance_of(found)
        assert instance is not None, f"container {spec.name} was adopted without whole labels"
        return instance

    async def inspect(self, instance_id: str) -> Instance | None:
        """See `Engine`."""
        found = await self._dockerd.call(lambda client: lifecycle.ours(client, instance_id, self._installation))
        instance = container.instance_of(found) if found is not None else None
        await self._confirm_ends([instance] if instance is not None else [])
        return instance

    async def belongings(self) -> list[Belonging]:
        """See `Engine`."""
        return await self._dockerd.call(lambda client: belongings.listed(client, self._installation))

    async def _listed(self, subject: str | None, label: str) -> list[Instance]:
        listed = await self._dockerd.call(lambda client: lifecycle.listed(client, self._installation, subject, label))
        instances = [instance for found in listed if (instance := container.instance_of(found)) is not None]
        await self._confirm_ends(instances)
        return instances

    async def list_databases(self, database: str | None = None) -> list[Instance]:
        """See `Engine`."""
        return await self._listed(database, "ah.database")

    async def list(self, service: str | None = None) -> list[Instance]:
        """See `Engine`."""
        return await self._listed(service, "ah.service")

    async def counters(self, instance_ids: Sequence[str]) -> dict[str, Counters]:
        """See `Engine`."""
        return await self._dockerd.call(lambda client: container_stats.read(client, instance_ids))

    async def ensure_volume(self, volume: Volume) -> None:
        """See `Engine`."""
        await self._dockerd.call(lambda client: volumes.ensure(client, volume))

    async def remove_volume(self, volume: Volume) -> None:
        """See `Engine`."""
        await self._dockerd.call(lambda client: volumes.remove(client, volume))

    async def volume_bytes(self) -> dict[str, int]:
        """See `Engine`."""
        return await self._dockerd.call(lambda client: volumes.measured(client, self._installation))

    async def stop(self, instance_id: str, grace_s: int) -> None:
        """See `Engine`. Keeps no thread waiting during the grace, and can be cancelled in it."""
        if not await self._dockerd.call(lambda client: lifecycle.terminate(client, instance_id, self._installation)):
            return
        try:
            async with asyncio.timeout(grace_s):
                await self._until_it_ended(instance_id)
        except TimeoutError:
            await self._dockerd.call(lambda client: lifecycle.kill(client, instance_id))

    async def remove(self, instance_id: str) -> None:
        """See `Engine`."""
        await self._dockerd.call(lambda client: lifecycle.discard(client, instance_id, self._installation))

    async def tail(self, instance_id: str, lines: int) -> str:
        """See `Engine`."""
        return await self._dockerd.call(
            lambda client: container_logs.last(client, instance_id, self._installation, lines)
        )

    async def logs(
        self, instance_id: str, tail: int | None = None, since_ns: int = 0, follow: bool = False
    ) -> AsyncGenerator[Bunch, None]:
        """See `Engine`. Raises Unavailable `overloaded` where too many are read already."""
        if self._logs >= limits.LOG_STREAMS:
            raise Unavailable("overloaded", f"{limits.LOG_STREAMS} logs are being read", 10)
        self._logs += 1
        try:
            start = Beginning(None, since_ns, 0)
            if tail is not None:
                start = await self._dockerd.call(
                    lambda client: container_logs.beginning(client, instance_id, self._installation, tail, since_ns)
                )
            wanted = container_logs.question(start.messages, start.since_ns, follow)
            idle_s = None if follow else limits.ENGINE_TIMEOUT_S
            if follow:
                await self._dockerd.call(lambda client: client.ping())  # it is waited for without a limit
            stream = await self._dockerd.call(
                lambda client: container_logs.begin(client, instance_id, self._installation, wanted, idle_s)
            )
            if stream is not None:
                async for bunch in self._lines(stream, start.skipped):
                    yield bunch
        finally:
            self._logs -= 1

    async def _lines(self, stream: Stream, skipped: int) -> AsyncGenerator[Bunch, None]:
        handover = Handover()
        reader = threading.Thread(
            target=container_logs.read, args=(stream, handover, skipped), name="docker-logs", daemon=True
        )
        self._streams.add(stream)
        reader.start()
        try:
            if self._closed:
                stream.cut()
            while (bunch := await handover.take()) is not None:
                yield bunch
        finally:
            self._streams.discard(stream)
            stream.cut()
            handover.leave()

    async def execute(self, instance_id: str, argv: Sequence[str], mark: str, timeout_s: float) -> Execution:
        """See `Engine`. Where an image has no means to find what a command left, its container ends with the command."""
        return await ContainerExec(self._dockerd, self._installation, instance_id, mark).run(argv, timeout_s)

    def pipe(
        self, instance_id: str, argv: Sequence[str], mark: str, stdin: AsyncIterator[bytes] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `Engine`."""
        return ContainerPipe(self._dockerd, self._installation, instance_id, mark).stream(argv, stdin)

    async def end_execution(self, instance_id: str, mark: str) -> None:
        """See `Engine`."""
        await ContainerExec(self._dockerd, self._installation, instance_id, mark).end()

    async def watch(self) -> AsyncGenerator[str, None]:
        """See `Engine`. Raises EngineAway when the events are cut off: the caller looks at everything and asks anew."""
        changes = Changes()
        client, stream = await self._dockerd.call(_open_events)
        reader = threading.Thread(
            target=watch.follow,
            args=(client, stream, self._installation, changes, self._router),
            name="docker-events",
            daemon=True,
        )
        self._streams.add(stream)
        reader.start()
        try:
            if self._closed:
                stream.cut()
            while True:
                yield await changes.take()
        finally:
            self._streams.discard(stream)
            stream.cut()

    async def close(self) -> None:
        """See `Engine`."""
        self._closed = True
        for stream in self._streams:
            stream.cut()
        self._dockerd.close()

    async def _confirm_ends(self, seen: Iterable[Instance]) -> None:
        """Raises EngineAway where ends that were seen may be the daemon's own doing: see `Dockerd.confirm`."""
        if any(instance.state == "exited" for instance in seen):
            await self._dockerd.confirm()

    async def _until_it_ended(self, instance_id: str) -> None:
        pause_s = limits.STOP_POLL_S
        while await self._dockerd.call(lambda client: lifecycle.runs(client, instance_id)):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, limits.STOP_POLL_MAX_S)

    def _ensure(self, client: APIClient, network: Network) -> None:
        resolver.ensure(self._resolvers, network)
        is_new = bridges.ensure(client, network)
        if is_new and network.internal and self._router:  # into one that stood it is put back by a look, which is said
            router_container.join(client, self._router, [network])

    def _remove(self, client: APIClient, network: Network) -> None:
        if self._router:
            router_container.leave(client, self._router, network)
        bridges.remove(client, network)
        resolver.forget(self._resolvers, network)
        self._addresses.forget(network)

    def _find_or_start(self, client: APIClient, spec: Spec, image: Image) -> container.Inspected:
        def config() -> dict[str, object]:
            placed = structs.replace(spec, address=spec.address or self._addresses.give(client, spec.network))
            return container.create_config(placed, image, seen, self._volumes_of(client, image), self._runtime)

        seen = resolver.path_of(self._resolvers, spec.egress or spec.network)
        return lifecycle.find_or_start(client, spec, image.pinned, config, self._addresses.give)

    def _image(self, reference: str, digest: str | None, found: InspectedImage) -> Image:
        """What was fetched; refuses it when its labels would pass for ours."""
        images.refuse_foreign_labels(reference, found.labels)
        digest = digest or images.digest_among(found.repo_digests or (), images.repository_of(reference))
        if digest is None:
            raise Rejected("image_unusable", f"image {reference} has no digest, so nothing could be pinned to it")
        image = Image(reference=reference, digest=digest, pinned=images.pin(reference, digest))
        self._remember(image, found)
        return image

    def _volumes_of(self, client: APIClient, image: Image) -> tuple[str, ...]:
        """The VOLUMEs that an image declares, from memory where it was fetched by this process."""
        if image.pinned not in self._volumes:
            found = pulls.look(client, image.pinned)
            if found is None:
                raise Rejected("image_not_found", f"image {image.pinned} is not there")
            images.refuse_foreign_labels(image.reference, found.labels)
            self._remember(image, found)
        return self._volumes[image.pinned]

    def _remember(self, image: Image, found: InspectedImage) -> None:
        if len(self._volumes) >= limits.IMAGES_KNOWN:
            self._volumes.clear()
        self._volumes[image.pinned] = found.volumes

    async def _told_versions(self) -> tuple[str, str | None, str]:
        """What `_versions` says, for all who ask meanwhile. Raises EngineAway after ENGINE_STATUS_S without a word."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.wrap_future(self._dockerd.begin(self._versions))
            self._asked.add_done_callback(lambda asked: asked.cancelled() or asked.exception())  # heard, if by nobody
        await asyncio.wait({self._asked}, timeout=limits.ENGINE_STATUS_S)
        if not self._asked.done():
            raise EngineAway(f"Docker has not answered for {limits.ENGINE_STATUS_S:g} s")
        return self._asked.result()

    def _versions(self, client: APIClient) -> tuple[str, str | None, str]:
        """Docker's version, where the runtime's program is (None where Docker does not know it), and Docker's own folder."""
        version, info = str(client.version()["Version"]), client.info()
        runtime, root = info.get("Runtimes", {}).get(self._runtime), str(info.get("DockerRootDir", ""))
        return version, None if runtime is None else str(runtime.get("path", self._runtime)), root

    async def _runtime_version(self, path: str) -> tuple[str, str]:
        """The version that the runtime's program tells, and what is wrong where it tells none."""
        if path not in self._runtime_versions:
            try:
                told = await processes.run([path, "--version"], limits.ENGINE_TIMEOUT_S)
            except Unavailable as error:
                return "", error.detail
            if told.code != 0 or not told.stdout.strip():
                return "", f"{path} --version ended with {told.code}: {told.stderr.strip()[:200]}"
            version = told.stdout.split("\n")[0].rpartition("version ")[2].strip()
            # what Go's module gives has a placeholder in its place
            self._runtime_versions[path] = "unknown" if version == "VERSION_MISSING" else version
        return self._runtime_versions[path], ""


def _open_events(client: APIClient) -> tuple[APIClient, Stream]:
    client.ping()  # the stream below waits without a limit, which only a daemon that answers deserves
    return client, open_stream(client, "GET", "/events", {"filters": json.dumps(watch.FILTERS)}, idle_s=None)
