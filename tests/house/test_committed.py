"""What may not be committed: the address of a package index, a path of the machine that it was written on.

Which index a machine uses is that machine's business, and so is where the tree stands on it. Looked at is what git keeps
and what it would take in. The needles are put together here, so that this file holds none of them.
"""

import subprocess
from pathlib import Path

import pytest

from tests import lock
from tests.house.rules import TREE

INDEXES = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("pythonhosted", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
        ("registry", "npmjs", "org"),
    ]
]


def machine_paths(tree: Path, home: Path) -> list[str]:
    """The beginnings of paths that mean something on this machine only; what is too short to tell is left out."""
    return ["/" + "root/", *(f"{path}/" for path in (tree, home) if len(path.parts) > 2)]


def findings(files: dict[str, bytes], needles: list[str]) -> list[str]:
    """Where a needle stands, whatever its case: "path:line: needle"."""
    return [
        f"{path}:{number}: {needle}"
        for path, content in files.items()
        for number, line in enumerate(content.lower().split(b"\n"), 1)
        for needle in needles
        if needle.lower().encode() in line
    ]


@pytest.fixture(scope="module")
def committed() -> dict[str, bytes]:
    """Every file that git keeps or would take in: path → content."""
    list_files = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(list_files, cwd=TREE, check=True, capture_output=True).stdout.decode().split("\0")
    return {name: (TREE / name).read_bytes() for name in names if name and (TREE / name).is_file()}


def test_no_committed_file_holds_the_address_of_a_package_index(committed: dict[str, bytes]) -> None:
    found = findings(committed, INDEXES)
    assert not found, "\n".join(found)


def test_no_committed_file_holds_a_path_of_this_machine(committed: dict[str, bytes]) -> None:
    found = findings(committed, machine_paths(TREE, Path.home()))
    assert not found, "\n".join(found)


def test_this_file_itself_was_looked_at(committed: dict[str, bytes]) -> None:
    assert "tests/house/test_committed.py" in committed


@pytest.mark.parametrize("needle", [*INDEXES, *machine_paths(Path("/srv/tree"), Path("/home/me"))])
def test_every_needle_is_found(needle: str) -> None:
    assert findings({"a": f"x\nsee {needle.upper()}x".encode()}, [needle]) == [f"a:2: {needle}"]


def test_a_tree_or_a_home_at_the_root_is_no_needle() -> None:
    assert machine_paths(Path("/app"), Path("/")) == machine_paths(Path("/"), Path("/nobody"))


def test_the_lock_files_hold_hashes_and_no_address_and_agree() -> None:
    assert lock.faults(lock.RUN.read_text(), lock.DEVELOP.read_text()) == []


@pytest.mark.parametrize(
    ("run", "develop", "fault"),
    [
        ("a==1", "a==1 \\\n    --hash=sha256:00", "a==1 has no hash"),
        ("a==1 \\\n    --hash=sha256:00", "b==1 \\\n    --hash=sha256:00", "a==1 is not in the second"),
        ("", "--index-url https" + "://index.example/simple", "line 1 of the second holds an address"),
    ],
)
def test_a_fault_in_a_lock_file_is_found(run: str, develop: str, fault: str) -> None:
    assert lock.faults(run, develop) == [fault]


def test_a_pin_is_the_same_whatever_its_marker() -> None:
    run, develop = "a==1 ; python_version < '3.13' \\\n    --hash=sha256:00", "a==1 \\\n    --hash=sha256:00"
    assert lock.faults(run, develop) == []
