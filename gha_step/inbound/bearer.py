"""Authenticates callers by the bearer token that the host and this server share."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gha_step.contract.errors import StepError
from gha_step.contract.secret import Token, jwt_claims
from gha_step.runtime import Clock
from gha_step.telemetry import log

BELIEVED: Final = 10.0  # seconds
APART: Final = 1.0  # seconds between two reads, however many wrong tokens come
UNPROVED: Final = "the bearer token is missing or wrong"
BEARER: Final = "the bearer token that the host mounts"
HOSTS_BEARER: Final = "the host's bearer"  # whose it is, where it says nothing itself
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


class FileToken(Token):
    """The bearer token in a file that may be replaced while the server runs. For one event loop.

    A new token works at once, and the one before it no longer after `BELIEVED` seconds at the latest. While the file
    cannot be read, the token that it held before counts.

    :raises TokenFileError: on making, as `read_token_file`.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(read_token_file(path).reveal())
        self._path = path
        self._clock = clock
        self._read_at = clock.monotonic()
        self._told = ""

    def matches(self, other: str) -> bool:
        age = self._clock.monotonic() - self._read_at
        if age >= BELIEVED or (age >= APART and not super().matches(other)):
            self._read_again()
        return super().matches(other)

    def _read_again(self) -> None:
        self._read_at = self._clock.monotonic()
        try:
            self._value = read_token_file(self._path).reveal()
            self._told = ""
        except TokenFileError as error:
            if str(error) != self._told:
                log.error("GHA_STEP_TOKEN_FILE: %s; the token that it contained before still counts", error)
            self._told = str(error)


def _whose(path: Path) -> str:
    try:
        owner = path.stat()
    except OSError:
        return f"this process runs as uid {os.getuid()}"
    return (
        f"it belongs to uid {owner.st_uid}, gid {owner.st_gid}, mode {owner.st_mode & 0o777:04o}, and this process "
        f"runs as uid {os.getuid()}, gid {os.getgid()}; set the container's runAsUser and runAsGroup to the owner's"
    )


def subject_of(token: str, otherwise: str) -> str:
    """Whose a token is, which must have been proved: the `sub` of a JSON Web Token, such as ServiceAccounts have.

    :param otherwise: what is said of a token that says nothing.
    """
    subject = jwt_claims(token).get("sub")
    return subject if isinstance(subject, str) and subject else otherwise


def only(values: Sequence[str]) -> str | None:
    """The value of a header that must come only once: of two values, each proxy might read a different one."""
    return values[0] if len(values) == 1 else None


def bearer(authorization: str | None) -> str | None:
    """The token in an Authorization header, or ``None``."""
    scheme, _, value = (authorization or "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None
