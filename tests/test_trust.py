"""Chains that Go accepts are accepted, under Python 3.13's strict default too; of others, what is wrong is said."""

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gha_step.trust import as_go_does, client_context, wrong_with

HOST = "ghe.example.com"
NOW = datetime.datetime.now(datetime.UTC)
Extensions = list[tuple[Any, bool]]
PLAIN: Extensions = [(x509.BasicConstraints(ca=True, path_length=None), False)]  # not critical, and nothing else


class Chain:
    """A root, one CA below it, and a server's certificate."""

    def __init__(
        self,
        folder: Path,
        *,
        ca: Extensions = PLAIN,
        days: tuple[int, int] = (-1, 1),
        names: tuple[str, ...] = (HOST,),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        itself: bool = False,
    ) -> None:
        root_key, middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        leaf: Extensions = [
            (x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False),
            (x509.ExtendedKeyUsage([usage]), False),
        ]
        self.root = _pem("root", "root", root_key, root_key, ca, (-1, 1))
        self.middle = _pem("middle", "root", middle_key, root_key, ca, (-1, 1))
        own = _pem("leaf", "leaf" if itself else "middle", key, key if itself else middle_key, leaf, days)
        self.file = folder / "server.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.file.write_bytes(private + own + (b"" if itself else self.middle))
        self.alone = folder / "alone.pem"
        self.alone.write_bytes(private + own)


def _pem(subject: str, issuer: str, key: Any, by: Any, extensions: Extensions, days: tuple[int, int]) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(f"CN={subject}"))
        .issuer_name(x509.Name.from_rfc4514_string(f"CN={issuer}"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=days[0]))
        .not_valid_after(NOW + datetime.timedelta(days=days[1]))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)


def handshake(server: Path, context: ssl.SSLContext, host: str = HOST) -> None:
    """TLS between two buffers. :raises ssl.SSLError: the client refuses."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(server)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [context.wrap_bio(down, up, server_hostname=host), accepting.wrap_bio(up, down, server_side=True)]
    for _ in range(6):
        for side in tuple(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert sides == []


def trusting(*authorities: bytes) -> ssl.SSLContext:
    """A client under Python 3.13's default, made as lenient as Go."""
    context = ssl.create_default_context(cadata=b"".join(authorities).decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return as_go_does(context)


def refusal(server: Path, context: ssl.SSLContext, host: str = HOST) -> str:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        handshake(server, context, host)
    return wrong_with(caught.value, host, "the key baseURL")


def test_the_strict_default_refuses_what_is_accepted_here(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    strict = ssl.create_default_context(cadata=chain.root.decode())
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(chain.file, strict)
    handshake(chain.file, trusting(chain.root))


@pytest.mark.parametrize(
    "extensions",
    [
        PLAIN,
        [(x509.BasicConstraints(ca=True, path_length=None), True)],
        [(x509.BasicConstraints(ca=True, path_length=3), False)],
    ],
)
def test_a_companys_ca_is_accepted_without_what_strict_checks_want(tmp_path: Path, extensions: Extensions) -> None:
    chain = Chain(tmp_path, ca=extensions)
    handshake(chain.file, trusting(chain.root))


def test_a_ca_that_is_not_self_signed_ends_a_chain(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    handshake(chain.alone, trusting(chain.middle))


def test_the_systems_context_is_as_lenient() -> None:
    flags = client_context().verify_flags
    assert not flags & ssl.VERIFY_X509_STRICT
    assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert client_context().check_hostname


def test_who_verifies_nothing_accepts_anything(tmp_path: Path) -> None:
    handshake(Chain(tmp_path, days=(-9, -2), itself=True).file, client_context(verify=False), "another.example.com")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"days": (-9, -2)}, "it, or a CA above it, has expired"),
        ({"days": (2, 9)}, "is not valid yet"),
        ({"names": ("other.example.com",)}, "it is not for this host"),
        ({"itself": True}, "it is self-signed and not among the CAs in"),
        ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "does not let it be a server's"),
    ],
)
def test_what_is_wrong_with_a_chain_is_said(tmp_path: Path, made: dict[str, Any], words: str) -> None:
    chain = Chain(tmp_path, **made)
    assert words in refusal(chain.file, trusting(chain.root))


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (lambda chain: chain.file, "its issuer is not among the CAs in"),
        (lambda chain: chain.alone, "let the server send the certificates in between"),
    ],
)
def test_an_unknown_issuer_is_named_as_such(tmp_path: Path, served: Callable[[Chain], Path], words: str) -> None:
    (tmp_path / "other").mkdir()
    said = refusal(served(Chain(tmp_path)), trusting(Chain(tmp_path / "other", ca=PLAIN).middle))
    assert words in said or "not that of the CA that it names" in said


def test_a_certificate_for_another_host_needs_no_ca(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    said = refusal(chain.file, trusting(chain.root), "other.example.com")
    assert "correct the key baseURL to a name that it holds, or have one issued for other.example.com" in said
    assert "SSL_CERT_FILE" not in said


def test_a_parent_that_is_no_ca_is_refused_and_said(tmp_path: Path) -> None:
    chain = Chain(tmp_path, ca=[(x509.BasicConstraints(ca=False, path_length=None), True)])
    assert "is not marked as a CA" in refusal(chain.file, trusting(chain.root))
