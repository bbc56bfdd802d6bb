"""Starts a container under the runtime, of an image that is here, and removes it again: that it is known is not enough.

Blocking. It has no network, may write nothing and is nobody's: no installation takes it for its own.
"""

import os

import msgspec
import requests
from docker import APIClient
from docker.errors import APIError

from ahplat import limits
from ahplat.engines import container
from ahplat.engines.stored_images import Stored
from ahplat.errors import Unavailable

COMMAND = "true"
_LACKS = ("not found", "no such file")  # what a runtime says of an image without that command


def run(client: APIClient) -> str:
    """The image that was tried, "" where none here has the command. Raises Unavailable with what went wrong."""
    images = sorted(msgspec.convert(client.images(), list[Stored]), key=lambda one: one.size)
    for image in images[: limits.TRIAL_IMAGES]:
        if _started(client, image.id):
            return next(iter(image.repo_tags or ()), image.id)
    return ""


def config_of(image: str) -> dict[str, object]:
    """The exact arguments of the container."""
    return {
        "Image": image,
        "Entrypoint": [COMMAND],
        "Labels": {"ah.trial": "doctor"},
        "HostConfig": {
            "Runtime": container.RUNTIME,
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "Memory": 64 * 1024 * 1024,
            "PidsLimit": 64,
        },
    }


def _started(client: APIClient, image: str) -> bool:
    """Whether it ran to its end; false where the image has no such command."""
    name = f"ah-trial-{os.getpid()}"
    made = str(client.create_container_from_config(config_of(image), name)["Id"])  # type: ignore[no-untyped-call]
    try:
        client.start(made)
        code = client.wait(made, timeout=limits.TRIAL_S)["StatusCode"]
    except APIError as error:
        if any(word in str(error.explanation).lower() for word in _LACKS):
            return False
        raise
    except requests.RequestException as error:
        raise Unavailable("engine_error", f"a container did not end within {limits.TRIAL_S:g} s") from error
    finally:
        client.remove_container(made, force=True)
    if code:
        raise Unavailable("engine_error", f"`{COMMAND}` ended with {code} in a container")
    return True
