"""A run's artifacts: which one is meant, where it is stored, and the one JSON object that it holds. Pure.

All of it is somebody else's: names, sizes, addresses, archives. Nothing is unpacked to a file, no name in an archive is
used as one, no more is unpacked than the object may be long, and the address, which is a credential, is never shown.

Source: https://docs.github.com/en/rest/actions/artifacts and facts/github-dispatch.md ("No API returns a run's …").
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from gha_step.contract.errors import StepError
from gha_step.contract.json_text import compact_json, has_more_values
from gha_step.contract.quoting import quoted
from gha_step.contract.secret import Token
from gha_step.contract.values import EXACT_FLOAT
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unclear
from gha_step.github.messages import Answer, entries, positive_id, text, when

MAX_OBJECT: Final = 256 << 10  # bytes
MAX_STORED: Final = 2 * MAX_OBJECT  # bytes of an archive with names, comments and what does not compress
MAX_DEPTH: Final = 20  # objects and lists, one in the other
MOST_VALUES: Final = 10_000  # and keys: each of them costs every call that is told of them
_MOST_FILES: Final = 100  # in an archive that is read at all: each takes as long as a small file's content
_A_FILE: Final = b"PK\x01\x02"  # begins each entry of an archive's directory
NAMED: Final = 5  # artifacts and files in a message
STORED_AS: Final = (0, 8)  # methods of zip: stored, deflated, which is all that uploads make
ENCRYPTED: Final = 0x1


class BadArtifact(StepError):
    """The artifact cannot give outputs, however often it is read: why, and what to do."""


class NoArtifact(BadArtifact):
    """There is none of this name."""


@dataclass(frozen=True)
class Artifact:
    """One artifact. ``created_at``: seconds since 1970 by GitHub's clock; ``size``: as GitHub tells it."""

    id: int
    name: str
    created_at: float
    expired: bool
    size: int


@dataclass(frozen=True)
class Stored:
    """Where an artifact's bytes are. ``target``: path and query, which open it to anybody."""

    endpoint: Endpoint
    target: Token


