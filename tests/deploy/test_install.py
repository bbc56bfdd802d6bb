"""deploy/install.sh on a whole Debian: what it checks, puts there, leaves alone; twice; and with a newer release."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ahplat.backups.pairs import newest
from tests.deploy.rootfs import Root, in_memory
from tests.golden.opened import RELEASES, unpacked

pytestmark = pytest.mark.real

TREE = Path(__file__).resolve().parents[2]
PARTS = ("ahplat", "bin", "deploy", "events", "projections", "pyproject.toml", "requirements.lock", "README.md")
DAEMON_JSON = {"log-level": "warn", "runtimes": {"other": {"path": "/other"}}}
ANSWERS = ("--domain", "apps.example.org", "--acme-email", "you@corp.example", "--programs", "/programs")
UNITS = ("ahplat", "ahplat-traefik", "ahplat-registry")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A server as Debian makes one: systemd and Python, a Docker that somebody has set, and no more."""
    with in_memory(tmp_path_factory.mktemp("install")) as folder:
        tree = folder / "tree"
        tree.mkdir()
        for name in PARTS:
            copy = shutil.copytree if (TREE / name).is_dir() else shutil.copy
            copy(TREE / name, tree / name)
        made = Root(folder / "root", tree)
        made.set_up(DAEMON_JSON)
        (made.folder / "programs/gvisor-bin").mkdir()
        for name in ("runsc", "gvisor-bin/gvisor_sentry", "traefik", "buildkitd", "buildctl"):
            program(made, name, "1")
        yield made


def program(root: Root, name: str, version: str) -> None:
    path = root.folder / "programs" / name
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def said(root: Root) -> str:
    """What the first run said."""
    done = root.install(*ANSWERS)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", TREE / "deploy/install.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("unit", "at_most"), [("ahplat", 6.2), ("ahplat-traefik", 1.7), ("ahplat-registry", 1.1)])
def test_a_unit_is_exposed_no_more_than_it_was(unit: str, at_most: float) -> None:
    argv = ["systemd-analyze", "security", "--offline=yes", f"--threshold={at_most * 10:.0f}", "--no-pager"]
    done = subprocess.run([*argv, TREE / f"deploy/systemd/{unit}.service"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


# in this order: each finds what those before it left


def test_on_a_new_machine_a_check_says_what_is_missing_and_changes_nothing(root: Root) -> None:
    before = root.files()
    done = root.install("--check", "--programs", "/programs")
    assert done.returncode == 1
    for what in ("packages: docker.io", "/usr/local/bin/runsc", "gVisor in /etc/docker/daemon.json", "/etc/ahplat"):
        assert f"install: missing: {what}" in done.stdout or what in done.stdout
    assert root.files() == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--programs", "/programs"), "--domain NAME is needed the first time"),
        (("--domain", "apps.example.org", "--acme-email", "nobody"), "--acme-email is needed the first time"),
        (("--domain", "a/b.org", "--acme-email", "a@b.org"), "--domain NAME is needed"),
        (("--programs", "/nowhere"), "/nowhere is no folder"),
    ],
)
def test_what_it_is_not_told_it_asks_for_before_it_does_anything(
    root: Root, options: tuple[str, ...], why: str
) -> None:
    before = root.files()
    done = root.install(*options)
    assert (done.returncode, why in done.stdout) == (1, True), done.stdout
    assert root.files() == before


def test_it_installs_and_shows_the_token_once(root: Root, said: str) -> None:
    settings = root.folder / "etc/ahplat/ahplat.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    values = dict(line.split("=", 1) for line in settings.read_text().splitlines() if "=" in line and line[0] != "#")
    assert values.pop("AH_BOOTSTRAP_TOKEN") in said
    assert values == {
        "AH_DOMAIN": "apps.example.org",
        "AH_ACME_EMAIL": "you@corp.example",
        "AH_TRAEFIK_CONFIG_DIR": "/var/lib/ah/traefik",
        "AH_REGISTRY_CONFIG": "/etc/ahplat/registry.yml",
    }
    assert "email: you@corp.example" in (root.folder / "etc/ahplat/traefik.yml").read_text()
    modes = [(root.folder / "var/lib/ah" / name).stat().st_mode & 0o777 for name in ("", "traefik")]
    assert modes == [0o700, 0o755]
    assert root.run("ah", "--version").stdout == "ah, version 0.1.0\n"
    assert root.run("/usr/local/bin/gvisor-bin/gvisor_sentry").stdout == "1\n"


