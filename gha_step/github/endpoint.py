"""Where a GitHub server is and how it is reached: base URL, TLS and proxy, decided once for every client.

The dispatch and every other request use what is decided here.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gha_step.contract.repo_url import RepoUrl
from gha_step.github.errors import BadEndpoint

DEFAULT_API: Final = "https://api.github.com"
LONGEST: Final = 2_048  # characters of a base URL
# github.com under its other names: pages, and SSH for those who may use port 443 only.
_GITHUB_COM: Final = frozenset({"github.com", "www.github.com", "ssh.github.com"})


@dataclass(frozen=True)
class Endpoint:
    """One API base.

    ``base``: the whole URL without a trailing slash, lower-case host, e.g. ``https://ghe.example.com/api/v3``.
    ``host`` is ASCII (IDNA), an IPv6 address without brackets. ``path``: '' or ``/api/v3``.
    ``verify``: whether the server's certificate is checked. ``named_by``: the field in which the user
    wrote it, for messages; ``by_repo_url``: whether that is repoURL. ``names``: what the user calls other fields of the
    config, where not by their own names. ``storage``: it is no GitHub, but where one of
    them keeps artifacts, and whoever made this has checked its host.
    """

    base: str
    tls: bool
    host: str
    port: int
    path: str
    verify: bool = True
    named_by: str = field(default="the base URL", compare=False)
    by_repo_url: bool = field(default=False, compare=False)
    names: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    storage: bool = field(default=False, compare=False)

    def name_of(self, field: str) -> str:
        """What the user calls a field of the config."""
        return self.names.get(field, field)

    def fields(self, *before: str, address: bool = False) -> str:
        """Which fields of the config name the repository, and with ``address`` its server: for messages."""
        own = ["repoURL"] if self.by_repo_url else ["owner", "repo"]
        if address and not self.by_repo_url:
            own.append(self.named_by)
        *names, last = dict.fromkeys(map(self.name_of, [*before, *own]))
        return f"{', '.join(names)} or {last}" if names else last

    @property
    def not_a_github(self) -> str:
        """The question and the fix for an answer that does not come from GitHub's API."""
        return f"is {self.base} the API of a GitHub? Correct {self.named_by}"

    @cached_property
    def authority(self) -> str:
        """As in a Host header: the host, and the port unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @cached_property
    def names_runs(self) -> bool:
        """Whether this server is known to answer every dispatch with the run's ID."""
        return self.host == "api.github.com" or (self.host.startswith("api.") and self.host.endswith(".ghe.com"))

    @cached_property
    def web(self) -> str:
        """The base URL of this server's web pages, for links that GitHub's answer does not contain."""
        return f"{'https' if self.tls else 'http'}://{self.authority.removeprefix('api.')}"


@lru_cache(256)  # of texts alone: a changed Secret has another one
def resolve_endpoint(base_url: str | None, *, allow_http: bool, verify: bool = True) -> Endpoint:
    """The endpoint of a Secret's ``baseURL`` (``None`` or blank: github.com).

    The rule is go-github's ``WithEnterpriseURLs``, which Kargo uses: ``/api/v3/`` is added unless the path
    ends so, or the host starts with ``api.`` or contains ``.api.``. ``SUB.ghe.com`` is taken for ``api.SUB.ghe.com``.

    :param allow_http: whether plain http is allowed off loopback.
    :param verify: whether the server's certificate is checked.
    :raises BadEndpoint: with what is wrong. The URL is not repeated: it may contain a password.
    """
    text = (base_url or "").strip() or DEFAULT_API
    if len(text) > LONGEST:
        raise BadEndpoint(f"has {len(text)} characters; the maximum is {LONGEST}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadEndpoint("is not a URL such as https://ghe.example.com") from None
    if any(c.isspace() for c in text):
        raise BadEndpoint("must not contain white space")
    host = _host(parts)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise BadEndpoint("must not have a query or fragment")
    if any(not 33 <= ord(c) <= 126 for c in parts.path):
        raise BadEndpoint("must contain only printable ASCII characters in its path")
    if port == 0:
        raise BadEndpoint("has port 0, which is not a valid port")
    tls = parts.scheme == "https"
    if not (tls or allow_http or is_loopback(host)):
        raise BadEndpoint(
            f"must start with https:// (plain http to {host} would expose the token on the network; "
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


def endpoint_of(url: RepoUrl, *, allow_http: bool, verify: bool) -> Endpoint:
    """The API base of the server that ``url`` names. Source: facts, kargo-host, "Kargo Git credentials".

    :param allow_http: whether plain http is allowed off loopback.
    :param verify: whether the server's certificate is checked.
    :raises BadEndpoint: saying what is wrong; the URL is not repeated.
    """
    if url.host in _GITHUB_COM:
        api = DEFAULT_API
    elif url.host.endswith(".ghe.com") and not url.host.startswith("api."):
        api = f"https://api.{url.host}"
    else:
        host = f"[{url.host}]" if ":" in url.host else url.host
        scheme = "http" if url.scheme == "http" else "https"
        return resolve_endpoint(
            f"{scheme}://{host}" + (f":{url.port}" if url.port is not None else ""),
            allow_http=allow_http,
            verify=verify,
        )
    if url.scheme == "http":  # Kargo gives no credentials for such a URL, although this API is never asked by http
        resolve_endpoint(f"http://{url.host}", allow_http=allow_http)
    return resolve_endpoint(api, allow_http=allow_http, verify=verify)


def _host(parts: SplitResult) -> str:
    if parts.scheme not in ("https", "http"):
        raise BadEndpoint("must start with https://")
    if "@" in parts.netloc:
        raise BadEndpoint("must not contain a user name or password; put the token into accessToken")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise BadEndpoint("has no host")
    try:
        name = host if ":" in host else host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"[0-9a-z._-]+|[0-9a-fA-F:.]+(%25[0-9a-zA-Z]+)?", name):
        raise BadEndpoint("has a host that is not a valid name")
    return name


def is_loopback(host: str) -> bool:
    """Whether what is sent to it stays on this machine."""
    # Names are not resolved: otherwise DNS would decide where the token may go in plain text.
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
