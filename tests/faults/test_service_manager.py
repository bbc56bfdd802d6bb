"""What a service manager is told (sd_notify): once it serves, and when it is about to end."""

import socket
from pathlib import Path

import pytest

from tests.faults.harness import Server

pytestmark = pytest.mark.embedded


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    """A socket as systemd has one."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(30)
    return listener


def test_it_is_told_when_the_server_serves_and_when_it_stops(server: Server, manager: socket.socket) -> None:
    server.start(NOTIFY_SOCKET=str(manager.getsockname()))
    assert manager.recv(100) == b"READY=1"
    assert server.ask("GET", "/v1/system/ready").status == 200
    assert server.end() == 0
    assert manager.recv(100) == b"STOPPING=1"


def test_it_is_not_told_that_a_server_is_ready_which_cannot_start(server: Server, manager: socket.socket) -> None:
    (server.folder / "master.key").unlink()
    assert server.launch(NOTIFY_SOCKET=str(manager.getsockname())).wait() == 2
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_one_that_went_does_not_end_the_server(server: Server, tmp_path: Path) -> None:
    server.start(NOTIFY_SOCKET=str(tmp_path / "nobody"))
    assert server.ask("GET", "/v1/system/ready").status == 200
    assert server.end() == 0
