"""TLS files that cannot be used: a start that fails names the setting, the file and what is wrong with it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from gha_step.inbound.tls import TlsFileError, TlsFiles
from tests.support.calls import BEARER
from tests.support.certificates import Authority
from tests.support.process import run_here


@dataclass
class Place:
    """Files that fit, until a test spoils them."""

    folder: Path
    files: TlsFiles
    other: TlsFiles


@pytest.fixture
def place(tmp_path: Path) -> Place:
    authority = Authority(tmp_path)
    one, two = authority.issue("one"), authority.issue("two")
    return Place(
        tmp_path,
        TlsFiles(one.certificate, one.key, authority.certificate),
        TlsFiles(two.certificate, two.key, None),
    )


def test_files_that_fit_are_read(place: Place) -> None:
    content = place.files.read()
    assert content.certificate == place.files.certificate.read_bytes()
    assert content.key.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert place.other.read().client_ca is None
    assert "PRIVATE" not in repr(content)


def encrypted(place: Place) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    place.files.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x"))
    )


def directory(place: Place) -> None:
    place.files.key.unlink()
    place.files.key.mkdir()


SPOILS: dict[str, tuple[Callable[[Place], object], str, str]] = {
    "no certificate": (lambda place: place.files.certificate.unlink(), "CERT", "No such file"),
    "a directory": (directory, "KEY", "Is a directory"),
    "an empty certificate": (lambda place: place.files.certificate.write_bytes(b""), "CERT", "PEM certificate"),
    "the key for the certificate": (
        lambda place: place.files.certificate.write_bytes(place.files.key.read_bytes()),
        "CERT",
        "PEM certificate",
    ),
    "the certificate for the key": (
        lambda place: place.files.key.write_bytes(place.files.certificate.read_bytes()),
        "KEY",
        "PEM private key",
    ),
    "another's key": (
        lambda place: place.files.key.write_bytes(place.other.key.read_bytes()),
        "CERT",
        "do not belong together, or are not PEM",
    ),
    "a broken certificate": (
        lambda place: place.files.certificate.write_bytes(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        ),
        "CERT",
        "do not belong together, or are not PEM",
    ),
    "an encrypted key": (encrypted, "KEY", "without a passphrase"),
    "no authority": (lambda place: (place.folder / "ca.crt").unlink(), "CLIENT_CA", "No such file"),
    "an authority that is none": (
        lambda place: (place.folder / "ca.crt").write_bytes(b"\xff-----BEGIN CERTIFICATE-----\xff"),
        "CLIENT_CA",
        "contains no valid PEM certificate",
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_file_that_cannot_be_used_is_named(place: Place, spoil: str) -> None:
    change, which, words = SPOILS[spoil]
    change(place)
    with pytest.raises(TlsFileError) as caught:
        place.files.read()
    assert caught.value.which == which
    assert words in str(caught.value)
    assert str(place.folder) in str(caught.value)


def failed(folder: Path, **settings: str) -> str:
    """The one line of a start that fails."""
    (folder / "secrets").mkdir()
    (folder / "token").write_text(BEARER)
    done = run_here(
        "serve",
        GHA_STEP_HTTP_LISTEN="off",
        GHA_STEP_TOKEN_FILE=str(folder / "token"),
        GHA_STEP_SECRETS=f"dir:{folder / 'secrets'}",
        GHA_STEP_LEDGER=f"sqlite:{folder / 'ledger.db'}",
        **{f"GHA_STEP_{name}": value for name, value in settings.items()},
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_start_with_such_a_file_is_one_line_that_names_the_variable(place: Place) -> None:
    line = failed(
        place.folder,
        GRPC_LISTEN="127.0.0.1:0",
        GRPC_TLS_CERT=str(place.files.certificate),
        GRPC_TLS_KEY=str(place.other.key),
    )
    assert line.startswith("gha-step: GHA_STEP_GRPC_TLS_CERT: ")
    assert "do not belong together, or are not PEM" in line


def test_an_address_of_grpc_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = failed(tmp_path, GRPC_LISTEN=address)
    assert line.startswith(f"gha-step: GHA_STEP_GRPC_LISTEN: cannot listen on {address} (Address already in use)")


def test_an_address_of_grpc_that_is_not_ours_is_named(tmp_path: Path) -> None:
    line = failed(tmp_path, GRPC_LISTEN="192.0.2.1:9791", GRPC_TLS_CERT="none")
    assert line.startswith("gha-step: GHA_STEP_GRPC_LISTEN: cannot listen on 192.0.2.1:9791")
