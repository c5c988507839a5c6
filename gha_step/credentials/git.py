"""Kargo's Git credentials: which Secret counts for a repository's URL, and what it holds. As Kargo itself does it.

In the project's namespace, then in the shared one: the labelled Secrets in the order of their names, and the first
whose ``repoURL``, a URL or an expression, matches counts. After a match nothing else is tried.

Source: facts, kargo-host, "Kargo Git credentials"; for what they leave open, Kargo's ``pkg/urls/git.go`` and
``pkg/credentials``.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.contract.json_text import parse_json
from gha_step.contract.repo_url import RepoUrl
from gha_step.contract.secret import Token
from gha_step.credentials.go_regexp import BadRegexp, compile_regexp
from gha_step.credentials.secrets import LabelledSecret, SecretReader, text_of
from gha_step.credentials.token_shape import unfit
from gha_step.telemetry import log

REPO_URL: Final = "repoURL"
IS_REGEX: Final = "repoURLIsRegex"
USERNAME: Final = "username"
PASSWORD: Final = "password"  # noqa: S105  the name of a key
CLIENT_ID: Final = "githubAppClientID"
APP_ID: Final = "githubAppID"
INSTALLATION_ID: Final = "githubAppInstallationID"
PRIVATE_KEY: Final = "githubAppPrivateKey"
SSH_KEY: Final = "sshPrivateKey"
LABEL: Final = "kargo.akuity.io/cred-type: git"
SCOPES: Final = "kargo.akuity.io/github-token-scopes"  # annotation: {project: [repository, …]} as JSON

_SCP: Final = re.compile(r"((?:[\w-]+@)?[\w-]+(?:\.[\w-]+)*)(?::(.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Password:
    """A token that stands in the Secret. ``subject``: the Secret, for messages."""

    subject: str
    token: Token


@dataclass(frozen=True)
class GitHubApp:
    """An installed GitHub App. ``issuer``: its client ID or its ID. ``private_key``: PEM, not yet looked into."""

    subject: str
    issuer: str
    installation: int
    private_key: Token
    private_key_key: ClassVar[str] = PRIVATE_KEY  # for messages


GitCredentials = Password | GitHubApp


@dataclass(frozen=True)
class _Found:
    """``name``: the Secret, and ``subject``: with its project, for messages."""

    name: str
    subject: str
    secret: LabelledSecret = field(repr=False)


def git_credentials(secrets: SecretReader, project: str, shared: str | None, url: RepoUrl) -> GitCredentials:
    """The credentials for the repository ``url``, read anew.

    :param shared: the namespace of credentials that all projects share; ``None``: there is none.
    :raises CredentialsError: there are none, or they are unfit; the message names project, Secret and key.
    :raises SecretsUnavailable: they cannot be read now.
    """
    found = _lookup(secrets, project, shared, url)
    return _read(found, project, url)


def _lookup(secrets: SecretReader, project: str, shared: str | None, url: RepoUrl) -> _Found:
    skipped: list[str] = []
    own = _by_name(secrets.labelled(project))
    found = _match(own, project, project, url, skipped)
    if found is not None:
        return found
    elsewhere = ""
    if shared and shared != project:
        try:
            theirs = _by_name(secrets.labelled(shared))
        except SecretsUnavailable as error:
            why = f"{_why_none(own, project, url)}{_without_label(secrets, project, url)}; and {error}"
            raise SecretsUnavailable(why, error.retry_after or 10.0) from None
        except CredentialsError as error:
            why = f"{_why_none(own, project, url)}{_without_label(secrets, project, url)}; else: {error}"
            raise CredentialsError(why) from None
        found = _match(theirs, project, shared, url, skipped)
        if found is not None:
            return found
        elsewhere = f", and the namespace {shared} has none that matches"
    new = f"; create one with {REPO_URL}, {USERNAME} and {PASSWORD} (a token), or with a GitHub App"
    ssh = (
        f"; for Kargo an ssh URL and an https URL are different, and config.{REPO_URL} is ssh"
        if url.scheme == "ssh"
        else ""
    )
    bad = f"; skipped, because their {REPO_URL} is not a regular expression: {', '.join(skipped)}" if skipped else ""
    fix = _without_label(secrets, project, url) or new
    raise CredentialsError(f"{_why_none(own, project, url)}{elsewhere}{fix}{ssh}{bad}")


def _by_name(secrets: Iterable[LabelledSecret]) -> list[LabelledSecret]:
    return sorted(secrets, key=lambda secret: secret.name)


def _match(
    candidates: Iterable[LabelledSecret], project: str, namespace: str, url: RepoUrl, skipped: list[str]
) -> _Found | None:
    """The first that counts for ``url``; those whose expression is none are skipped, and named in ``skipped``."""
    for secret in candidates:
        place = "" if namespace == project else f" in the namespace {namespace}"
        name = f"the Secret {secret.name}{place}"
        subject = f"project {project}: {name}"
        try:
            if matches(secret.data, url.text):
                return _Found(name, subject, secret)
        except BadRegexp as error:
            log.warning("%s: skipped, because its %s %s", subject, REPO_URL, error)
            skipped.append(f"{namespace}/{secret.name}")
        except ImportError:  # to skip it could choose other credentials than Kargo does
            raise CredentialsError(
                f"{subject}: its {REPO_URL} is an expression ({IS_REGEX}), which gha-step cannot match here: the "
                "package google-re2 is not installed (there is none for Python 3.15 yet); run gha-step on Python "
                "3.11 to 3.14, or write the repository's URL there"
            ) from None
    return None


def _why_none(own: Sequence[LabelledSecret], project: str, url: RepoUrl) -> str:
    has = f"no Secret with the label {LABEL}"
    if len(own) == 1:
        has = f"1 Secret with the label {LABEL}, which does not match config.{REPO_URL}"
    elif own:
        has = f"{len(own)} Secrets with the label {LABEL}, none of which matches config.{REPO_URL}"
    return f"project {project}: there are no Git credentials for {url.full_name} on {url.host}: its namespace has {has}"


def _without_label(secrets: SecretReader, project: str, url: RepoUrl) -> str:
    """That one would match, and lacks the label; empty if there is none, or it cannot be told."""
    for secret in _by_name(secrets.unlabelled(project)):
        try:
            if matches(secret.data, url.text):
                label = LABEL.replace(": ", "=")
                fix = f"kubectl label secret {secret.name} --namespace {project} --overwrite {label}"
                return f"; its Secret {secret.name} matches, but lacks the label: {fix}"
        except (BadRegexp, ImportError):
            continue
    return ""


def matches(data: Mapping[str, bytes], url: str) -> bool:
    """Whether a Secret with this data counts for ``url``, as far as its own URL goes.

    :raises BadRegexp: its expression is none.
    :raises ImportError: expressions cannot be matched here.
    """
    if REPO_URL not in data:
        return False
    try:
        own = data[REPO_URL].decode()
    except UnicodeDecodeError:
        return False
    normal = normalised(url)
    if data.get(IS_REGEX, b"").strip() != b"true":
        return normalised(own) == normal
    # An editor ends a file with a line feed, which no URL holds.
    regexp = compile_regexp(own.rstrip("\r\n"))
    return any(regexp.search(text) is not None for text in (url, normal))


def normalised(url: str) -> str:
    """The form in which Kargo compares two URLs of repositories; what has none is given back as it is.

    Without white space around it, in lower case, without user and password (of ssh, these stay), one trailing slash and
    then ``.git``; ``git@host:owner/repo`` becomes ssh. A URL with a query, or with white space within, is unchanged.
    """
    spaced = "".join(" " if _is_blank(c) else c for c in unquote(url))
    if " " in spaced.strip(" "):
        return url
    plain = "".join(c for c in url if not _is_blank(c)).lower()
    if not plain:
        return url
    if plain.startswith(("http://", "https://", "ssh://")):
        try:
            parts = urlsplit(plain)
            _ = parts.port
        except ValueError:
            return url
        if parts.query:
            return url
        authority = parts.netloc if parts.scheme == "ssh" else parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=authority, path=_bare(parts.path)))
    found = _SCP.fullmatch(plain)
    if found is None:
        return url
    path = _bare(found[2] or "")
    return f"ssh://{found[1]}/{path}" if path else f"ssh://{found[1]}"


def _bare(path: str) -> str:
    return path.removesuffix("/").removesuffix(".git")


def _is_blank(c: str) -> bool:
    return c.isspace() or not c.isprintable()


# ---------------------------------------------------------------- what the Secret holds


def _read(found: _Found, project: str, url: RepoUrl) -> GitCredentials:
    """Password before App before SSH key, which is the order in which Kargo asks."""
    subject, data = found.subject, found.secret.data
    if USERNAME in data and PASSWORD in data:
        return Password(subject, _token(data, found))
    if _has_app(data):
        _check_scope(found, project, url)
        return read_app(data, subject)
    if data.get(SSH_KEY):
        raise CredentialsError(
            f"{subject}: it matches {url.full_name}, but has only an SSH key, which does not work for GitHub's API; "
            f"add {USERNAME} and {PASSWORD} (a token), or use a GitHub App"
        )
    raise CredentialsError(
        f"{subject}: it matches {url.full_name}, but {_lacks(data)}; give it {USERNAME} and {PASSWORD} (a token), or "
        f"{CLIENT_ID}, {INSTALLATION_ID} and {PRIVATE_KEY}"
    )


def _lacks(data: Mapping[str, bytes]) -> str:
    for present, missing in ((USERNAME, PASSWORD), (PASSWORD, USERNAME)):
        if present in data:
            return f"the key {missing} is missing"
    if not any(key in data for key in (CLIENT_ID, APP_ID, INSTALLATION_ID, PRIVATE_KEY)):
        return "has no credentials"
    issuer = APP_ID if data.get(APP_ID, b"").strip() else CLIENT_ID
    empty = [key for key in (issuer, INSTALLATION_ID, PRIVATE_KEY) if not data.get(key, b"").strip()]
    return f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} missing or empty"


def _token(data: Mapping[str, bytes], found: _Found) -> Token:
    subject = found.subject
    for key in (USERNAME, PASSWORD):
        if not text_of(data, key, subject):
            raise CredentialsError(
                f"{subject}: the key {key} is empty, and Kargo needs both {USERNAME} and {PASSWORD}; put a GitHub "
                f"token into {PASSWORD}"
            )
    token = text_of(data, PASSWORD, subject)
    if (why := unfit(token)) is not None:
        raise CredentialsError(f"{subject}: the key {PASSWORD} {why}")
    return Token(token, f"the token of {found.name}")


def _has_app(data: Mapping[str, bytes]) -> bool:
    issuer = data.get(CLIENT_ID, b"").strip() or data.get(APP_ID, b"").strip()
    return bool(issuer and data.get(INSTALLATION_ID, b"").strip() and data.get(PRIVATE_KEY, b"").strip())


def read_app(data: Mapping[str, bytes], subject: str, *, installed: bool = True) -> GitHubApp:
    """The App whose keys a Secret holds. ``installed`` false: without the installation's ID, its number is 0.

    :raises CredentialsError: they are unfit.
    """
    issuer_key = CLIENT_ID if data.get(CLIENT_ID, b"").strip() else APP_ID
    issuer = text_of(data, issuer_key, subject)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", issuer) or (issuer_key == APP_ID and not issuer.isdigit()):
        raise CredentialsError(
            f"{subject}: the key {issuer_key} is not the "
            f"{'client ID' if issuer_key == CLIENT_ID else 'ID'} of a GitHub App; take it from the App's settings page"
        )
    installation = text_of(data, INSTALLATION_ID, subject) or ("" if installed else "0")
    if not re.fullmatch(r"[0-9]{1,18}", installation, re.ASCII):
        raise CredentialsError(
            f"{subject}: the key {INSTALLATION_ID} is not a number; the ID is at the "
            "end of the URL of the installation's page"
        )
    return GitHubApp(subject, issuer, int(installation), _private_key(data, subject))


def _private_key(data: Mapping[str, bytes], subject: str) -> Token:
    """PEM, or base64 of PEM."""
    text = text_of(data, PRIVATE_KEY, subject)
    if not text.startswith("-----BEGIN"):
        try:
            text = base64.b64decode("".join(text.split()), validate=True).decode().strip()
        except (binascii.Error, ValueError):
            text = ""
    if not text.startswith("-----BEGIN"):
        raise CredentialsError(
            f"{subject}: the key {PRIVATE_KEY} is neither PEM (-----BEGIN …) nor base64 of it; store the whole "
            ".pem file that GitHub gave for the App"
        )
    return Token(text)


def _check_scope(found: _Found, project: str, url: RepoUrl) -> None:
    """An operator may have limited which projects get tokens for which repositories; Kargo holds to it, so do we."""
    annotation = found.secret.annotations.get(SCOPES)
    if not annotation:
        return
    try:
        scopes = parse_json(annotation.encode())
    except ValueError:
        scopes = None
    if not isinstance(scopes, dict):
        raise CredentialsError(
            f"{found.subject}: its annotation {SCOPES} is not a JSON object, so no project may use it; correct it"
        )
    allowed = scopes.get(project)
    names = [name.lower() for name in allowed if isinstance(name, str)] if isinstance(allowed, list) else []
    if url.repo.lower() not in names:
        raise CredentialsError(
            f"{found.subject}: its annotation {SCOPES} does not allow this project a token for {url.repo}; add it "
            "there, or create credentials in the project's own namespace"
        )
