"""What the files of an instance say together, also when its shim writes them while they are read."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ahplat import processes
from ahplat.engines.engine import Identity, Instance
from ahplat.engines.run_folder import Ended, Record, RunFolder, Started

IDENTITY = Identity("inst", 1, "ten", "svc", "dep", 1, 1, 7, "hash", 1)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "web", Record("web.1", IDENTITY.labels(), "ah/hello", port=20_000))


def write(folder: RunFolder, name: str, value: Started | Ended) -> None:
    (folder.path / name).write_bytes(msgspec.json.encode(value))


def ourselves() -> Started:
    return Started(os.getpid(), processes.started_at(os.getpid()) or 0)


def seen(folder: RunFolder) -> Instance:
    instance = folder.instance()
    assert instance is not None
    return instance


def meanwhile(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None]) -> None:
    """Something happens while we look for the shim, which is then not to be found."""
    monkeypatch.setattr(RunFolder, "open_shim", lambda _: deed())


def test_a_folder_alone_is_created(folder: RunFolder) -> None:
    found = seen(folder)
    assert (found.state, found.host, found.port) == ("created", "", 0)


def test_lock_pid_and_start_time_together_are_running(folder: RunFolder) -> None:
    lock = folder.try_lock()
    assert lock is not None
    write(folder, "started.json", ourselves())
    found = seen(folder)
    assert (found.state, found.host, found.port) == ("running", "127.0.0.1", 20_000)
    os.close(lock)
    found = seen(folder)
    assert (found.state, found.exit_code) == ("exited", 137)


def test_another_start_time_is_not_running(folder: RunFolder) -> None:
    lock = folder.try_lock()
    assert lock is not None
    write(folder, "started.json", Started(os.getpid(), ourselves().started_at - 1))
    assert seen(folder).state == "exited"
    os.close(lock)


def test_an_end_while_we_look_keeps_its_exit_code(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "started.json", ourselves())
    lock = folder.try_lock()
    assert lock is not None
    meanwhile(monkeypatch, lambda: write(folder, "exit.json", Ended(3)))
    found = seen(folder)
    assert (found.state, found.exit_code) == ("exited", 3)
    os.close(lock)


def test_a_start_while_we_look_is_no_end(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = folder.try_lock()
    assert lock is not None
    meanwhile(monkeypatch, lambda: write(folder, "started.json", ourselves()))
    found = seen(folder)
    assert (found.state, found.exit_code) == ("created", None)
    os.close(lock)


def test_two_who_ask_for_the_lock_do_not_mislead_each_other(folder: RunFolder) -> None:
    other = RunFolder(folder.path)
    assert [folder.held(), other.held()] == [False, False]
    lock = folder.try_lock()
    assert lock is not None
    assert [folder.held(), other.held(), other.try_lock()] == [True, True, None]
    os.close(lock)
    assert not folder.held()