def test_docker_knows_gvisor_and_what_it_knew(root: Root, said: str) -> None:
    found = json.loads((root.folder / "etc/docker/daemon.json").read_text())
    assert found["log-level"] == "warn"
    assert found["runtimes"] == {"other": {"path": "/other"}, "runsc": {"path": "/usr/local/bin/runsc"}}
    assert json.loads((root.folder / "etc/docker/daemon.json.before-ahplat").read_text()) == DAEMON_JSON


def test_its_units_are_well_and_start_with_the_machine(root: Root, said: str) -> None:
    done = root.run("systemd-analyze", "verify", *(f"{name}.service" for name in UNITS))
    assert (done.returncode, done.stdout) == (0, "")
    assert root.run("systemctl", "is-enabled", *UNITS).stdout.split() == ["enabled"] * 3
    assert root.run("systemctl", "is-enabled", "docker-registry").stdout.split() == ["masked"]


def test_a_second_run_changes_nothing_and_says_so(root: Root, said: str) -> None:
    before = root.files()
    for options in ((), ANSWERS, ("--domain", "other.example.org", "--acme-email", "other@corp.example")):
        done = root.install(*options)
        assert (done.returncode, "nothing to change: ahplat 0.1.0" in done.stdout) == (0, True), done.stdout
    done = root.install("--check")
    assert (done.returncode, "nothing is missing" in done.stdout) == (0, True), done.stdout
    assert root.files() == before


def test_what_the_operator_set_stays_and_what_somebody_changed_of_ours_is_put_back(root: Root, said: str) -> None:
    settings, unit = root.folder / "etc/ahplat/ahplat.env", root.folder / "etc/systemd/system/ahplat.service"
    settings.write_text(settings.read_text() + "AH_LOG_LEVEL=debug\n")
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert "install: missing: units in" in root.install("--check").stdout
    assert root.install().returncode == 0
    assert "AH_LOG_LEVEL=debug" in settings.read_text()
    assert unit.read_text() == (TREE / "deploy/systemd/ahplat.service").read_text()


def test_a_program_that_is_not_what_its_sum_says_is_refused(root: Root, said: str) -> None:
    sums = root.folder / "programs/SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(b'other').hexdigest()}  runsc\n")
    done = root.install("--programs", "/programs")
    assert (done.returncode, "is not what its SHA256SUMS says" in done.stdout) == (1, True)
    sums.unlink()


def test_a_newer_release_comes_beside_the_old_one_after_a_backup_and_back(root: Root, said: str) -> None:
    old = (root.folder / "opt/ahplat/current").readlink()
    with unpacked(RELEASES[-1]) as golden:
        shutil.copytree(golden, root.folder / "var/lib/ah", dirs_exist_ok=True)
    (root.folder / "var/lib/ah").chmod(0o700)
    program(root, "runsc", "2")
    with (root.tree / "README.md").open("a") as readme:
        readme.write("\nNewer.\n")
    done = root.install("--programs", "/programs")
    assert done.returncode == 0, done.stdout
    new = (root.folder / "opt/ahplat/current").readlink()
    assert new != old == (root.folder / "opt/ahplat/previous").readlink()
    assert newest(root.folder / "var/lib/ah/backups/platform")
    assert root.run("runsc").stdout == "2\n"
    back = "ln -sfn $(readlink /opt/ahplat/previous) /opt/ahplat/current && ah --version"
    assert root.run("sh", "-c", back).stdout == "ah, version 0.1.0\n"
    assert (root.folder / "opt/ahplat/current").readlink() == old


def test_what_happened_since_the_backup_can_be_given_up(root: Root, said: str) -> None:
    pair = newest(root.folder / "var/lib/ah/backups/platform")
    assert pair
    back = f"""
        mv /var/lib/ah /var/lib/ah.newer
        install -d -m 0700 /var/lib/ah && install -d -m 0755 /var/lib/ah/traefik
        ah restore /var/lib/ah.newer/backups/platform/{pair.folder.name} --master-key /var/lib/ah.newer/master.key \\
            --behind-checkpoint
    """
    done = root.run("sh", "-ec", back)
    assert (done.returncode, "restored to position" in done.stdout) == (0, True), done.stdout
    assert root.run("ah", "verify", "--unsigned").returncode == 0  # until a server starts, which signs it
    assert "nothing is missing" not in root.install("--check").stdout  # the release is still the older one
