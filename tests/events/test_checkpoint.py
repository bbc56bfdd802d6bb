"""Signed notes: the form that others read, and that nothing else opens."""

import msgspec
import pytest
from hypothesis import given, settings, strategies

from events import checkpoint
from events.checkpoint import Checkpoint, NoteInvalid

SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))
ORIGIN = checkpoint.origin_of("018f0000000070008000000000000bec")
KEY = checkpoint.public_key(ORIGIN, SEED)
AT = Checkpoint(ORIGIN, 1000, bytes(range(32)), 1, 1_764_488_461)
NOTE = checkpoint.signed(AT, SEED)

# RFC 8032, 7.1, test 1: the seed and its public key
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_note_is_in_the_form_that_the_specification_shows() -> None:
    lines = NOTE.split("\n")
    assert lines[:6] == [
        "ahplat/018f0000000070008000000000000bec",
        "1000",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "epoch 1",
        "at 1764488461",
        "",
    ]
    assert lines[6].startswith(f"— {ORIGIN} ") and lines[7:] == [""]


def test_the_public_key_is_that_of_the_rfc() -> None:
    assert checkpoint.public_key("x", RFC_SEED).ed25519.hex() == RFC_PUBLIC


def test_a_keys_id_is_computed_as_the_go_checksum_database_computes_its_own() -> None:
    known = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert checkpoint.parse_key(known).text == known


def test_what_was_signed_opens_with_the_key_and_says_the_same() -> None:
    assert checkpoint.opened(NOTE, KEY) == AT == checkpoint.parse(NOTE)


def test_the_same_checkpoint_is_always_the_same_note() -> None:
    assert checkpoint.signed(AT, SEED) == NOTE


@pytest.mark.parametrize("field", ["position", "link", "epoch", "at_s"])
def test_another_checkpoint_under_the_same_signature_does_not_open(field: str) -> None:
    value = bytes(32) if field == "link" else getattr(AT, field) + 1
    other = checkpoint.signed(msgspec.structs.replace(AT, **{field: value}), SEED)
    forged = other.rpartition("\n\n")[0] + "\n\n" + NOTE.rpartition("\n\n")[2]
    with pytest.raises(NoteInvalid, match="is not of this text"):
        checkpoint.opened(forged, KEY)


@settings(max_examples=100)
@given(strategies.integers(0, len(NOTE.encode()) - 1), strategies.integers(1, 255))
def test_with_any_byte_changed_it_does_not_open(at: int, by: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[at] ^= by
    with pytest.raises(NoteInvalid):
        checkpoint.opened(changed.decode(errors="replace"), KEY)


@pytest.mark.parametrize("length", range(0, len(NOTE), 7))
def test_a_torn_note_is_none(length: int) -> None:
    with pytest.raises(NoteInvalid):
        checkpoint.opened(NOTE[:length], KEY)


def test_another_key_of_the_same_name_does_not_open_it() -> None:
    with pytest.raises(NoteInvalid, match="did not sign it with the key"):
        checkpoint.opened(NOTE, checkpoint.public_key(ORIGIN, OTHER_SEED))


def test_the_note_of_another_log_does_not_open() -> None:
    with pytest.raises(NoteInvalid, match="expected ahplat/other"):
        checkpoint.opened(NOTE, checkpoint.public_key("ahplat/other", SEED))


def test_signatures_of_witnesses_beside_it_do_not_matter() -> None:
    witness = "— witness.example/w " + "A" * 92 + "\n"
    text, _, own = NOTE.rpartition("\n\n")
    assert checkpoint.opened(f"{text}\n\n{witness}{own}", KEY) == AT
    with pytest.raises(NoteInvalid, match="did not sign"):
        checkpoint.opened(f"{text}\n\n{witness}", KEY)


def test_lines_that_are_not_known_are_signed_and_passed_over() -> None:
    text = NOTE.rpartition("\n\n")[0]
    with pytest.raises(NoteInvalid, match="is not of this text"):
        checkpoint.opened(NOTE.replace(text, f"{text}\nmore of it"), KEY)
    assert checkpoint.parse(NOTE.replace(text, f"{text}\nmore of it")) == AT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1000\n", "01000\n"),
        ("1000\n", "-1\n"),
        ("1000\n", "\n"),
        ("Hh8=", "Hg=="),
        ("epoch 1", "epoch one"),
        ("at ", "then "),
        ("\n\n", "\n"),
    ],
)
def test_what_is_no_checkpoint_is_said(before: str, after: str) -> None:
    with pytest.raises(NoteInvalid):
        checkpoint.parse(NOTE.replace(before, after, 1))


def test_a_key_is_told_as_one_line_and_read_back() -> None:
    assert checkpoint.parse_key(f"{KEY.text}\n") == KEY
    assert KEY.text.startswith(f"{ORIGIN}+{KEY.id.hex()}+A")


@pytest.mark.parametrize("text", ["", "a", "a+b+c", KEY.text[:-4], KEY.text.replace("+", "-"), f"x{KEY.text}"])
def test_what_is_no_key_is_said(text: str) -> None:
    with pytest.raises(NoteInvalid, match="is no key"):
        checkpoint.parse_key(text)


def test_whole_notes_are_found_among_torn_ones() -> None:
    second = checkpoint.signed(msgspec.structs.replace(AT, position=2000), SEED)
    for length in range(len(NOTE)):
        file = f"\n{NOTE}\n{NOTE[:length]}\n\n{second}".encode()
        found = [note for _, note in checkpoint.notes_in(file)]
        assert found[0] == NOTE and found[-1] == second
        assert all(file[start:].startswith(note.encode()) for start, note in checkpoint.notes_in(file))
