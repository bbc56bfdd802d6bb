"""Docker's daemon.json gets what it lacks, and keeps what it has."""

import doctest
import json
from pathlib import Path

import pytest

from deploy.docker import merge_settings

FRAGMENT = Path(merge_settings.__file__).with_name("daemon.json")
WANTED = json.loads(FRAGMENT.read_text())


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "daemon.json"


def merge(monkeypatch: pytest.MonkeyPatch, settings: Path, *options: str) -> int:
    monkeypatch.setattr("sys.argv", ["merge_settings.py", *options, str(FRAGMENT), str(settings)])
    return merge_settings.main()


def there(settings: Path, text: str, mode: int = 0o600) -> None:
    settings.parent.mkdir()
    settings.write_text(text)
    settings.chmod(mode)


def test_its_examples_hold() -> None:
    assert doctest.testmod(merge_settings).failed == 0


def test_where_there_is_no_file_it_is_the_fragment(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    assert merge(monkeypatch, settings) == 0
    assert json.loads(settings.read_text()) == WANTED
    assert [path.name for path in settings.parent.iterdir()] == ["daemon.json"]


def test_what_is_there_stays_and_the_file_as_it_was_is_kept(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    before = '{"log-level": "warn", "runtimes": {"other": {"path": "/other"}}}'
    there(settings, before)
    assert merge(monkeypatch, settings) == 0
    found = json.loads(settings.read_text())
    assert found == {"log-level": "warn", "runtimes": {"other": {"path": "/other"}, **WANTED["runtimes"]}}
    assert settings.with_name("daemon.json.before-ahplat").read_text() == before
    assert settings.stat().st_mode & 0o777 == 0o600


def test_what_is_set_otherwise_stays_and_is_told_of(
    monkeypatch: pytest.MonkeyPatch, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there(settings, '{"runtimes": {"runsc": {"path": "/usr/bin/runsc"}}}')
    assert merge(monkeypatch, settings) == 0
    assert json.loads(settings.read_text())["runtimes"]["runsc"]["path"] == "/usr/bin/runsc"
    assert "runtimes.runsc.path is set otherwise" in capsys.readouterr().err


def test_a_second_time_nothing_is_written(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    there(settings, "{}")
    merge(monkeypatch, settings)
    before = settings.stat().st_mtime_ns
    assert merge(monkeypatch, settings, "--check") == 0
    assert merge(monkeypatch, settings) == 0
    assert settings.stat().st_mtime_ns == before
    assert settings.with_name("daemon.json.before-ahplat").read_text() == "{}"


def test_a_check_changes_nothing(monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    assert merge(monkeypatch, settings, "--check") == 1
    assert not settings.parent.exists()


@pytest.mark.parametrize("text", ["{", "[]", '"runsc"'])
def test_what_docker_would_not_read_is_left_alone(monkeypatch: pytest.MonkeyPatch, settings: Path, text: str) -> None:
    there(settings, text)
    assert merge(monkeypatch, settings) == 2
    assert settings.read_text() == text
