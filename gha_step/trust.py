"""Whom this process trusts over TLS, and what is wrong with a certificate that it does not.

A server's chain is accepted where Go's programs accept it, Kargo among them. Python 3.13 is stricter by default: it
refuses the CAs of many companies, whose basic constraints are not critical or which have no key usage or no key
identifiers (https://docs.python.org/3/library/ssl.html#ssl.VERIFY_X509_STRICT). As in Go, any certificate among the CAs
ends a chain, also one that is not self-signed.
"""

import errno
import os
import ssl
from pathlib import Path
from typing import Final


def client_context(*, verify: bool = True) -> ssl.SSLContext:
    """For connections to servers whose chain ends in the system's CAs, or those in SSL_CERT_FILE and SSL_CERT_DIR."""
    if verify:
        return as_go_does(ssl.create_default_context())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def as_go_does(context: ssl.SSLContext) -> ssl.SSLContext:
    """``context``, which now accepts the chains that Go accepts."""
    context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_STRICT) | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def has_authorities(context: ssl.SSLContext) -> bool:
    """Whether its CAs were loaded. Nothing is said where they could not be read: no file descriptor was left."""
    return bool(context.cert_store_stats()["x509"])


def check_authorities(context: ssl.SSLContext) -> None:
    """Before a certificate is called untrusted. :raises OSError: the CAs could not be read, so nothing is known."""
    file = ssl.get_default_verify_paths().cafile or os.devnull  # in truth it is None where there is none
    if not has_authorities(context) and b"CERTIFICATE-----" in Path(file).read_bytes():
        raise OSError(errno.EMFILE, f"the CAs in {file} could not be read")
    os.close(os.open(os.devnull, os.O_RDONLY))  # a directory of CAs is read with each handshake


_ADD: Final = "add {missing} there, or set SSL_CERT_FILE to a file that contains it"
_ANEW: Final = "have it reissued"
# By OpenSSL's number: what is wrong, and the fix (https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/).
_WRONG: Final = {
    2: ("a certificate between it and a known CA is missing", "let the server send the whole chain"),
    7: ("its signature is not that of the CA that it names", f"{_ADD}: the one there may be an older one"),
    9: ("it, or a CA above it, is not valid yet", "check the clocks of the server and of this machine"),
    10: ("it, or a CA above it, has expired", "renew it on the server, or correct this machine's clock"),
    18: ("it is self-signed and not among the CAs in {file}", _ADD.format(missing="it")),
    19: ("its chain ends in a CA that is not among the CAs in {file}", _ADD),
    20: ("its issuer is not among the CAs in {file}", f"{_ADD}; or let the server send the certificates in between"),
    21: ("its issuer is not among the CAs in {file}", f"{_ADD}; or let the server send the certificates in between"),
    25: ("its chain is longer than a CA in it allows", _ANEW),
    26: ("its extended key usage does not let it be a server's", _ANEW),
    62: ("it is not for this host", "correct {named_by} to a name that it holds, or have one issued for {host}"),
    64: ("it is not for this address", "correct {named_by} to a name that it holds, or have one issued for {host}"),
    66: ("its key is too small", _ANEW),
    67: ("the key of a CA above it is too small", _ANEW),
    68: ("it is signed with a hash that is too weak", _ANEW),
    79: ("a certificate above it is not marked as a CA (basicConstraints CA:TRUE)", "have that CA reissued"),
}


def wrong_with(error: ssl.SSLCertVerificationError, host: str, named_by: str) -> str:
    """What is wrong with ``host``'s certificate, and the fix.

    :param named_by: what ``host`` is written in.
    """
    what, fix = _WRONG.get(error.verify_code, ("OpenSSL refuses it", _ANEW))
    names = {"file": _ca_file(), "missing": "the missing CA", "host": host, "named_by": named_by}
    return f"{what.format(**names)} ({error.verify_message.rstrip('.')}): {fix.format(**names)}"


def _ca_file() -> str:
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or paths.openssl_cafile
