"""What is sealed opens with its key, at its place, and nowhere else."""

import hmac

import pytest
from hypothesis import given, settings, strategies

from ahplat import sealing
from ahplat.errors import Unreadable
from ahplat.sealing import AES, XCHACHA, Cipher, hkdf, seal, unseal

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
EACH = pytest.mark.parametrize("cipher", [AES, XCHACHA], ids=["AES-256-GCM", "XChaCha20-Poly1305"])


@EACH
@settings(max_examples=20)
@given(text=strategies.binary(max_size=64), bound_to=strategies.text(max_size=20))
def test_what_is_sealed_opens_with_its_key_at_its_place(cipher: Cipher, text: bytes, bound_to: str) -> None:
    bound_to = bound_to.encode(errors="replace").decode()
    assert unseal(KEY, seal(cipher, KEY, text, bound_to), bound_to) == text


@EACH
def test_it_does_not_open_with_another_key(cipher: Cipher) -> None:
    with pytest.raises(Unreadable):
        unseal(OTHER_KEY, seal(cipher, KEY, b"text", "here"), "here")


@EACH
def test_it_does_not_open_at_another_place_and_names_the_field(cipher: Cipher) -> None:
    with pytest.raises(Unreadable, match="does not open as there"):
        unseal(KEY, seal(cipher, KEY, b"text", "tenant stream here"), "tenant stream there")


@EACH
def test_it_does_not_open_with_any_byte_changed(cipher: Cipher) -> None:
    envelope = seal(cipher, KEY, b"text", "here")
    for n in range(len(envelope)):
        changed = bytearray(envelope)
        changed[n] ^= 1
        with pytest.raises(Unreadable):
            unseal(KEY, bytes(changed), "here")


@EACH
def test_it_does_not_open_with_its_end_cut_off(cipher: Cipher) -> None:
    envelope = seal(cipher, KEY, b"text", "here")
    for n in range(len(envelope)):
        with pytest.raises(Unreadable):
            unseal(KEY, envelope[:n], "here")


@EACH
def test_the_same_text_is_never_sealed_the_same_way(cipher: Cipher) -> None:
    envelopes = {seal(cipher, KEY, b"text", "here") for _ in range(50)}
    assert len(envelopes) == 50


@EACH
def test_an_envelope_names_its_algorithm_so_that_it_opens_on_every_machine(
    cipher: Cipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = seal(cipher, KEY, b"text", "here")
    assert envelope[0] == {AES.tag: 1, XCHACHA.tag: 2}[cipher.tag]
    monkeypatch.setattr(sealing, "best_cipher", lambda: XCHACHA if cipher is AES else AES)
    assert unseal(KEY, envelope, "here") == b"text"


def test_an_envelope_of_a_newer_release_is_said_to_be_so() -> None:
    with pytest.raises(Unreadable, match="no known algorithm"):
        unseal(KEY, b"\x03" + seal(AES, KEY, b"text", "here")[1:], "here")


def test_a_machine_without_aes_seals_with_xchacha(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: object) -> bytes:
        raise sealing.exceptions.UnavailableError("no AES here")

    monkeypatch.setattr(sealing, "AES", Cipher(AES.tag, AES.nonce_bytes, lacks, lacks))
    assert sealing.best_cipher() is XCHACHA


# HKDF


def test_hkdf_is_rfc_5869s() -> None:
    okm = (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"  # A.3: no salt, no info; the first 32 of 42
    )
    assert hkdf(b"\x0b" * 22, "").hex() == okm


def test_hkdf_takes_the_purpose_as_its_info() -> None:
    prk = hmac.digest(bytes(32), KEY, "sha256")  # RFC 5869, 2.2 and 2.3
    assert hkdf(KEY, "purpose", 16) == hmac.digest(prk, b"purpose\x01", "sha256")[:16]


def test_each_purpose_has_a_key_of_its_own() -> None:
    assert len({hkdf(KEY, purpose) for purpose in ("a", "b", "ab", "")}) == 4
