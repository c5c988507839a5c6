"""Inputs that Port encrypted come out as they went in, or not at all; no message quotes them."""

import base64
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.secret import Token
from gha_step.inbound.port.decryption import Undecryptable, decrypted

SECRET = Token("0123456789abcdef0123456789abcdef-and-more")


def encrypt(text: str, secret: Token = SECRET, iv: bytes = b"i" * 16) -> str:
    key = secret.reveal().encode()[:32]
    return base64.b64encode(iv + AESGCM(key).encrypt(iv, text.encode(), None)).decode()


@given(st.text(), st.binary(min_size=16, max_size=16))
def test_what_port_encrypts_comes_out_as_it_was(text: str, iv: bytes) -> None:
    given_inputs = {"password": encrypt(text, iv=iv), "plain": "x"}
    assert decrypted(given_inputs, {"password"}, SECRET) == {"password": text, "plain": "x"}


def test_only_named_inputs_are_touched_and_missing_ones_stay_missing() -> None:
    inputs = {"a": encrypt("1"), "b": "x", "c": ""}
    assert decrypted(inputs, {"c", "d"}, SECRET) == inputs


@pytest.mark.parametrize(
    "value",
    ["hunter2", "aGVsbG8=", "!" * 60, encrypt("hunter2")[:-8], encrypt("hunter2", Token("x" * 32)), "ü" * 40],
)
def test_what_cannot_be_decrypted_is_named_and_never_quoted(value: str) -> None:
    with pytest.raises(Undecryptable, match="'password'") as raised:
        decrypted({"password": value}, ["password"], SECRET)
    assert value not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_changed_ciphertext_is_refused() -> None:
    raw = bytearray(base64.b64decode(encrypt("hunter2")))
    for position in range(len(raw)):
        changed = bytes(raw[:position]) + bytes([raw[position] ^ 1]) + bytes(raw[position + 1 :])
        with pytest.raises(Undecryptable):
            decrypted({"p": base64.b64encode(changed).decode()}, ["p"], SECRET)


def test_what_is_no_text_is_refused() -> None:
    iv = os.urandom(16)
    value = base64.b64encode(iv + AESGCM(SECRET.reveal().encode()[:32]).encrypt(iv, b"\xff", None)).decode()
    with pytest.raises(Undecryptable):
        decrypted({"p": value}, ["p"], SECRET)


def test_a_short_client_secret_cannot_be_the_key() -> None:
    with pytest.raises(Undecryptable, match="shorter than 32"):
        decrypted({"p": encrypt("x")}, ["p"], Token("short"))
