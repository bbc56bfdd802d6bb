"""The life of one container: the blocking steps by which it comes, stops and goes.

`find_or_start` probes, adopts, gives back or clears the name, creates, starts and looks. It can be cut off after every step and
repeated as a whole: the name is deterministic, so a reply that was lost costs a second look, never a second container.
"""

import time
from collections.abc import Callable

from docker import APIClient
from docker.errors import APIError, NotFound

from ahplat import limits
from ahplat.engines import container, images
from ahplat.engines.container import Inspected
from ahplat.engines.engine import Network, Spec
from ahplat.errors import Rejected, Unavailable

Config = dict[str, object]  # of a container, as Docker takes it
Give = Callable[[APIClient, Network], str]  # an address of a network, "" for any


def look(client: APIClient, name_or_id: str) -> Inspected | None:
    """What Docker knows of a container; None when there is none."""
    try:
        return container.inspected(client.inspect_container(name_or_id))
    except NotFound:
        return None


def ours(client: APIClient, container_id: str, installation: str) -> Inspected | None:
    """The same; None also for what belongs to somebody else."""
    found = look(client, container_id)
    return found if found is not None and found.labels.get("ah.instance") == installation else None


def listed(client: APIClient, installation: str, subject: str | None, label: str = "ah.service") -> list[Inspected]:
    """Every container of an installation's services (or databases, where `label` says so), or of one of them."""
    labels = [f"ah.instance={installation}", label if subject is None else f"{label}={subject}"]
    found = container.summaries(client.containers(all=True, filters={"label": labels}))
    copies = container.copies(found)
    looks = (look(client, one.id) for one in found if one.id not in copies)
    return [seen for seen in looks if seen is not None]


def find_or_start(client: APIClient, spec: Spec, image: str, config: Callable[[], Config], give: Give) -> Inspected:
    """Makes `spec` run and returns it as it stood right after. Raises Rejected, Unavailable.

    `config` makes the arguments of a new container, asked for only where one must be made; `image` is for the messages;
    `give` gives an address in its second network, where it has one.
    """
    for _ in range(limits.ENGINE_NAME_TRIES):
        found = look(client, spec.name) or renamed(client, spec)
        if found is not None and not usable(found, spec):
            remove(client, found.id)
            found = None
        if found is not None and found.status == "running":
            return found
        container_id = found.id if found is not None else create(client, spec.name, image, config())
        if found is None and container_id is not None:
            refuse_volumes(client, container_id, image)
        if container_id is not None:
            try:
                let_out(client, container_id, spec, give)
                start(client, container_id, image, paused=found is not None and found.status == "paused")
            except (Rejected, Unavailable):
                if found is None:
                    raise
                continue  # it ended before, and what it was made for (its network) may be gone: it is made anew
            if (started := look(client, container_id)) is not None:
                return started
        time.sleep(limits.ENGINE_PAUSE_S)
    raise Unavailable("name_conflict", f"Docker gives neither the name {spec.name} nor the container that holds it")


def renamed(client: APIClient, spec: Spec) -> Inspected | None:
    """What is to have the name and was given another one: it gets it back, and goes on. None when there is none."""
    labels = [f"{key}={value}" for key, value in spec.identity.labels().items() if key != "ah.attempt"]
    for summary in client.containers(all=True, filters={"label": labels}):
        try:
            client.rename(summary["Id"], spec.name)
        except APIError as error:
            if error.status_code not in (404, 409):  # it is gone, or somebody has the name by now
                raise
        else:
            return look(client, summary["Id"])
    return None


def usable(found: Inspected, spec: Spec) -> bool:
    """Whether what holds the name can be adopted; otherwise it is ours to remove. Raises Rejected `name_taken`."""
    fits = container.fit(found, spec.identity)
    if fits == "stranger":
        raise Rejected("name_taken", f"a container {spec.name} that is not ours exists already")
    shut_in = spec.egress is not None and found.status in container.RUNS and not container.joined(found, spec.egress)
    is_whole = not container.off_its_network(found) and not container.anonymous_volumes(found) and not shut_in
    return fits == "same" and found.status not in ("removing", "dead") and is_whole


def create(client: APIClient, name: str, image: str, config: Config) -> str | None:
    """The new container's id; None when Docker says that the name is in use, which a look must confirm."""
    try:
        return str(client.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]
    except APIError as error:
        if error.status_code == 409:
            return None
        raise images.create_error(image, error.status_code, error.explanation or "") from error


def refuse_volumes(client: APIClient, container_id: str, image: str) -> None:
    """Removes a container that was just made with a disk of the host. Raises Rejected `image_unusable`."""
    made = look(client, container_id)
    if made is not None and (paths := container.anonymous_volumes(made)):
        remove(client, container_id)
        raise Rejected("image_unusable", f"image {image} declares a VOLUME that cannot be bounded: {', '.join(paths)}")


def let_out(client: APIClient, container_id: str, spec: Spec, give: Give) -> None:
    """Puts what has egress on its second network as well: before it starts, for gVisor never sees what comes later."""
    if spec.egress is None:
        return
    found = look(client, container_id)
    if found is None or container.joined(found, spec.egress):
        return
    try:
        client.connect_container_to_network(
            container_id, spec.egress.name, ipv4_address=give(client, spec.egress) or None
        )
    except APIError as error:
        remove(client, container_id)
        raise Unavailable("network_unavailable", f"network {spec.egress.name}: {error.explanation}") from error


def start(client: APIClient, container_id: str, image: str, paused: bool) -> None:
    """Starts it, or lets it go on. What cannot start is removed again, so that nothing half made stays behind."""
    try:
        if paused:
            client.unpause(container_id)
        else:
            client.start(container_id)
    except APIError as error:
        if look(client, container_id) is None:
            return  # somebody removed it: whoever called looks again
        remove(client, container_id)
        raise images.start_error(image, error.explanation or "") from error


def terminate(client: APIClient, container_id: str, installation: str) -> bool:
    """Its stop signal. False where nothing is to be stopped: it does not run, does not exist or is not ours."""
    found = ours(client, container_id, installation)
    if found is None or found.status not in container.RUNS:
        return False
    try:
        if found.status == "paused":
            client.unpause(found.id)
        client.kill(found.id, found.stop_signal)
    except APIError as error:
        if error.status_code not in (404, 409):  # it ended just now
            raise
        return False
    return True


def runs(client: APIClient, container_id: str) -> bool:
    """Whether there is something left to stop."""
    found = look(client, container_id)
    return found is not None and found.status in container.RUNS


def kill(client: APIClient, container_id: str) -> None:
    """SIGKILL; returns when it has ended."""
    try:
        client.stop(container_id, timeout=0)
    except NotFound:
        return


def discard(client: APIClient, container_id: str, installation: str) -> None:
    """Removes it, where it is there and ours."""
    if (found := ours(client, container_id, installation)) is not None:
        remove(client, found.id)


def remove(client: APIClient, container_id: str) -> None:
    """Removes it with its logs and its anonymous volumes, and returns when it is gone."""
    try:
        client.remove_container(container_id, v=True, force=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # its removal is under way already
            raise
        wait_until_gone(client, container_id)


def wait_until_gone(client: APIClient, container_id: str) -> None:
    """Waits for a removal that somebody else began. Raises Unavailable when it does not end."""
    for _ in range(limits.ENGINE_GONE_TRIES):
        if look(client, container_id) is None:
            return
        time.sleep(limits.ENGINE_PAUSE_S)
    raise Unavailable("engine_error", f"Docker is removing container {container_id[:12]} and does not come to an end")
