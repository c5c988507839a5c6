"""Where a GitHub is, and how to get there: base URL, TLS and proxy, decided once for every client.

What is decided here holds for the dispatch and for every other request alike (facts: design, "One decision").
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gha_step.github.errors import BadEndpoint

DEFAULT_API: Final = "https://api.github.com"


@dataclass(frozen=True)
class Endpoint:
    """One API base.

    ``base``: the whole URL without a trailing slash, lower-case host, e.g. ``https://ghe.example.com/api/v3``.
    ``host`` is ASCII (IDNA), an IPv6 address without brackets. ``path``: '' or ``/api/v3``.
    ``verify``: whether the server's certificate is checked. ``named_by``: for messages, what a user wrote it in;
    ``by_repo_url``: whether that is repoURL.
    """

    base: str
    tls: bool
    host: str
    port: int
    path: str
    verify: bool = True
    named_by: str = field(default="the base URL", compare=False)
    by_repo_url: bool = field(default=False, compare=False)

    def fields(self, *before: str, address: bool = False) -> str:
        """Which fields of the config name the repository, and with ``address`` its server: for messages."""
        own = ["repoURL"] if self.by_repo_url else ["owner", "repo"]
        if address and not self.by_repo_url:
            own.append(self.named_by)
        *names, last = [*before, *own]
        return f"{', '.join(names)} or {last}" if names else last

    @property
    def not_a_github(self) -> str:
        """What to ask and to do where an answer is none that a GitHub's API gives."""
        return f"is {self.base} the API of a GitHub? Correct {self.named_by}"

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port: as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def names_runs(self) -> bool:
        """Whether every dispatch here is known beforehand to be answered with the run's ID."""
        return self.host == "api.github.com" or (self.host.startswith("api.") and self.host.endswith(".ghe.com"))

    @property
    def web(self) -> str:
        """The base of this server's pages, for links that GitHub does not give itself."""
        return f"{'https' if self.tls else 'http'}://{self.authority.removeprefix('api.')}"


def resolve_endpoint(base_url: str | None, *, allow_http: bool, verify: bool = True) -> Endpoint:
    """The endpoint of a Secret's ``baseURL`` (``None`` or blank: github.com).

    The rule is go-github's ``WithEnterpriseURLs``, which Kargo uses: ``/api/v3/`` is added unless the path
    ends so, or the host starts with ``api.`` or contains ``.api.``. ``SUB.ghe.com`` is taken for ``api.SUB.ghe.com``.

    :param allow_http: whether plain http is allowed off loopback.
    :param verify: whether the server's certificate is checked.
    :raises BadEndpoint: saying what is wrong with it. The URL itself is not repeated: it may hold a password.
    """
    text = (base_url or "").strip() or DEFAULT_API
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadEndpoint("is not a URL such as https://ghe.example.com") from None
    if any(c.isspace() for c in text):
        raise BadEndpoint("must hold no white space")
    host = _host(parts)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise BadEndpoint("must have no query and no fragment")
    if any(not 33 <= ord(c) <= 126 for c in parts.path):
        raise BadEndpoint("must hold no control character, and only ASCII in its path")
    if port == 0:
        raise BadEndpoint("names the port 0, which is none")
    tls = parts.scheme == "https"
    if not (tls or allow_http or _is_loopback(host)):
        raise BadEndpoint(
            f"must start with https:// (plain http to {host} would show the token to everybody on the way; "
            "GHA_STEP_ALLOW_HTTP=true allows it)"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/api/v3") and not host.startswith("api.") and ".api." not in host:
        path += "/api/v3"
    if host.endswith(".ghe.com") and not host.startswith("api.") and path == "/api/v3":
        host, path = f"api.{host}", ""  # GitHub Enterprise Cloud with data residency has its API there
    endpoint = Endpoint(base="", tls=tls, host=host, port=port or (443 if tls else 80), path=path)
    base = f"{'https' if tls else 'http'}://{endpoint.authority}{path}"
    return replace(endpoint, base=base, verify=verify)


def _host(parts: SplitResult) -> str:
    if parts.scheme not in ("https", "http"):
        raise BadEndpoint("must start with https://")
    if "@" in parts.netloc:
        raise BadEndpoint("must hold no user name or password: the token belongs into accessToken")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise BadEndpoint("names no host")
    try:
        name = host if ":" in host else host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"[0-9a-z._-]+|[0-9a-fA-F:.]+(%25[0-9a-zA-Z]+)?", name):
        raise BadEndpoint("names a host that is no valid name")
    return name


def _is_loopback(host: str) -> bool:
    # Names are not resolved for this: then the DNS server would decide where the token may go in plaintext.
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
