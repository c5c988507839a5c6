"""Who may call: the bearer token that the host and this server share."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gha_step.contract.errors import StepError
from gha_step.contract.secret import Token

UNPROVED: Final = "the bearer token is missing or wrong"
BEARER: Final = "the bearer token that the host mounts"
_BEARER_ADVICE: Final = (
    "On a machine of your own write one and name it (--token-file), or ask for none, on loopback only: --token-file "
    "none --http-listen 127.0.0.1:9790"
)


class TokenFileError(StepError):
    """The token file cannot be used; the message names it, its owner and our user."""


def read_token_file(path: Path, meaning: str = BEARER, advice: str = _BEARER_ADVICE) -> Token:
    """The token in ``path``. ``meaning``: what it is, and ``advice``: what to do where there is none, for messages.

    The host writes it with mode 0400 for the user of its own image; another user cannot read it, and the host
    only says "waiting for promotion agent pod" (facts: kargo-host, "The pod"). So the message names both users.

    :raises TokenFileError: it is missing, unreadable or empty.
    """
    try:
        token = path.read_bytes().decode("ascii").strip()
    except FileNotFoundError:
        raise TokenFileError(f"{path} does not exist; it is {meaning}. {advice}".removesuffix(". ")) from None
    except PermissionError:
        raise TokenFileError(f"{path} cannot be read: {_whose(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"{path} cannot be read ({getattr(error, 'strerror', 'not text')})") from None
    if not token:
        raise TokenFileError(f"{path} is empty; it must contain {meaning}")
    return Token(token)


def _whose(path: Path) -> str:
    try:
        owner = path.stat()
    except OSError:
        return f"this process runs as uid {os.getuid()}"
    return (
        f"it belongs to uid {owner.st_uid}, gid {owner.st_gid}, mode {owner.st_mode & 0o777:04o}, and this process "
        f"runs as uid {os.getuid()}, gid {os.getgid()}; set the container's runAsUser and runAsGroup to the owner's"
    )


def only(values: Sequence[str]) -> str | None:
    """The value of a header that must come only once: of two values, each proxy might read a different one."""
    return values[0] if len(values) == 1 else None


def bearer(authorization: str | None) -> str | None:
    """The token in an Authorization header, or ``None``."""
    scheme, _, value = (authorization or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None
