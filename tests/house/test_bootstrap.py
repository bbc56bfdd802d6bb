"""`bin/ah` makes its own virtual environment, once, and starts at once where it is made.

The slow half really makes environments, from a lock file that pins one wheel, which the tests write: no network.
"""

import ast
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from ahplat import bootstrap
from tests.house.rules import TREE

MAIN = "import sys, tiny\nprint('started', *sys.argv[1:])\n"
LIMIT_S = 120


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with what `bin/ah` needs, and a lock file that pins one wheel."""
    tree = tmp_path / "tree"
    for path in ("bin/ah", "ahplat/__init__.py", "ahplat/bootstrap.py"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / path, tree / path)
    (tree / "ahplat/cli").mkdir()
    (tree / "ahplat/cli/entry.py").write_text(MAIN)
    wheel = tmp_path / "wheels/tiny-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    pin = f"tiny==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    for lock in bootstrap.SATISFIES:
        (tree / lock).write_text(pin)
    return tree


@pytest.fixture
def made(tree: Path) -> Path:
    """The same tree with an environment that looks made; its Python is the one that runs the tests."""
    python = tree / bootstrap.PYTHON
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    bootstrap.write_stamp(
        str(tree), {name: bootstrap.entry(str(tree), name) for name in (bootstrap.PYTHON, bootstrap.RUN)}
    )
    return tree


@pytest.mark.parametrize("path", ["ahplat/bootstrap.py", "ahplat/__init__.py", "bin/ah", "bin/test"])
def test_an_old_python_can_read_it(path: str) -> None:
    ast.parse((TREE / path).read_text(), feature_version=(3, 6))


def test_an_old_python_is_told_what_helps(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST", (9, 1))
    with pytest.raises(SystemExit) as ended:
        bootstrap.start("ahplat.cli.main", tree=str(tree))
    assert ended.value.code == 2
    assert "Python 9.1 or newer is needed" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_is_told_what_helps(
    missing: str, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SystemExit) as ended:
        bootstrap.start("ahplat.cli.main", tree=str(tree))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "apt install python3-venv" in said
    assert said.count("\n") == 1


def test_what_is_made_starts_without_running_or_hashing_anything(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, argv: became.append(argv))
    monkeypatch.setattr(bootstrap, "make_current", lambda *_: pytest.fail("looked twice"))
    monkeypatch.setattr(sys, "argv", ["bin/ah", "demo", "--once"])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    bootstrap.start("ahplat.cli.main", tree=str(made))
    assert became == [[f"{made}/.venv/bin/python", "-P", "-m", "ahplat.cli.main", "demo", "--once"]]
    assert os.environ["PYTHONPATH"] == str(made)


def test_a_lock_file_that_was_only_touched_is_not_installed_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "make", lambda *_: pytest.fail("made again"))
    os.utime(made / bootstrap.RUN, ns=(1, 1))
    assert not bootstrap.is_current(str(made), bootstrap.RUN)
    bootstrap.make_current(str(made), bootstrap.RUN)
    assert bootstrap.is_current(str(made), bootstrap.RUN)


@pytest.mark.parametrize("broken", ["requirements.lock", ".venv/ahplat.stamp", ".venv/bin/python"])
def test_another_lock_a_lost_stamp_and_a_lost_python_are_made_again(
    broken: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[str] = []
    monkeypatch.setattr(bootstrap, "make", lambda _, lock, __: again.append(lock))
    (made / broken).unlink()
    (made / broken).write_text("")
    bootstrap.make_current(str(made), bootstrap.RUN)
    assert again == [bootstrap.RUN]


def test_the_developers_environment_satisfies_both_and_stays_the_developers(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (bootstrap.PYTHON, bootstrap.RUN, bootstrap.DEVELOP)
    bootstrap.write_stamp(str(made), {name: bootstrap.entry(str(made), name) for name in names})
    assert bootstrap.is_current(str(made), bootstrap.RUN)
    assert bootstrap.is_current(str(made), bootstrap.DEVELOP)
    again: list[str] = []
    monkeypatch.setattr(bootstrap, "make", lambda _, lock, __: again.append(lock))
    (made / bootstrap.RUN).write_text("tiny==2.0\n")
    bootstrap.make_current(str(made), bootstrap.RUN)
    assert again == [bootstrap.DEVELOP]


def ah(tree: Path, *args: str) -> subprocess.Popen[str]:
    """Starts `bin/ah` with a package index that is a folder."""
    environ = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tree.parent / "wheels")}
    command = [sys.executable, str(tree / "bin/ah"), *args]
    return subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_until_half_made(tree: Path) -> None:
    """Returns when the making has begun."""
    deadline = time.monotonic() + LIMIT_S
    while not (tree / ".venv/pyvenv.cfg").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.embedded
def test_two_at_once_make_it_once_and_the_next_one_only_starts(tree: Path) -> None:
    said = ""
    for process in [ah(tree, "a"), ah(tree, "a")]:
        out, err = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, out) == (0, "started a\n")
        said += err
    assert said.count("making the virtual environment from requirements.lock (once, about 10 s) …") == 1
    assert said.count("waiting for it …") == 1
    assert ah(tree, "b").communicate(timeout=LIMIT_S) == ("started b\n", "")


@pytest.mark.embedded
def test_what_was_killed_half_way_is_made_again(tree: Path) -> None:
    killed = ah(tree)
    wait_until_half_made(tree)
    killed.kill()
    killed.communicate()
    out, err = ah(tree).communicate(timeout=LIMIT_S)
    assert out == "started\n"
    assert "waiting for it" in err  # what the killed one left behind still held the lock
    assert "making the virtual environment" in err


@pytest.mark.embedded
def test_ctrl_c_is_one_line_and_130(tree: Path) -> None:
    interrupted = ah(tree)
    wait_until_half_made(tree)
    interrupted.send_signal(signal.SIGINT)
    out, err = interrupted.communicate(timeout=LIMIT_S)
    assert (interrupted.returncode, out) == (130, "")
    assert err.splitlines()[1:] == ["ah: interrupted; the next run makes the virtual environment from the beginning"]


@pytest.mark.embedded
def test_a_package_of_another_hash_is_refused_and_nothing_is_stamped(tree: Path) -> None:
    (tree / bootstrap.RUN).write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    process = ah(tree)
    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out) == (2, "")
    assert "DO NOT MATCH THE HASHES" in err
    assert not (tree / bootstrap.STAMP).exists()
