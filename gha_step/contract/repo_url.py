"""The URL of a repository as git writes it, taken apart: which server, which owner, which name. Pure.

It does not know where that server's API is: see `gha_step.github.endpoint`.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from gha_step.contract.quoting import quoted

MAX_LENGTH: Final = 1000  # characters; owner and repository have at most 39 and 100, a host 253
_SCP: Final = re.compile(r"(?:[^@:/\s]+@)?(?P<host>[A-Za-z0-9._-]+):(?P<path>.+)", re.ASCII)
_EXAMPLE: Final = "write it as for git clone, for example https://github.com/myorg/my-app"


@dataclass(frozen=True)
class RepoUrl:
    """A repository's URL, understood.

    ``text`` as written, which may hold a password. ``scheme``: ``http`` only where that is written; ``ssh`` also for
    ``git@host:owner/repo``. ``host`` in lower case, an IPv6 address without brackets. ``port`` only of http and https:
    an SSH port says nothing of the API. ``owner`` and ``repo`` as written, without ``.git``.
    """

    text: str = field(repr=False)
    scheme: Literal["https", "http", "ssh"]
    host: str
    port: int | None
    owner: str
    repo: str

    @property
    def full_name(self) -> str:
        """``owner/repo``."""
        return f"{self.owner}/{self.repo}"

    @property
    def without_password(self) -> str:
        """The URL as written, without what may be a secret in it. An SSH user name stays: it is none."""
        text = self.text.strip()
        start, scheme, rest = text.rpartition("://") if "://" in text else ("", "", text)
        if not scheme:
            return text
        authority, slash, path = rest.partition("/")
        user, at, place = authority.rpartition("@")
        kept = f"{user.partition(':')[0]}@" if at and self.scheme == "ssh" else ""
        return f"{start}{scheme}{kept}{place}{slash}{path}"


def parse_repo_url(text: str) -> RepoUrl:
    """The parts of ``https://``, ``http://`` and ``ssh://`` URLs and of ``git@host:owner/repo``.

    :raises ValueError: quoting the URL without its password, and saying what is wrong with it.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise ValueError(f"{quoted(text.strip())} {error}") from None


def _parse(text: str) -> RepoUrl:
    trimmed = text.strip()
    if len(trimmed) > MAX_LENGTH:
        raise ValueError(f"is {len(trimmed)} characters long; the maximum is {MAX_LENGTH}")
    if any(c.isspace() or not c.isprintable() for c in trimmed):
        raise ValueError(f"contains white space or a control character; {_EXAMPLE}")
    scheme, host, port, path = _split(trimmed)
    path = path.removeprefix("/").removesuffix("/").removesuffix(".git")
    owner, slash, repo = path.partition("/")
    if not slash or not owner or not repo:
        raise ValueError(f"does not end with the repository's owner and name; {_EXAMPLE}")
    if "/" in repo:
        raise ValueError(f"continues after the repository's owner and name; {_EXAMPLE}")
    for part in (owner, repo):
        if bad := part if part in (".", "..") else next((c for c in part if c in "?#%\\"), None):
            raise ValueError(f"contains {bad!r}; {_EXAMPLE}")
    return RepoUrl(text, scheme, host, port, owner, repo)


def _split(text: str) -> tuple[Literal["https", "http", "ssh"], str, int | None, str]:
    """Scheme, host, port, path."""
    if "://" not in text:
        found = _SCP.fullmatch(text)
        if found is None:
            raise ValueError(f"is not a repository URL; {_EXAMPLE}")
        return "ssh", found["host"].lower().rstrip("."), None, found["path"]
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"is not a valid URL; {_EXAMPLE}") from None
    host = (parts.hostname or "").rstrip(".")
    if "?" in text or "#" in text:
        raise ValueError(f"has a query or fragment; {_EXAMPLE}")
    if port == 0:
        raise ValueError(f"has port 0, which is not valid; {_EXAMPLE}")
    match parts.scheme:
        case "https" | "http" | "ssh" as scheme if host:
            return scheme, host, None if scheme == "ssh" else port, parts.path
        case "https" | "http" | "ssh":
            raise ValueError(f"has no host; {_EXAMPLE}")
        case _:
            raise ValueError(f"starts with neither https:// nor ssh://, and is not git@host:owner/repo; {_EXAMPLE}")
