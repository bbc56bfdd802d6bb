"""Notes of erasures, and a key file that somebody else is reading all the time."""

from pathlib import Path

import pytest

from ahplat import erasures
from ahplat.backups.known import Known, note, parse, read
from ahplat.errors import Unreadable
from events.database import open_reader
from tests.backups.conftest import ONE
from tests.backups.platform_folder import Folder


def test_a_note_is_made_once_and_a_torn_line_does_not_swallow_the_next(folder: Path) -> None:
    path = folder / "checkpoints" / "erased"
    erasures.note(path, ["b", "a"])
    erasures.note(path, ["a"])
    assert path.read_text() == "a\nb\n"
    path.write_text("a\nhal")
    erasures.note(path, ["c"])
    assert erasures.read(path) == {"a", "hal", "c"}
    assert path.stat().st_mode & 0o077 == 0


def test_notes_may_be_written_by_hand(folder: Path) -> None:
    (folder / "mine").write_text(f"# lost on Monday\n\n  {ONE}  Ada\n")
    assert erasures.read(folder / "mine") == {ONE}
    assert erasures.read(folder / "nowhere") == frozenset()


def test_a_key_goes_also_while_a_replicator_reads(data: Folder) -> None:
    keyring = data.keyring()
    reader = open_reader(data.path / "keys.db")
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM tenant_key").get == 2
    keyring.erase(ONE)
    with pytest.raises(Unreadable):
        keyring.seal(ONE, "s", "f", b"x")
    reader.close()
    keyring.close()
    assert (data.path / "checkpoints" / "erased").read_text() == f"{ONE}\n"


def test_the_last_line_is_what_is_known(folder: Path) -> None:
    assert read(folder) is None
    note(folder, 9, "ab" * 32, 1)
    note(folder, 4, "cd" * 32, 2)
    (folder / "checkpoints" / "known").open("a").write("5 torn")
    assert read(folder) == Known(4, "cd" * 32, 2, str(folder / "checkpoints" / "known"))


@pytest.mark.parametrize("text", ["", "7", "ab" * 32, f"7 {'xy' * 32}"])
def test_what_says_no_position_and_link_says_nothing(text: str) -> None:
    assert parse(text, "s") is None
