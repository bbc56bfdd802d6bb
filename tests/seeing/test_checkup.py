"""What `ah doctor` finds, part by part; with Docker it is tried in `tests/real/seeing`."""

import fcntl
import socket
from pathlib import Path

import pytest

from ahplat import checkup, limits
from ahplat.config import Config
from events.log import EventLog
from tests.folders import folder as folder

NOW_US = 1_800_000_000_000_000


def test_a_folder_that_is_not_there_yet_is_no_fault(folder: Path) -> None:
    assert checkup.folder(folder / "a" / "b").state == "ok"
    assert checkup.key(folder / "a" / "b").state == "ok"


def test_a_folder_that_is_a_file_is_one(folder: Path) -> None:
    (folder / "data").touch()
    assert checkup.folder(folder / "data").remedy


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_key_that_others_may_read_is_told_with_the_command_that_helps(folder: Path, mode: int) -> None:
    key = folder / "master.key"
    key.write_text("0" * 64)
    key.chmod(mode)
    found = checkup.key(folder)
    assert (found.state, found.remedy) == ("fault", f"chmod 600 {key}")
    key.chmod(0o600)
    assert checkup.key(folder).state == "ok"


def test_keys_without_their_master_key_are_a_fault(folder: Path) -> None:
    (folder / "keys.db").touch()
    assert "put the file back" in checkup.key(folder).remedy


@pytest.mark.parametrize(
    ("off_s", "state"), [(0, "ok"), (limits.CLOCK_GAP_S + 60, "fault"), (-limits.CLOCK_JUMP_S - 60, "fault")]
)
def test_the_clock_is_held_against_the_log(folder: Path, off_s: float, state: str) -> None:
    EventLog(folder / "events.db", "i" * 32, NOW_US).close()
    assert checkup.clock_of(folder, NOW_US + int(off_s * 1e6)).state == state


def test_a_log_that_is_no_database_is_a_fault(folder: Path) -> None:
    (folder / "events.db").write_text("this is no database, whatever its name says" * 100)
    assert checkup.clock_of(folder, NOW_US).state == "fault"


def test_a_port_that_somebody_has_is_a_fault_unless_it_is_the_server_itself(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(data_dir=folder, port=taken.getsockname()[1], dev=True)
        (found,) = checkup.ports(config)
        assert found.state == "fault" and "--port" in found.remedy
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (found,) = checkup.ports(config)
            assert found.state == "ok"


def test_a_look_at_the_lock_leaves_it_free(folder: Path) -> None:
    (folder / "lock").touch()
    assert not checkup.is_served(folder)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_disk_is_a_fault_from_the_level_on_at_which_the_server_warns(folder: Path) -> None:
    calm = Config(data_dir=folder, disk_warn_percent=100, disk_full_percent=100)
    (found,) = checkup.disks(calm, "")
    assert found.state == "ok"
    (found,) = checkup.disks(Config(data_dir=folder, disk_warn_percent=0), "")
    assert found.state == "fault" and found.remedy


async def test_a_registry_and_a_traefik_that_nobody_runs_are_told_with_where_they_should_be(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert (await checkup.registry(address)).said == f"nothing answers on {address}"
        through = Config(data_dir=folder, traefik_config_dir=folder, traefik_api=f"http://{address}")
        assert (await checkup.router(through)).state == "fault"
    assert (await checkup.router(Config(data_dir=folder))).state == "ok"


def test_a_machine_without_iptables_is_told_so(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert checkup.firewall().state == "fault"
    (folder / "iptables").touch()
    (folder / "iptables").chmod(0o755)
    assert checkup.firewall().state == "ok"
