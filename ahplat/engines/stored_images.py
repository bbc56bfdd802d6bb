"""The images that Docker keeps: which of ours are there, how large, and away with one. Blocking.

Docker writes a repository of its Hub without `docker.io/library/`; a pinned reference may have it. Layers that several
images share count for each.
"""

from collections.abc import Sequence

import msgspec
from docker import APIClient
from docker.errors import APIError, NotFound
from msgspec import Struct

from ahplat.engines.images import repository_of


class Stored(Struct, rename="pascal"):
    """The part of Docker's list of images that is read."""

    id: str
    size: int = 0
    repo_digests: list[str] | None = None
    repo_tags: list[str] | None = None


def familiar(reference: str) -> str:
    """As Docker writes it.

    >>> familiar("docker.io/library/redis@sha256:ab"), familiar("127.0.0.1:5000/ah/x@sha256:ab")
    ('redis@sha256:ab', '127.0.0.1:5000/ah/x@sha256:ab')
    """
    return reference.removeprefix("docker.io/").removeprefix("library/")


def sizes(client: APIClient, references: Sequence[str]) -> dict[str, int]:
    """Of pinned references those that are there, with their bytes."""
    by_digest = {digest: one.size for one in _listed(client) for digest in one.repo_digests or ()}
    return {reference: by_digest[familiar(reference)] for reference in references if familiar(reference) in by_digest}


def remove(client: APIClient, reference: str, names: Sequence[str]) -> bool:
    """Removes a pinned reference, and of `names` the tags that mean the same image; false where a container has it.

    What else means the image is somebody else's: it stays, and so does the image.
    """
    wanted = familiar(reference)
    found = next((one for one in _listed(client) if wanted in (one.repo_digests or ())), None)
    if found is None:
        return True
    if client.containers(all=True, filters={"ancestor": found.id}):
        return False
    tags = {familiar(name) for name in names if repository_of(familiar(name)) == repository_of(wanted)}
    try:
        for tag in sorted(tags.intersection(found.repo_tags or ())):
            client.remove_image(tag)
        client.remove_image(wanted)
    except NotFound:
        return True
    except APIError as error:
        if error.status_code == 409:
            return False
        raise
    return True


def _listed(client: APIClient) -> list[Stored]:
    return msgspec.convert(client.images(), list[Stored])
