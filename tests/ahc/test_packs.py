"""What of a folder is sent, and that it is the same archive for the same files."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from ahplat.ahc.failures import Failure
from ahplat.ahc.pack import pack
from ahplat.builders import archive


def made(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def git(folder: Path, *command: str) -> None:
    subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)


def names(folder: Path, into: Path) -> list[str]:
    pack(folder, into)
    with tarfile.open(into) as packed:
        return packed.getnames()


FILES = {"main.py": "1", "src/a.py": "2", "a.log": "3", "node_modules/x/y.js": "4", ".env": "6"}


def test_all_of_a_folder_goes_but_its_git_and_what_dockerignore_names(tmp_path: Path) -> None:
    folder = made(tmp_path / "app", FILES | {".dockerignore": "*.log\nnode_modules\n.env\n"})
    assert names(folder, tmp_path / "to") == [".dockerignore", "main.py", "src/a.py"]


def test_what_git_ignores_stays_and_what_is_not_committed_yet_goes(tmp_path: Path) -> None:
    folder = made(tmp_path / "repo", FILES)
    made(folder, {".gitignore": "*.log\nnode_modules/\n.env\n", "gone.py": "x"})
    git(folder, "init", "-q")
    git(folder, "add", "main.py", "gone.py")
    (folder / "gone.py").unlink()
    assert names(folder, tmp_path / "to") == [".gitignore", "main.py", "src/a.py"]
    assert names(folder / "src", tmp_path / "to") == ["a.py"]


def test_a_repository_in_the_folder_is_left_out_and_named(tmp_path: Path) -> None:
    folder = made(tmp_path / "repo", {"main.py": "1", "inner/x": "2"})
    git(folder, "init", "-q")
    git(folder / "inner", "init", "-q")
    assert pack(folder, tmp_path / "to").left_out == ("inner",)


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", FILES), made(tmp_path / "b", dict(reversed(FILES.items())))
    os.utime(second / "main.py", (1, 1))
    pack(first, tmp_path / "one")
    pack(second, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes()[4:8] == bytes(4)  # gzip's own time (RFC 1952, 2.3.1)


def test_links_go_as_links_programs_as_programs_and_the_server_takes_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "app", {"src/run.sh": "#!/bin/sh", "main.py": "x"})
    (folder / "src/run.sh").chmod(0o750)
    (folder / "now").symlink_to("src")
    (folder / "it").symlink_to("main.py")
    os.mkfifo(folder / "pipe")
    assert pack(folder, tmp_path / "to").left_out == ("pipe",)
    found = {path: entry for path, entry, _ in archive.entries(tmp_path / "to", 10_000, 10)}
    assert sorted(found) == ["it", "main.py", "now", "src/run.sh"]
    assert (found["src/run.sh"].mode, found["now"].linkname) == (0o755, "src")


@pytest.mark.parametrize("target", ["/etc/passwd", "../beside", "../../etc"])
def test_a_link_out_of_the_folder_is_refused_before_anything_is_sent(target: str, tmp_path: Path) -> None:
    folder = made(tmp_path / "app", {"main.py": "x"})
    (folder / "out").symlink_to(target)
    with pytest.raises(Failure, match="link out of the folder"):
        pack(folder, tmp_path / "to")
    made(folder, {".dockerignore": "out\n"})
    assert pack(folder, tmp_path / "to").files == 2


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    with pytest.raises(Failure, match="no file"):
        pack(tmp_path / "app", tmp_path / "to")


def test_what_is_no_folder_is_called_that(tmp_path: Path) -> None:
    made(tmp_path, {"main.py": "1"})
    with pytest.raises(Failure, match="there is no folder"):
        pack(tmp_path / "nowhere", tmp_path / "to")
    with pytest.raises(Failure, match="is no folder"):
        pack(tmp_path / "main.py", tmp_path / "to")


def test_what_a_gitignore_names_stays_where_there_is_no_repository(tmp_path: Path) -> None:
    folder = made(tmp_path / "app", FILES | {".gitignore": ".env\n", "src/.gitignore": "*.key\n", "src/my.key": "7"})
    assert names(folder, tmp_path / "to") == [
        *(".gitignore", "a.log", "main.py", "node_modules/x/y.js", "src/.gitignore", "src/a.py"),
    ]


def test_of_a_folder_that_git_ignores_as_a_whole_nothing_goes(tmp_path: Path) -> None:
    folder = made(
        tmp_path / "repo", {".gitignore": "dist/\n", "dist/a.js": "1", "dist/.gitignore": "*.map", "dist/a.map": "2"}
    )
    git(folder, "init", "-q")
    with pytest.raises(Failure, match="as a whole"):
        pack(folder / "dist", tmp_path / "to")


def test_a_repository_in_a_folder_that_is_none_is_left_out_too(tmp_path: Path) -> None:
    folder = made(tmp_path / "app", {"main.py": "1", "inner/.env": "2"})
    git(folder / "inner", "init", "-q")
    assert names(folder, tmp_path / "to") == ["main.py"]


@pytest.mark.parametrize("broken", ["a repository that is none", "no git"])
def test_where_git_does_not_say_what_it_ignores_nothing_is_sent(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "app", FILES | {".gitignore": ".env\n"})
    if broken == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        made(folder, {".git/config": "[core]"})
    with pytest.raises(Failure, match="does not say what it ignores"):
        pack(folder, tmp_path / "to")
