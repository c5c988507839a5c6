"""The key of a promotion step, and the marker that follows from it."""

import base64
import hashlib
from typing import Any, Final

from gha_step.contract.json_text import canonical_json


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def step_key(*parts: str) -> str:
    """The key of a promotion step: SHA-256 over the length-prefixed parts, so that no two lists collide.

    :raises ValueError: a part is empty.
    """
    if not all(parts):
        raise ValueError("no part of a ledger key may be empty")
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        whole.update(len(raw).to_bytes(8, "big") + raw)
    return whole.hexdigest()


MARKER_SHAPE: Final = "gs-" + "a" * 26


def marker_of(key: str) -> str:
    """The marker of a key: fixed, so that it survives a lost ledger."""
    return "gs-" + base64.b32encode(bytes.fromhex(key)).decode()[:26].lower()
