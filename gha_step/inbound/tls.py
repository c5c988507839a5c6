"""This server's certificate, and the CA of its callers: files that are reloaded when they change.

It checks whether the files belong together; the server uses them.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gha_step.contract.errors import StepError


class TlsFileError(StepError):
    """One of the files cannot be used. ``which``: its setting's name after `GHA_STEP_GRPC_TLS_`."""

    def __init__(self, which: Literal["CERT", "KEY", "CLIENT_CA"], message: str) -> None:
        super().__init__(message)
        self.which = which


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. ``client_ca``: callers must show a certificate of this authority; ``None``: they need not."""

    certificate: Path
    key: Path
    client_ca: Path | None

    def state(self) -> object:
        """Another value as soon as one of them has changed; read after this, they are at least as new."""
        return [_state(path) for path in (self.certificate, self.key, self.client_ca) if path is not None]

    def read(self) -> "TlsContent":
        """What they hold now.

        :raises TlsFileError: one is missing, unreadable, no PEM, or does not belong to the other.
        """
        certificate = _read("CERT", self.certificate, b"CERTIFICATE-----", "a PEM certificate")
        key = _read("KEY", self.key, b"PRIVATE KEY-----", "a PEM private key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except _EncryptedKey:
            raise TlsFileError("KEY", f"{self.key} is encrypted; store it without a passphrase") from None
        except (ssl.SSLError, OSError) as error:
            why = getattr(error, "reason", None) or error.strerror
            raise TlsFileError(
                "CERT", f"{self.certificate} and {self.key} do not belong together, or are not PEM ({why})"
            ) from None
        if self.client_ca is None:
            return TlsContent(certificate, key, None)
        authority = _read("CLIENT_CA", self.client_ca, b"CERTIFICATE-----", "a PEM certificate")
        try:
            context.load_verify_locations(self.client_ca)
        except (ssl.SSLError, OSError):
            raise TlsFileError("CLIENT_CA", f"{self.client_ca} contains no valid PEM certificate") from None
        return TlsContent(certificate, key, authority)


@dataclass(frozen=True, repr=False)
class TlsContent:
    """The content of `TlsFiles`, which fits together."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class _EncryptedKey(Exception):
    pass


def _state(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _no_password() -> str:
    raise _EncryptedKey


def _read(which: Literal["CERT", "KEY", "CLIENT_CA"], path: Path, mark: bytes, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TlsFileError(which, f"{path} cannot be read ({error.strerror})") from None
    if mark not in content:
        raise TlsFileError(which, f"{path} does not contain {what}")
    return content
