"""`master.key`: made once, readable to nobody else, and never made again where keys hang on it."""

from pathlib import Path

import pytest

from ahplat.sealing import KeyFileBad, read_master_key

DIGITS = "0123456789abcdef" * 4


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "master.key"


def written(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_it_is_made_on_the_first_start_and_found_on_the_next(path: Path) -> None:
    made = read_master_key(path, may_make=True)
    assert len(made) == 32
    assert read_master_key(path, may_make=True) == read_master_key(path, may_make=False) == made


def test_it_is_sixty_four_hex_digits_of_mode_0600(path: Path) -> None:
    made = read_master_key(path, may_make=True)
    assert path.read_text() == made.hex() + "\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_platform_makes_one_of_its_own(path: Path, folder: Path) -> None:
    assert read_master_key(path, may_make=True) != read_master_key(folder / "other.key", may_make=True)


def test_it_is_not_made_where_keys_are_wrapped_with_one_that_is_missing(path: Path) -> None:
    with pytest.raises(KeyFileBad, match=r"missing.*put the file back"):
        read_master_key(path, may_make=False)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_it_is_refused_where_others_may_touch_it_and_the_remedy_is_named(path: Path, mode: int) -> None:
    written(path, DIGITS, mode)
    with pytest.raises(KeyFileBad, match=f"mode {mode:04o}.*chmod 600"):
        read_master_key(path, may_make=True)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_it_is_read_where_only_its_owner_may(path: Path, mode: int) -> None:
    written(path, DIGITS, mode)
    assert read_master_key(path, may_make=False) == bytes.fromhex(DIGITS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 bytes"),
        (DIGITS[:-2], "31 bytes"),
        (DIGITS + "00", "33 bytes"),
        ("g" * 64, "64 hex digits"),
        (DIGITS[:-1], "64 hex digits"),
    ],
)
def test_it_is_refused_where_it_does_not_hold_a_key(path: Path, text: str, words: str) -> None:
    written(path, text)
    with pytest.raises(KeyFileBad, match=words):
        read_master_key(path, may_make=True)
