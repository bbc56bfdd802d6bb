"""What an operator sets of builds, from the command line and from the environment to what the kernel is told."""

from pathlib import Path
from typing import Any

import click
import pytest

from ahplat.builders import cgroup
from ahplat.builders.buildkitd import config
from ahplat.builders.cgroup import Cgroup
from ahplat.cli.serve import SETTINGS, configured
from ahplat.config import Config
from ahplat.errors import CannotStart


def configure(*argv: str) -> Config:
    found: dict[str, Any] = {}
    command = click.Command("ah", params=SETTINGS, callback=lambda **settings: found.update(settings))
    command.main(["--dev", *argv], standalone_mode=False, auto_envvar_prefix="AH")
    return configured(found)


def of_builds(made: Config) -> tuple[int, int, float, tuple[str, ...]]:
    return made.build_memory_mb, made.build_cpu_milli, made.build_timeout_s, made.build_nameservers


def test_builds_have_bounds_without_a_word() -> None:
    assert of_builds(configure()) == (2_048, 2_000, 1_200, ("1.1.1.1", "9.9.9.9"))


def test_each_is_an_option() -> None:
    argv = ["--build-memory-mb=512", "--build-cpus=0.5", "--build-timeout-s=90"]
    assert of_builds(configure(*argv, "--build-dns=8.8.8.8")) == (512, 500, 90, ("8.8.8.8",))


def test_each_is_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MEMORY_MB": "512", "CPUS": "1.5", "TIMEOUT_S": "90", "DNS": "8.8.8.8 8.8.4.4"}.items():
        monkeypatch.setenv(f"AH_BUILD_{name}", value)
    assert of_builds(configure()) == (512, 1_500, 90, ("8.8.8.8", "8.8.4.4"))


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "dns.example", "::1"])
def test_a_name_server_that_no_build_could_reach_is_refused(address: str) -> None:
    with pytest.raises(CannotStart, match=r"--build-dns is .*: expected"):
        configure(f"--build-dns={address}")


@pytest.mark.parametrize("argv", ["--build-memory-mb=1", "--build-cpus=0", "--build-timeout-s=3601"])
def test_what_is_out_of_range_is_refused(argv: str) -> None:
    with pytest.raises(click.BadParameter):
        configure(argv)


V1 = {
    "memory.limit_in_bytes": "536870912",
    "memory.memsw.limit_in_bytes": "536870912",
    "cpu.cfs_period_us": "100000",
    "cpu.cfs_quota_us": "50000",
    "pids.max": "2048",
}
V2 = {"memory.max": "536870912", "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "2048"}


@pytest.mark.parametrize(("mark", "expected"), [("cgroup.controllers", V2), ("no.v2", V1)])
def test_the_kernel_is_told_whichever_cgroups_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, expected: dict[str, str]
) -> None:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    tmp_path.joinpath(mark).touch()
    made = Cgroup("one/tenant", memory_mb=512, cpu_milli=500)
    made.make()
    written = {path.name: path.read_text() for folder in made.folders() for path in folder.iterdir()}
    written.pop("cgroup.subtree_control", "")
    assert written == expected


def test_the_builder_asks_those_name_servers() -> None:
    assert 'nameservers = ["8.8.8.8"]' in config(Path("/t"), "unix:///s", "/plugins", ["8.8.8.8"])
