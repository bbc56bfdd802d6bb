"""A daemon of the parts: started once, found again, and nobody else's process ever ended in its place."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.programs import Daemon, PartFailed, find


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon that is ready at once, ended after the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    daemon = Daemon("sleeper", (find("sleep") or "sleep", "60"), ready=lambda: True)
    yield daemon
    daemon.stop()


def test_starting_twice_leaves_the_first_one_running(sleeper: Daemon) -> None:
    assert sleeper.start()
    first = sleeper.pid()
    assert not sleeper.start()
    assert sleeper.pid() == first


def test_a_stopped_daemon_is_gone_and_stopping_again_does_nothing(sleeper: Daemon) -> None:
    sleeper.start()
    assert sleeper.stop()
    assert sleeper.pid() is None
    assert not sleeper.stop()


def test_a_pid_that_another_process_has_by_now_is_not_ours(sleeper: Daemon) -> None:
    sleeper.pid_file.write_text(f"{os.getpid()} 1\n")
    assert sleeper.pid() is None
    assert not sleeper.stop()


def test_a_daemon_that_ends_at_once_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = Daemon("broken", (find("ls") or "ls", "/nowhere-at-all"), ready=lambda: False)
    with pytest.raises(PartFailed, match=r"ended at once: .*nowhere-at-all"):
        broken.start()
