"""Keys of GitHub Apps, made once per test process."""

from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True)
class KeyPair:
    """Both halves as PEM."""

    private: str
    public: str


@cache
def rsa_key(name: str = "first") -> KeyPair:
    """An RSA key as GitHub gives them; another one for each ``name``."""
    del name
    return _pem(rsa.generate_private_key(65537, 2048))


@cache
def ec_key() -> KeyPair:
    """A key of another kind."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


@cache
def locked_key() -> KeyPair:
    """A key with a passphrase."""
    return _pem(rsa.generate_private_key(65537, 2048), BestAvailableEncryption(b"passphrase"))


def _pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, lock: KeySerializationEncryption | None = None
) -> KeyPair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(private.decode(), public.decode())
