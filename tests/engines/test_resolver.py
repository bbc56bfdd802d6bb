"""The file that a container sees as its resolv.conf: whole, readable by all, made again when it is not as it should be."""

from pathlib import Path

import pytest

from ahplat.engines import resolver
from ahplat.engines.engine import Network
from ahplat.errors import Unavailable

NETWORK = Network("n", "ah0123456789ab", "10.128.0.64/26", "i", "t")


def test_it_is_made_with_its_folder_and_only_where_it_differs(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "resolv"
    resolver.ensure(folder, NETWORK)
    path = resolver.path_of(folder, NETWORK)
    assert path.read_text().startswith("nameserver 10.128.0.65\n")
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o644, 0o700)
    first = path.stat().st_ino
    resolver.ensure(folder, NETWORK)
    assert path.stat().st_ino == first, "containers go on seeing the file that they were given"
    path.write_text("nameserver 192.0.2.1\n")
    resolver.ensure(folder, NETWORK)
    assert path.read_text() == resolver.content(NETWORK)
    assert list(folder.iterdir()) == [path]


def test_it_goes_with_its_network_and_may_be_gone_already(tmp_path: Path) -> None:
    resolver.ensure(tmp_path, NETWORK)
    for _ in range(2):
        resolver.forget(tmp_path, NETWORK)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_our_fault_and_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="network_unavailable"):
        resolver.ensure(tmp_path / "file" / "resolv", NETWORK)
