"""An installed server, started by systemd itself with every restriction of the units: does its work, ends, comes back."""

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.deploy.booted import Booted, booted
from tests.deploy.rootfs import Root
from tests.deploy.test_install import ANSWERS, TREE, UNITS
from tests.parts import docker
from tests.parts.parts import up
from tests.real.platform.server import eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

IMAGES = {
    "hello:1": "library/hello:1",
    "railwayapp/nixpacks:ubuntu-1745885067": "railwayapp/nixpacks:ubuntu-1745885067",
}
DAEMON_JSON = {"registry-mirrors": ["http://127.0.0.1:5000"], "allow-nondistributable-artifacts": ["docker.io"]}
SETTINGS = "AH_DEV=1\nAH_OPEN_REGISTRATION=1\nAH_ENGINE=docker\nAH_DATA_DIR=/var/lib/ah\n"  # a git server without TLS


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """Installed with the real programs, then started; the images that it would pull are in its registry."""
    parts = up()
    folder = tmp_path_factory.mktemp("booted")
    root = Root(folder / "root", TREE)
    root.set_up(DAEMON_JSON)
    for program in {parts.runsc, parts.traefik, *(path for place in parts.builders for path in place.iterdir())}:
        if program.name in ("runsc", "traefik", "buildkitd", "buildctl", "nixpacks"):
            shutil.copy(program, root.folder / "programs")
    done = root.install(*ANSWERS)
    assert done.returncode == 0, done.stdout
    settings = root.folder / "etc/ahplat/ahplat.env"
    settings.write_text(settings.read_text().replace("AH_ACME_EMAIL", "# AH_ACME_EMAIL") + SETTINGS)
    shutil.copy(TREE / "deploy/traefik/traefik-http.yml", root.folder / "etc/ahplat/traefik.yml")
    for image in IMAGES:
        docker.client("pull", "--quiet", image)
    docker.client("save", "--output", str(root.folder / "images.tar"), *IMAGES)
    with booted(root) as made:
        yield made
    shutil.rmtree(folder)


def states(machine: Booted) -> list[str]:
    return machine.ask("systemctl", "is-active", *UNITS).stdout.split()


def all_active(machine: Booted) -> bool:
    return states(machine) == ["active"] * 3


def test_its_services_start_with_it(machine: Booted) -> None:
    try:
        eventually(lambda: all_active(machine))
    except AssertionError:
        pytest.fail(f"{states(machine)}: {machine.ask('journalctl', '--no-pager').stdout[-3000:]}")


def test_it_deploys_builds_routes_and_runs_commands(machine: Booted) -> None:
    eventually(lambda: all_active(machine))
    machine.run("docker", "load", "--quiet", "--input", "/images.tar")
    for image, name in IMAGES.items():
        machine.run("docker", "tag", image, f"127.0.0.1:5000/{name}")
        machine.run("docker", "push", "--quiet", f"127.0.0.1:5000/{name}")
    python = "/opt/ahplat/current/.venv/bin/python"
    found = json.loads(machine.run("env", "PYTHONPATH=/tree", python, "-B", "-m", "tests.deploy.job"))
    answer = found.pop("answer")
    assert found == {"web": "running", "build": "succeeded", "app": "running", "exec": "exited"}
    assert answer.startswith("built ") and "gvisor" in answer


def test_a_server_that_is_killed_is_started_again_and_services_went_on(machine: Booted) -> None:
    before = machine.run("docker", "ps", "--quiet")
    main_pid = ("systemctl", "show", "--value", "-p", "MainPID", "ahplat")
    pid = machine.run(*main_pid)
    machine.run("systemctl", "kill", "--signal=KILL", "ahplat")

    def came_back() -> bool:
        return all_active(machine) and machine.run(*main_pid) != pid

    eventually(came_back)
    assert machine.run("docker", "ps", "--quiet") == before != ""


def test_the_registry_gives_back_what_no_image_has_and_goes_on(machine: Booted) -> None:
    """Its folder is another user's, and the server may write nowhere else."""
    store = "/var/lib/private/ah-registry/docker/registry/v2"

    def held() -> int:
        return int(machine.run("du", "-s", f"{store}/blobs").split()[0])

    before = held()
    machine.run("rm", "-r", f"{store}/repositories/library/hello")
    machine.run("systemctl", "restart", "ahplat")
    eventually(lambda: all_active(machine) and held() < before)
    assert "in the registry" in machine.run("journalctl", "--no-pager", "-u", "ahplat")
    assert "unknown" not in machine.run("ah", "gc", "--dry-run")
    machine.run("docker", "pull", "--quiet", f"127.0.0.1:5000/{IMAGES['railwayapp/nixpacks:ubuntu-1745885067']}")