def artifacts(answer: Answer) -> tuple[Artifact, ...]:
    """The artifacts in a 200.

    :raises Unclear: they are none.
    """
    try:
        return tuple(_artifact(entry) for entry in entries(answer.json()["artifacts"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with the run's artifacts") from None


def _artifact(entry: dict[str, Any]) -> Artifact:
    name, size = entry["name"], entry.get("size_in_bytes")
    if not isinstance(name, str):
        raise TypeError("not a name")
    return Artifact(
        id=positive_id(entry["id"]),
        name=name,
        created_at=when(entry.get("created_at")) or 0.0,
        expired=entry.get("expired") is True,
        size=size if isinstance(size, int) else 0,
    )


def newest(found: Iterable[Artifact], name: str) -> Artifact | None:
    """The artifact of this name that was made last. IDs are in no order that GitHub documents."""
    return max((one for one in found if one.name == name), key=lambda one: one.created_at, default=None)


def others(found: Iterable[Artifact]) -> str:
    """The names of what there is in the place of an artifact, for a message."""
    names = list(dict.fromkeys(text(one.name) for one in found))
    if not names:
        return "the run has no artifacts"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"the run has {', '.join(map(repr, names[:NAMED]))}{more}"


# ---------------------------------------------------------------- where it is stored

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?"
)


def stored_at(answer: Answer, endpoint: Endpoint, hosts: frozenset[str]) -> Stored:
    """Where the redirect leads.

    :param hosts: names, of which each stands for itself and all below it.
    :raises Unclear: the answer is no redirect.
    :raises BadArtifact: it leads where nothing may be read.
    """
    location = answer.headers.get("location", "")
    if answer.status not in (302, 303, 307) or not location:
        raise Unclear(f"{endpoint.host} answered {answer.status} to the request for an artifact, and no redirect")
    found = _URL.fullmatch(location.partition("#")[0])
    if found is None:
        raise BadArtifact("GitHub's redirect to it has no valid address")
    scheme, host = found["scheme"], found["host"].strip("[]").lower().rstrip(".")
    own = host in (endpoint.host, urlsplit(endpoint.web).hostname)
    if scheme == "http" and endpoint.tls:
        raise BadArtifact(f"GitHub's redirect to it leads to {host} by http, which anybody on the way can read")
    if not own and not any(host == name or host.endswith(f".{name}") for name in hosts):
        raise BadArtifact(
            f"it is stored at {host}, which is neither {endpoint.host} nor in GHA_STEP_ARTIFACT_HOSTS: if this server "
            "stores its artifacts there, add it to that setting"
        )
    port = int(found["port"] or (443 if scheme == "https" else 80))
    if not 0 < port < 65_536:
        raise BadArtifact("GitHub's redirect to it has no valid address")
    query = answer.signed.reveal() if answer.signed is not None else ""
    return Stored(
        Endpoint(
            base=f"{scheme}://{host}",
            tls=scheme == "https",
            host=host,
            port=port,
            path="",
            verify=endpoint.verify or not own,
            named_by="GitHub's redirect to the artifact",
            storage=True,
        ),
        Token(f"{found['path'] or '/'}?{query}" if query else found["path"] or "/", "the address of the artifact"),
    )


# ---------------------------------------------------------------- what it holds


def outputs_of(answer: Answer) -> str:
    """The JSON object that an artifact's bytes hold, as compact text that every host keeps as it is.

    Integers that a double would change are strings of digits; what is null in an object is left out.

    :raises BadArtifact: it holds none.
    """
    stored = answer.body
    content = _only_file(stored) if stored.startswith((b"PK\x03\x04", b"PK\x05\x06")) else stored
    if len(content) > MAX_OBJECT:
        raise too_large(len(content))
    if has_more_values(content, MOST_VALUES):
        raise BadArtifact(f"its file has more than {MOST_VALUES:,} values and keys: write only what later steps use")
    try:
        value = Answer(200, {}, content.removeprefix(b"\xef\xbb\xbf"), answer.secrets).json(unique=True)
    except ValueError as error:
        raise BadArtifact(f"its file is not a JSON object: {error}: write it with jq or toJSON()") from None
    if not isinstance(value, dict):
        raise BadArtifact('its file is JSON, but not an object: write one such as {"url": "…"}')
    if _is_deeper(value, MAX_DEPTH):
        raise BadArtifact(f"its JSON is nested deeper than {MAX_DEPTH} levels: write less of it")
    return compact_json(_kept(value))


def too_large(size: int | None = None) -> BadArtifact:
    """What is refused as longer than outputs may be; ``size``: bytes, where they are known."""
    what = f"more than {MAX_OBJECT} bytes" if size is None else f"{size} bytes"
    return BadArtifact(f"its file has {what}; the maximum is {MAX_OBJECT}: write only what later steps use")


def check_size(artifact: Artifact) -> None:
    """Refuse by what GitHub tells of it, before anything is read. :raises BadArtifact: it is too large."""
    if artifact.size > MAX_STORED:
        raise too_large(artifact.size)


def _only_file(archive: bytes) -> bytes:
    import zipfile  # 10 ms, and only those pay who read outputs
    import zlib

    if archive.count(_A_FILE) > _MOST_FILES:
        raise BadArtifact(f"it holds more than {_MOST_FILES} files: upload one file with a JSON object")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            files = [entry for entry in opened.infolist() if not entry.is_dir()]
            if len(files) != 1:
                some = ", ".join(quoted(entry.filename) for entry in files[:NAMED])
                what = f"{len(files)} files ({some}{', …' if len(files) > NAMED else ''})" if files else "no file"
                raise BadArtifact(f"it holds {what}: upload one file with a JSON object")
            entry = files[0]
            if entry.flag_bits & ENCRYPTED or entry.compress_type not in STORED_AS:
                raise BadArtifact(
                    "its archive is encrypted or packed in a way that uploads are not: upload the file itself"
                )
            with opened.open(entry) as packed:
                content = packed.read(MAX_OBJECT + 1)
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        EOFError,
        OSError,
        ValueError,
        OverflowError,
        RuntimeError,
        IndexError,  # of a file without a name
    ):
        raise BadArtifact("its archive is damaged: run the workflow again") from None
    if len(content) > MAX_OBJECT:
        raise too_large()
    return content


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _kept(value: Any) -> Any:
    match value:
        case dict():
            return {name: _kept(one) for name, one in value.items() if one is not None}
        case list():
            return [_kept(one) for one in value]
        case int() if abs(value) > EXACT_FLOAT:
            return str(value)
    return value
