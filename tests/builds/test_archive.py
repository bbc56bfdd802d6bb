"""What is taken of an archive that somebody sent, and what is not: every kind of entry that could do harm is refused."""

import gzip
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahplat.builders import archive
from ahplat.builders.archive import REFUSED
from tests.builds.archives import Entry, entry, folder, link, of_files, packed, with_tar_changed
from tests.folders import memory_folder

BYTES, ENTRIES = 4 * 1024 * 1024, 100
APP = [entry("main.py", b"print()"), folder("src"), entry("src/run.sh", b"#!/bin/sh", mode=0o755)]


def run(sent: bytes, at: Path, most_bytes: int = BYTES, most_entries: int = ENTRIES) -> tuple[int, str, Path]:
    """(exit code, what it said, where it unpacked)."""
    file, into = at / "sent.tar.gz", at / "into"
    file.write_bytes(sent)
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    argv = [sys.executable, "-I", "-S", archive.__file__, str(file), str(most_bytes), str(most_entries), str(into)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.strip(), into


def refused(sent: bytes, at: Path, most_bytes: int = BYTES, most_entries: int = ENTRIES) -> str:
    """Why; and only looking says the same as unpacking."""
    (at / "beside").write_text("untouched")
    code, said, _ = run(sent, at, most_bytes, most_entries)
    assert code == REFUSED, (code, said)
    assert sorted(path.name for path in at.iterdir()) == ["beside", "into", "sent.tar.gz"]
    assert (at / "beside").read_text() == "untouched"
    with pytest.raises(archive.Refused):
        list(archive.entries(at / "sent.tar.gz", most_bytes, most_entries))
    return said


def test_files_folders_and_inner_links_arrive(tmp_path: Path) -> None:
    more = [link("now", "src/run.sh"), link("src/up", "../main.py"), link("again.py", "./main.py", tarfile.LNKTYPE)]
    code, said, into = run(packed(folder("./"), *APP, *more, entry("deep/er/x", b"1")), tmp_path)
    assert (code, said) == (0, "")
    assert (
        (into / "main.py").read_text() == (into / "again.py").read_text() == (into / "src/up").read_text() == "print()"
    )
    assert (into / "now").readlink() == Path("src/run.sh")
    assert (into / "deep/er/x").read_text() == "1"


def test_modes_are_those_of_git_and_no_setuid_bit_or_owner_arrives(tmp_path: Path) -> None:
    sent = packed(
        entry("su", b"x", mode=0o6755, uid=12345), entry("key", b"x", mode=0o600), entry("w", b"x", mode=0o666)
    )
    assert run(sent, tmp_path)[0] == 0
    found = {path.name: path.stat() for path in (tmp_path / "into").iterdir()}
    assert {name: stat.S_IMODE(one.st_mode) for name, one in found.items()} == {"su": 0o755, "key": 0o644, "w": 0o644}
    assert {one.st_uid for one in found.values()} == {os.getuid()}


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([entry("/etc/passwd", b"x")], "absolute"),
        ([entry("../beside", b"x")], "leads out"),
        ([entry("src/../../beside", b"x")], "leads out"),
        ([folder("a"), entry("a/../b", b"x")], "leads out"),
        ([folder("..")], "leads out"),
        ([link("out", "/etc")], "out of the folder"),
        ([link("out", "../beside")], "out of the folder"),
        ([folder("src"), link("src/out", "../../beside")], "out of the folder"),
        ([link("out", "")], "no path"),
        ([link("src", "."), entry("src/x", b"x")], "lies below 'src', which is a link"),
        ([link("a", "b"), folder("a")], "twice"),
        ([folder("a"), link("a", "b")], "twice"),
        ([entry("a", b"1"), entry("./a", b"2")], "twice"),
        ([entry("a", b"1"), entry("a/b", b"2")], "lies below 'a', which is a file"),
        ([link("hard", "../beside", tarfile.LNKTYPE)], "leads out"),
        ([link("hard", "/etc/passwd", tarfile.LNKTYPE)], "absolute"),
        ([link("hard", "later", tarfile.LNKTYPE), entry("later", b"x")], "no file before it"),
        ([link("soft", "x"), link("hard", "soft", tarfile.LNKTYPE)], "no file before it"),
        ([entry("dev", type=tarfile.CHRTYPE)], "a device"),
        ([entry("dev", type=tarfile.BLKTYPE)], "a device"),
        ([entry("pipe", type=tarfile.FIFOTYPE)], "a named pipe"),
        ([entry("socket", type=b"s")], "no file, folder or link"),
        ([entry("sparse", type=tarfile.GNUTYPE_SPARSE)], "no file, folder or link"),
        ([entry(".", b"x")], "in place of the folder"),
        ([entry("x" * 256, b"x")], "too long"),
        ([entry("/".join("d" * 101), b"x")], "too deep"),
        ([folder("src")], "no file in it"),
        ([], "no file in it"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_entry_that_could_do_harm_is_refused(entries: list[Entry], why: str, tmp_path: Path) -> None:
    assert why in refused(
        packed(entry("main.py", b"x"), *entries) if why != "no file in it" else packed(*entries), tmp_path
    )


def test_a_link_that_leads_out_by_way_of_others_is_written_but_never_followed(tmp_path: Path) -> None:
    chain = [link("a/b/c/up", "../.."), link("s", "a/b/c/up/../..")]
    code, _, into = run(packed(entry("a/b/c/x", b"x"), *chain), tmp_path)
    assert code == 0
    assert Path(os.path.realpath(into / "s")) == tmp_path  # `git.check_links` refuses it then
    assert "which is a link" in refused(packed(entry("a/b/c/x", b"x"), *chain, entry("s/beside", b"y")), tmp_path)


def test_a_bomb_is_refused_by_what_it_unpacks_to(tmp_path: Path) -> None:
    sent = packed(entry("zeros", bytes(8 * 1024 * 1024)))
    assert len(sent) < 20_000
    assert "more than 4194304 bytes" in refused(sent, tmp_path)


def test_not_more_is_read_behind_its_end_than_belongs_there(tmp_path: Path) -> None:
    sent = gzip.decompress(packed(entry("main.py", b"x")))
    assert run(gzip.compress(sent + bytes(64 * 1024)), tmp_path)[:2] == (0, "")
    assert "come after its end" in refused(gzip.compress(sent + bytes(3 * archive.PADDING_BYTES)), tmp_path)


def test_a_file_that_says_it_is_larger_than_it_is_is_refused(tmp_path: Path) -> None:
    sent = packed(entry("main.py", b"x"), format=tarfile.USTAR_FORMAT)
    info = tarfile.TarInfo("main.py")
    info.size, info.mode = 10**12, 0o644
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert "more than" in refused(gzip.compress(header + gzip.decompress(sent)), tmp_path)


def test_more_entries_than_allowed_are_refused(tmp_path: Path) -> None:
    assert "more than 100 entries" in refused(packed(*(entry(f"f{n}", b"x") for n in range(101))), tmp_path)


def test_a_header_of_many_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    long = entry("main.py", b"x", pax_headers={"comment": "c" * (2 * 1024 * 1024)})
    assert "a header of it" in refused(packed(long), tmp_path)


@pytest.mark.parametrize("sent", [b"", b"no archive", gzip.compress(b"no tar" * 500), gzip.compress(b"")])
def test_what_is_no_archive_is_refused(sent: bytes, tmp_path: Path) -> None:
    refused(sent, tmp_path)


def test_an_archive_that_is_cut_off_or_broken_anywhere_is_refused(tmp_path: Path) -> None:
    sent = packed(entry("main.py", os.urandom(3_000)), entry("other.py", os.urandom(3_000)))
    refused(sent[:4_000], tmp_path)
    for length in range(0, len(sent) - 1, 97):
        (tmp_path / "cut").write_bytes(sent[:length])
        with pytest.raises(archive.Refused):
            list(archive.entries(tmp_path / "cut", BYTES, ENTRIES))
    (tmp_path / "cut").unlink()
    refused(with_tar_changed(sent, b"other.py", b"0ther.py"), tmp_path)  # the header's sum does not hold any more
    refused(gzip.compress(gzip.decompress(sent).rstrip(b"\0") + bytes(1024) + b"more"), tmp_path)


@given(st.binary(max_size=600), st.integers(0, 1_500))
def test_whatever_bytes_stand_in_it_are_taken_or_refused(changed: bytes, at: int) -> None:
    tar = bytearray(gzip.decompress(of_files({"a": "1", "b": "2"})))
    tar[at : at + len(changed)] = changed
    with memory_folder() as at_hand:
        (at_hand / "sent").write_bytes(gzip.compress(bytes(tar), 1))
        with suppress(archive.Refused):
            list(archive.entries(at_hand / "sent", BYTES, ENTRIES))
