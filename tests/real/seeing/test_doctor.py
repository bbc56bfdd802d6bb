"""`ah doctor` on the real Docker, with and without what it looks for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.faults.harness import TREE
from tests.parts.parts import Parts

pytestmark = pytest.mark.real


def doctor(running: Parts, folder: Path, *options: str, path: str = "") -> dict[str, Any]:
    """Its findings by name, ports apart."""
    argv = [sys.executable, "-P", "-m", "ahplat.cli.entry", "doctor", "--json", "--data-dir", str(folder)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AH_")}
    environ |= {"PYTHONPATH": str(TREE), "AH_BOOTSTRAP_TOKEN": "t" * 32, "AH_DOCKER_HOST": running.docker_host}
    builders = ":".join([*map(str, running.builders), os.environ["PATH"]])
    done = subprocess.run(
        [*argv, *options], env=environ | {"PATH": path or builders}, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr and done.stdout, done.stderr
    found = [one for one in json.loads(done.stdout) if one["name"] not in ("ports", "disk", "docker disk")]
    assert done.returncode in (0, 1)
    return {one["name"]: one for one in found}


def test_a_machine_that_has_all_has_no_fault(running: Parts, sdk: docker.DockerClient, tmp_path: Path) -> None:
    found = doctor(running, tmp_path)
    assert {name: one["state"] for name, one in found.items()} == dict.fromkeys(
        ("settings", "folder", "key", "docker", "runsc", "registry", "builds", "firewall", "names", "router", "clock"),
        "ok",
    )
    assert "started a container of" in found["runsc"]["said"]
    assert sdk.containers.list(all=True, filters={"label": "ah.trial"}) == []
    assert not any(tmp_path.iterdir())


def test_what_is_not_there_is_told_with_its_remedy(running: Parts, tmp_path: Path) -> None:
    away = ("--docker-host", f"unix://{tmp_path}/no.sock")
    assert doctor(running, tmp_path, *away)["docker"]["remedy"].startswith("install Docker Engine")
    through = ("--traefik-config-dir", str(tmp_path / "routes"), "--traefik-api", "http://127.0.0.1:1")
    found = doctor(running, tmp_path, *through, path=os.environ["PATH"])
    assert {name for name, one in found.items() if one["state"] == "fault"} >= {"builds", "router"}
    assert "--traefik-api" in found["router"]["remedy"]
