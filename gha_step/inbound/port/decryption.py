"""Secret inputs that Port encrypted by its own scheme, `aes256-gcm`. Pure; no message quotes a value.

Source: facts/port.md 1: base64 of iv (16 bytes), ciphertext and tag (16 bytes); the key is the first 32 bytes of the
client secret.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Final

from gha_step.contract.secret import Token

_IV: Final = 16
_TAG: Final = 16
_KEY: Final = 32


class Undecryptable(ValueError):
    """An input is not what Port encrypts, or another client secret was used; the text names the input."""


def decrypted(inputs: Mapping[str, str], names: Collection[str], secret: Token) -> dict[str, str]:
    """``inputs`` with those of ``names`` in the clear; an input that is not there, or empty, stays so.

    :raises Undecryptable: one of them cannot be decrypted.
    """
    return {name: _plain(name, value, secret) if name in names and value else value for name, value in inputs.items()}


def _plain(name: str, value: str, secret: Token) -> str:
    from cryptography.exceptions import InvalidTag  # 40 ms, and only those pay who decrypt
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = secret.reveal().encode()[:_KEY]
    if len(key) < _KEY:
        raise Undecryptable(f"input {name!r} cannot be decrypted: the client secret is shorter than {_KEY} bytes")
    try:
        whole = base64.b64decode(value, validate=True)
        if len(whole) < _IV + _TAG:
            raise Undecryptable(f"input {name!r} is not what Port encrypts: it is too short")
        return AESGCM(key).decrypt(whole[:_IV], whole[_IV:], None).decode()
    except (binascii.Error, ValueError) as error:
        if isinstance(error, Undecryptable):
            raise
        raise Undecryptable(f"input {name!r} is not what Port encrypts: it is no base64 of UTF-8 text") from None
    except InvalidTag:
        raise Undecryptable(
            f"input {name!r} cannot be decrypted with this client secret: is it encrypted with aes256-gcm, and for "
            "these credentials?"
        ) from None
