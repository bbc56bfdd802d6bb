"""The container that `ah doctor` starts: of what image, with what arguments, and gone whatever came of it."""

from typing import Any

import pytest
from docker import APIClient
from docker.errors import APIError

from ahplat import limits
from ahplat.engines import trial
from ahplat.errors import Unavailable


class Docker:
    """As much of the client as is used: images with their sizes, and what starting one of each comes to."""

    def __init__(self, **images: tuple[int, int | str]) -> None:
        self._images = images
        self.tried: list[str] = []
        self.left: set[str] = set()

    def images(self) -> list[dict[str, Any]]:
        return [{"Id": name, "Size": size, "RepoTags": [f"{name}:1"]} for name, (size, _) in self._images.items()]

    def create_container_from_config(self, config: dict[str, Any], name: str) -> dict[str, str]:
        assert name.startswith("ah-trial-")
        self.tried.append(config["Image"])
        self.left.add(config["Image"])
        return {"Id": config["Image"]}

    def start(self, made: str) -> None:
        came_to = self._images[made][1]
        if isinstance(came_to, str):
            raise APIError("500", explanation=came_to)

    def wait(self, made: str, timeout: int) -> dict[str, Any]:
        return {"StatusCode": self._images[made][1]}

    def remove_container(self, made: str, force: bool) -> None:
        assert force
        self.left.remove(made)


def run(client: Any) -> str:
    as_client: APIClient = client
    return trial.run(as_client)


def test_its_arguments() -> None:
    assert trial.config_of("sha256:ab") == {
        "Image": "sha256:ab",
        "Entrypoint": ["true"],
        "Labels": {"ah.trial": "doctor"},
        "HostConfig": {
            "Runtime": "runsc",
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "Memory": 67_108_864,
            "PidsLimit": 64,
        },
    }


def test_the_smallest_image_that_has_the_command_is_tried() -> None:
    docker = Docker(large=(900, 0), small=(200, 0), bare=(1, 'exec: "true": executable file not found in $PATH'))
    assert run(docker) == "small:1"
    assert docker.tried == ["bare", "small"] and not docker.left


def test_where_none_has_it_only_a_few_are_tried() -> None:
    docker = Docker(**{f"bare{n}": (n, "no such file or directory") for n in range(9)})
    assert run(docker) == ""
    assert len(docker.tried) == limits.TRIAL_IMAGES and not docker.left


def test_a_runtime_that_starts_nothing_is_told_and_leaves_nothing() -> None:
    broken = Docker(one=(1, "OCI runtime create failed: cannot create sandbox"))
    with pytest.raises(APIError):
        run(broken)
    assert not broken.left
    odd = Docker(one=(1, 128))
    with pytest.raises(Unavailable, match="ended with 128"):
        run(odd)
    assert not odd.left
