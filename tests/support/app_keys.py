"""Keys of GitHub Apps, from three primes: to look for new ones takes each worker half a second."""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

_PRIMES: Final = (2**1024 - 105, 15 * 2**1020 - 299, 7 * 2**1021 - 351)
_EXPONENT: Final = 65537
_NAMES: Final = ("first", "second", "locked")  # a product of two of the three each


@dataclass(frozen=True)
class KeyPair:
    """Both halves as PEM."""

    private: str
    public: str


@cache
def rsa_key(name: str = "first") -> KeyPair:
    """An RSA key as GitHub gives them; another one for each of the ``_NAMES``."""
    return _pem(_rsa(name))


@cache
def ec_key() -> KeyPair:
    """A key of another kind."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


@cache
def locked_key() -> KeyPair:
    """A key with a passphrase."""
    return _pem(_rsa("locked"), BestAvailableEncryption(b"passphrase"))


def _rsa(name: str) -> rsa.RSAPrivateKey:
    p, q = list(combinations(_PRIMES, 2))[_NAMES.index(name)]
    private = rsa.rsa_recover_private_exponent(_EXPONENT, p, q)
    public = rsa.RSAPublicNumbers(_EXPONENT, p * q)
    crt = (rsa.rsa_crt_dmp1(private, p), rsa.rsa_crt_dmq1(private, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(p, q, private, *crt, public).private_key(unsafe_skip_rsa_key_validation=True)


def _pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, lock: KeySerializationEncryption | None = None
) -> KeyPair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(private.decode(), public.decode())
