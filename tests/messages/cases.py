"""Each mistake that users make, made against the emulated GitHub through the real step: what the host is told.

The table in docs/messages.md is made from this, and a test holds each row against the server's answer.
"""

import re
import tempfile
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.kubernetes import KubernetesSecrets
from gha_step.credentials.secrets import SecretReader
from gha_step.emulator import EXAMPLE_TOKEN, Annotation, Answer, GitHub, Job, Repository, Response, Token, serve
from gha_step.emulator.state import zipped
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import Clock
from tests.support.api_server import ApiServer, answer, as_secret, serving, status
from tests.support.app_keys import locked_key, rsa_key
from tests.support.calls import config
from tests.support.certificates import Authority
from tests.support.clock import START, VirtualClock
from tests.support.cluster import api_at
from tests.support.core import Program
from tests.support.secrets import write_secret

SERVER: Final = "github.example.com"
SHARED: Final = "kargo-shared-resources"
DISPATCH: Final = "gha-dispatch-workflow"
WAIT: Final = "gha-wait-for-workflow"
CANCEL: Final = "gha-cancel-workflow"
CLONE: Final = "{url}/myorg/my-app"
BY_NOTHING: Final[dict[str, Any]] = {"credentials": ..., "owner": ..., "repo": ...}
OTHER_REPO: Final = {"repoURL": "{url}/myorg/other"}
_RUN: Final[dict[str, Any]] = {
    "runID": "17000000001",
    **dict.fromkeys(("workflowFile", "ref", "inputs", "timeout"), ...),
}
OF_STEP: Final[dict[str, dict[str, Any]]] = {
    DISPATCH: {},
    WAIT: {**_RUN, "expectedConclusion": "success"},
    CANCEL: _RUN,
}

TYPED: Final = """
name: Typed
on:
  workflow_dispatch:
    inputs:
      size: {type: choice, options: [small, large]}
      dry_run: {type: boolean}
jobs: {}
"""


@dataclass(frozen=True)
class Case:
    """One mistake. ``words``: what its message must hold besides the subject.

    ``config``: changes of the example's; ``{url}`` in it is the address of the emulated GitHub. ``secret``: what the
    Secret `github` holds; ``git``: what Kargo's Git credentials hold, and then the repository is named by ``repoURL``.
    ``cluster``: Secrets are read from this Kubernetes.
    """

    mistake: str
    words: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[GitHub, Repository], None] = lambda github, repository: None
    secret: dict[str, str] | None = None  # None: the right one
    git: dict[str, str] | None = None
    cluster: Callable[[ApiServer], None] | None = None
    generation: str = "github.com"
    base_url: str | None = None
    tls: bool = False
    kind: str = DISPATCH


def _token(**changes: Any) -> Callable[[GitHub, Repository], None]:
    def prepare(github: GitHub, repository: Repository) -> None:
        github.remove_token(EXAMPLE_TOKEN)
        github.add_token(Token(EXAMPLE_TOKEN, **changes))

    return prepare


def _set(**attributes: Any) -> Callable[[GitHub, Repository], None]:
    def prepare(github: GitHub, repository: Repository) -> None:
        for name, value in attributes.items():
            setattr(repository, name, value)

    return prepare


def _website(status: int, content_type: str, body: bytes) -> Callable[[GitHub, Repository], None]:
    """Whatever is asked, this is the answer."""

    def prepare(github: GitHub, repository: Repository) -> None:
        github.faults.add(Answer(Response(status, (("Content-Type", content_type),), body)), times=None)

    return prepare


def _refuses(status: int, words: str) -> Callable[[GitHub, Repository], None]:
    """GitHub's own words for what the emulator does not know, as users reported them."""
    body = {"message": words, "documentation_url": "https://docs.github.com/rest", "status": str(status)}

    def prepare(github: GitHub, repository: Repository) -> None:
        github.faults.add(Answer(Response.of(status, body)), "dispatch", times=None)

    return prepare


def _app(
    *, key: str = "first", suspended: bool = False, repositories: tuple[str, ...] | None = None
) -> Callable[[GitHub, Repository], None]:
    """An App with the public half of this key, installed for these repositories."""

    def prepare(github: GitHub, repository: Repository) -> None:
        installation = github.add_installation(github.add_app(rsa_key(key).public), repositories=repositories)
        installation.suspended = suspended

    return prepare


def _app_secret(**changes: str) -> dict[str, str]:
    whole = {
        "githubAppClientID": "Iv23example",
        "githubAppInstallationID": "815",
        "githubAppPrivateKey": rsa_key("first").private,
    }
    return whole | changes


def _forbidden(verb: str, what: str, group: str = 'in API group ""') -> Callable[[ApiServer], None]:
    """As a real API server says it."""
    user = "system:serviceaccount:demo:default"
    words = f'{what} is forbidden: User "{user}" cannot {verb} resource "secrets" {group} in the namespace "demo"'

    def prepare(server: ApiServer) -> None:
        server.scripted.extend([answer(403, status(403, "Forbidden", words))] * 10)

    return prepare


def _listing(*answers: list[str] | None) -> Callable[[ApiServer], None]:
    """One list of Secrets after the other, each for the repository of its name; ``None``: it may not be listed."""
    user = "system:serviceaccount:demo:default"
    words = f'secrets is forbidden: User "{user}" cannot list resource "secrets" in the namespace "{SHARED}"'

    def listed(name: str) -> dict[str, Any]:
        # By an expression: the address of the emulated GitHub is not known here.
        data = LOGIN | {"repoURL": "my-app$" if name == "git" else f"{name}$", "repoURLIsRegex": "true"}
        return dict(as_secret(name, {key: value.encode() for key, value in data.items()}))

    def prepare(server: ApiServer) -> None:
        for names in answers * 5:
            whole = {"kind": "SecretList", "metadata": {}, "items": [listed(name) for name in names or ()]}
            denied = answer(403, status(403, "Forbidden", words))
            server.scripted.append(denied if names is None else answer(200, whole))

    return prepare


def _run(github: GitHub, repository: Repository) -> None:
    github.start_run(repository, actor="octocat", inputs={"environment": "test", "image_tag": "v1"})


def _run_and(then: Callable[[GitHub, Repository], None]) -> Callable[[GitHub, Repository], None]:
    def prepare(github: GitHub, repository: Repository) -> None:
        _run(github, repository)
        then(github, repository)

    return prepare


def _failed(github: GitHub, repository: Repository) -> None:
    error = Annotation("no image myorg/my-app:1.10", "Deploy", "deploy/run.sh", 12)
    github.runs[0].finish("failure", jobs=[Job("deploy", ("Build", "Test"), "Test", annotations=(error,))])


def _replaced(github: GitHub, repository: Repository) -> None:
    github.runs[0].set_status("queued")
    github.runs[0].cancel()


def _disable(github: GitHub, repository: Repository) -> None:
    workflow = repository.workflow("deploy.yml")
    assert workflow is not None
    workflow.state = "disabled_manually"


def _without_trigger(github: GitHub, repository: Repository) -> None:
    repository.add_workflow("push.yml", "name: Push\non: push\njobs: {}\n")


def _typed(github: GitHub, repository: Repository) -> None:
    repository.add_workflow("typed.yml", TYPED)


HTML: Final = ("text/html", b"<!doctype html><title>Welcome</title>")
LOGIN: Final = {"username": "kargo", "password": EXAMPLE_TOKEN}

DISPATCHES: Final = (
    Case("wrong token", ("Bad credentials", "renew"), secret={"accessToken": "ghp_revoked"}),
    Case(
        "fine-grained token without the permission",
        ("Resource not accessible by personal access token", "Actions: read and write"),
        prepare=_token(kind="fine-grained", actions="read"),
    ),
    Case(
        "classic token without the scope",
        ("scope repo",),
        prepare=_token(kind="classic", actions="read", scopes=()),
    ),
    Case(
        "App without the permission",
        ("Resource not accessible by integration", "Actions: write"),
        prepare=_token(kind="installation", actions="read"),
    ),
    Case("SSO not authorised", ("single sign-on",), prepare=_token(sso_authorized=False)),
    Case("repository not found or invisible", ("cannot see", "myorg/nothing"), config={"repo": "nothing"}),
    Case(
        "repository renamed",
        ("is now myorg/renamed",),
        prepare=lambda github, repository: github.rename_repository("myorg/my-app", "myorg/renamed"),
    ),
    Case("repository archived", ("archived", "unarchive"), prepare=_set(archived=True)),
    Case(
        "workflow file missing", ("default branch main has no", "nothing.yml"), config={"workflowFile": "nothing.yml"}
    ),
    Case(
        "workflow without workflow_dispatch",
        ("workflow_dispatch",),
        config={"workflowFile": "push.yml", "inputs": {}},
        prepare=_without_trigger,
    ),
    Case("workflow disabled", ("enable the workflow",), prepare=_disable),
    Case("ref not found", ("No ref found", "push it"), config={"ref": "nothing"}),
    Case("a commit SHA as ref", ("commit SHA", "branch or tag"), config={"ref": "a" * 40}),
    Case("required input missing", ("Required input", "add it to inputs"), config={"inputs": {"environment": "test"}}),
    Case(
        "unexpected input",
        ("Unexpected inputs", "declare them"),
        config={"inputs": {"environment": "test", "image_tag": "v1", "colour": "red"}},
    ),
    Case(
        "choice not allowed",
        ("not in the list of allowed values", "choices"),
        config={"workflowFile": "typed.yml", "inputs": {"size": "huge"}},
        prepare=_typed,
    ),
    Case(
        "'' for a boolean",
        ("leave the input out",),
        config={"workflowFile": "typed.yml", "inputs": {"dry_run": ""}},
        prepare=_typed,
    ),
    Case(
        "too many inputs for this server",
        ("takes at most 10",),
        config={"inputs": {f"input{number}": "x" for number in range(11)}},
        generation="ghes-3.19",
    ),
    Case("payload too large", ("65535",), config={"inputs": {"image_tag": "x" * 66_000}}),
    Case(
        "primary rate limit",
        ("rate limited by", "no requests until"),
        prepare=lambda github, repository: github.limit_rate(600, operation="dispatch"),
    ),
    Case(
        "secondary rate limit",
        ("secondary rate limit", "no requests until"),
        prepare=lambda github, repository: github.limit_rate(600, secondary=True, operation="dispatch"),
    ),
    Case(
        "organization with an IP allow list",
        ("has an IP allow list", "add the address"),
        prepare=_refuses(
            403,
            "Although you appear to have the correct authorization credentials, the `myorg` organization has an IP "
            "allow list enabled, and 203.0.113.5 is not permitted to access this resource.",
        ),
    ),
    Case(
        "token valid for longer than the organization allows",
        ("earlier expiration date", "https://github.com/settings/personal-access-tokens/12885303"),
        prepare=_refuses(
            403,
            "The 'myorg' organization forbids access via a fine-grained personal access tokens if the token's lifetime "
            "is greater than 90 days. Please adjust your token's lifetime at the following URL: "
            "https://github.com/settings/personal-access-tokens/12885303",
        ),
    ),
    Case(
        "organization that forbids classic tokens",
        ("allows no classic tokens", "fine-grained one or a GitHub App"),
        prepare=_refuses(
            403,
            "`myorg` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a "
            "personal access token with fine-grained permissions.",
        ),
    ),
    Case(
        "organization that forbids fine-grained tokens",
        ("allows no fine-grained tokens",),
        prepare=_refuses(
            403,
            "`myorg` forbids access via a personal access token with fine-grained permissions. Please use a GitHub "
            "App, OAuth App, or a personal access token (classic).",
        ),
    ),
    Case(
        "Actions disabled for the repository",
        ("enable Actions for myorg/my-app",),
        prepare=_refuses(422, "Actions has been disabled for this repository."),
    ),
    Case(
        "Actions disabled for the token's account",
        ("has disabled Actions for the account",),
        prepare=_refuses(422, "Actions has been disabled for this user."),
    ),
    Case(
        "workflow file that GitHub cannot parse",
        ("is not a valid workflow: correct it there",),
        prepare=_refuses(
            422, "Invalid Argument - failed to parse workflow: (Line: 65, Col: 26): Unexpected symbol: '??'."
        ),
    ),
    Case(
        "workflow that declares too many inputs",
        ("declares more inputs than this server allows",),
        prepare=_refuses(
            422,
            "Invalid Argument - failed to parse workflow: (Line: 4, Col: 5): you may only define up to 10 `inputs` for "
            "a `workflow_dispatch` event",
        ),
    ),
    Case("Secret missing", ("does not exist", "absent"), config={"credentials": {"secretName": "absent"}}),
    Case("key missing", ("the key accessToken is missing",), secret={"token": "x"}),
    Case("key with a token in quotes", ("store the token without them",), secret={"accessToken": f"'{EXAMPLE_TOKEN}'"}),
    Case(
        "key with a token encoded twice",
        ("contains a base64-encoded token", "stringData"),
        secret={"accessToken": b64encode(b"ghp_0123456789abcdefABCDEF").decode()},
    ),
    Case("key with a placeholder", ("contains a placeholder",), secret={"accessToken": "<token>"}),
    Case("key empty", ("the key accessToken is empty",), secret={"accessToken": " "}),
    Case("baseURL that does not resolve", ("myorg/my-app", "does not resolve"), base_url="https://ghe.invalid"),
    Case("baseURL that refuses", ("myorg/my-app", "cannot be reached"), base_url="http://127.0.0.1:9"),
    Case("baseURL with an untrusted certificate", ("is not trusted", "SSL_CERT_FILE"), tls=True),
    Case("baseURL over http", ("must start with https://",), base_url="http://ghe.example.com"),
    Case(
        "baseURL of another server: it answers 400",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(400, *HTML),
    ),
    Case(
        "baseURL of another server: it answers 401",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(401, *HTML),
    ),
    Case(
        "baseURL of another server: it answers 403",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(403, *HTML),
    ),
    Case(
        "baseURL of another server: it answers 406",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(406, *HTML),
    ),
    Case(
        "baseURL of another server: it answers 422",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(422, *HTML),
    ),
    Case(
        "baseURL of a website: it answers 404",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(404, *HTML),
    ),
    Case(
        "baseURL of a website: it answers 200",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(200, *HTML),
    ),
    Case(
        "baseURL of another API",
        ("the API of a GitHub?", "Correct the key baseURL"),
        prepare=_website(200, "application/json", b'{"status": "ok"}'),
    ),
    Case(
        "not permitted to read the Secret",
        ('{apiGroups: [""], resources: [secrets], resourceNames: [github], verbs: [get]}', "serviceaccount:demo"),
        cluster=_forbidden("get", 'secrets "github"'),
    ),
    Case("config typo", ("did you mean workflowFile?",), config={"workflowfile": "deploy.yml"}),
    Case(
        "timeout out of range",
        ("config.timeout: 900 is too large", "the maximum is 300 seconds"),
        config={"timeout": "900"},
    ),
    Case("a number instead of a string", ("config.ref", "quote("), config={"ref": 1.1}),
    Case(
        "wrong inputs, with validateInputs",
        ("'image_tag' is required", "'colour' is not declared"),
        config={"inputs": {"environment": "test", "colour": "red"}, "validateInputs": True},
    ),
    Case(
        "cancelOnAbort with another value",
        ("config.cancelOnAbort: must be true, false or force, but is 'always'",),
        config={"cancelOnAbort": "always"},
    ),
)

BY_URL: Final = (
    Case("no repository", ("config.repoURL: is required",), config=BY_NOTHING),
    Case(
        "a mixture of both forms", ("cannot be combined with credentials, owner and repo",), config={"repoURL": CLONE}
    ),
    Case("repository of v1.8 without repo", ("config.repo: is required",), config={"repo": ...}),
    Case("repoURL without an owner", ("owner and name",), config=BY_NOTHING | {"repoURL": "https://github.com/my-app"}),
    Case(
        "repoURL of a page of the repository",
        ("continues after the repository's owner and name",),
        config=BY_NOTHING | {"repoURL": "https://github.com/myorg/my-app/tree/main"},
    ),
    Case(
        "repoURL without a scheme",
        ("'github.com/myorg/my-app' is not a repository URL",),
        config=BY_NOTHING | {"repoURL": "github.com/myorg/my-app"},
    ),
    Case(
        "repoURL of git's own protocol",
        ("starts with neither https://",),
        config=BY_NOTHING | {"repoURL": "git://github.com/a/b"},
    ),
    Case("repoURL over http", ("https://",), config=BY_NOTHING | {"repoURL": "http://github.com/myorg/my-app"}),
    Case(
        "insecureSkipTLSVerify in the form of v1.8",
        ("only works with repoURL",),
        config={"insecureSkipTLSVerify": True},
    ),
    Case("no Git credentials", ("there are no Git credentials", "cred-type: git"), git=LOGIN, config=OTHER_REPO),
    Case(
        "Git credentials without their label",
        ("1 Secret with the label", "kubectl label secret git --namespace demo", "cred-type=git"),
        git=LOGIN,
        cluster=_listing(["other"], [], ["git"]),
    ),
    Case(
        "Git credentials without their label, and the shared ones may not be listed",
        (
            "no Secret with the label",
            "kubectl label secret git --namespace demo",
            "may not be listed",
            "shared-credentials",
        ),
        git=LOGIN,
        cluster=_listing([], None, ["git"]),
    ),
    Case(
        "an invalid regular expression",
        ("not a regular expression: demo/git",),
        git=LOGIN | {"repoURL": "(myorg", "repoURLIsRegex": "true"},
    ),
    Case(
        "Git credentials with only an SSH key", ("only an SSH key", "username and password"), git={"sshPrivateKey": "x"}
    ),
    Case("Git credentials without a password", ("the key password is missing",), git={"username": "kargo"}),
    Case(
        "Git credentials with a placeholder",
        ("the key password", "contains a placeholder"),
        git=LOGIN | {"password": "changeme"},
    ),
    Case("wrong token in Git credentials", ("Bad credentials", "renew"), git=LOGIN | {"password": "ghp_revoked"}),
    Case(
        "repoURL of another server",
        ("the API of a GitHub?", "Correct config.repoURL"),
        git=LOGIN,
        prepare=_website(404, *HTML),
    ),
    Case(
        "not permitted to list Secrets",
        ('{apiGroups: [""], resources: [secrets], verbs: [list]}', "serviceaccount:demo"),
        git=LOGIN,
        cluster=_forbidden("list", "secrets"),
    ),
    Case(
        "App: the private key of another App",
        ("does not belong to this App",),
        git=_app_secret(),
        prepare=_app(key="second"),
    ),
    Case(
        "App: a client ID that does not exist",
        ("correct the App's ID",),
        git=_app_secret(githubAppClientID="Iv23other"),
        prepare=_app(),
    ),
    Case(
        "App: an installation that does not exist",
        ("no such installation",),
        git=_app_secret(githubAppInstallationID="816"),
        prepare=_app(),
    ),
    Case(
        "App: not installed on the repository",
        ("add the repository on the installation's page",),
        git=_app_secret(),
        prepare=_app(repositories=("myorg/other",)),
    ),
    Case("App: suspended", ("is suspended", "lift that"), git=_app_secret(), prepare=_app(suspended=True)),
    Case("App: a key that is not PEM", ("neither PEM",), git=_app_secret(githubAppPrivateKey="x"), prepare=_app()),
    Case(
        "App: half of a key",
        ("not all of it",),
        git=_app_secret(githubAppPrivateKey=rsa_key("first").private[:400]),
        prepare=_app(),
    ),
    Case(
        "App: a key with a passphrase",
        ("passphrase",),
        git=_app_secret(githubAppPrivateKey=locked_key().private),
        prepare=_app(),
    ),
)

OUTPUTS: Final[dict[str, Any]] = {"outputs": {}}


def _ran(
    content: Any = None, *, storage_url: str | None = None, expired: bool = False, **upload: Any
) -> Callable[[GitHub, Repository], None]:
    """A run that has succeeded, with this artifact, if any."""

    def prepare(github: GitHub, repository: Repository) -> None:
        run = github.start_run(actor="kargo-bot")
        if content is not None or upload:
            run.upload(content, **upload).expired = expired
        run.finish()
        github.storage_url = storage_url

    return prepare


WAITS: Final = (
    Case(
        "run not found", ("has no run 17000000009", "runID"), config={"runID": "17000000009"}, prepare=_run, kind=WAIT
    ),
    Case("run of a repository not found or invisible", ("cannot see",), config={"repo": "nothing"}, kind=WAIT),
    Case(
        "the run failed",
        ("'deploy'", "'Test'", "https://", "deploy/run.sh:12: Deploy: no image myorg/my-app:1.10"),
        prepare=_run_and(_failed),
        kind=WAIT,
    ),
    Case(
        "replaced by a newer run of its concurrency group",
        ("before a job began", "`queue: max`"),
        prepare=_run_and(_replaced),
        kind=WAIT,
    ),
    Case("wrong token", ("Bad credentials", "renew"), secret={"accessToken": "ghp_revoked"}, prepare=_run, kind=WAIT),
    Case(
        "fine-grained token without the permission",
        ("Actions: read",),
        prepare=_run_and(_token(kind="fine-grained", actions="none")),
        kind=WAIT,
    ),
    Case(
        "App without the permission",
        ("Actions: read",),
        prepare=_run_and(_token(kind="installation", actions="none")),
        kind=WAIT,
    ),
    Case("SSO not authorised", ("single sign-on",), prepare=_run_and(_token(sso_authorized=False)), kind=WAIT),
    Case("baseURL of a login page", ("the API of a GitHub?",), prepare=_website(401, *HTML), kind=WAIT),
    Case("baseURL of a website", ("the API of a GitHub?",), prepare=_website(404, *HTML), kind=WAIT),
    Case("baseURL of another API", ("the API of a GitHub?",), prepare=_website(200, "text/plain", b"{}"), kind=WAIT),
    Case("baseURL with an untrusted certificate", ("is not trusted",), tls=True, kind=WAIT),
    Case("runID that is not an ID", ("config.runID", "quote("), config={"runID": "latest"}, kind=WAIT),
    Case("runID of a step without one", ("config.runID", "quote("), config={"runID": None}, kind=WAIT),
    Case("conclusion misspelled", ("did you mean success?",), config={"expectedConclusion": "succes"}, kind=WAIT),
    Case("pollInterval without a unit", ("config.pollInterval", "10s"), config={"pollInterval": "10"}, kind=WAIT),
    Case("pollInterval of 0s", ("longer than 0s",), config={"pollInterval": "0s"}, kind=WAIT),
    Case(
        "a job that the run does not have",
        ("'deplyo'", "its jobs are"),
        config={"jobs": ["deplyo"]},
        prepare=_ran(),
        kind=WAIT,
    ),
    Case("rerunGrace of a day", ("the maximum is 1h",), config={"rerunGrace": "24h"}, kind=WAIT),
    Case("no outputs uploaded", ("no artifact", "upload-artifact"), config=OUTPUTS, prepare=_ran(), kind=WAIT),
    Case(
        "outputs under another name",
        ("'kargo-output'", "upload-artifact"),
        config=OUTPUTS,
        prepare=_ran({}, name="kargo-output"),
        kind=WAIT,
    ),
    Case(
        "outputs that are not JSON",
        ("is not a JSON object",),
        config=OUTPUTS,
        prepare=_ran(b"url=https://my-app.example.com"),
        kind=WAIT,
    ),
    Case(
        "outputs of several files",
        ("2 files", "one file"),
        config=OUTPUTS,
        prepare=_ran(stored=zipped({"a.json": b"{}", "b.json": b"{}"})),
        kind=WAIT,
    ),
    Case("outputs that are too large", ("262144",), config=OUTPUTS, prepare=_ran(b" " * 300_000), kind=WAIT),
    Case("outputs that have expired", ("retention-days",), config=OUTPUTS, prepare=_ran({}, expired=True), kind=WAIT),
    Case(
        "outputs stored elsewhere",
        ("GHA_STEP_ARTIFACT_HOSTS",),
        config=OUTPUTS,
        prepare=_ran({}, storage_url="https://minio.example.com"),
        kind=WAIT,
    ),
    Case(
        "outputs with a misspelled key", ("did you mean artifact?",), config={"outputs": {"artefact": "x"}}, kind=WAIT
    ),
)


CANCELS: Final = (
    Case(
        "run not found", ("has no run 17000000009", "runID"), config={"runID": "17000000009"}, prepare=_run, kind=CANCEL
    ),
    Case("run of a repository not found or invisible", ("cannot see",), config={"repo": "nothing"}, kind=CANCEL),
    Case("wrong token", ("Bad credentials", "renew"), secret={"accessToken": "ghp_revoked"}, prepare=_run, kind=CANCEL),
    Case(
        "fine-grained token that may only read",
        ("to cancel run 17000000001", "Actions: read and write"),
        prepare=_run_and(_token(kind="fine-grained", actions="read")),
        kind=CANCEL,
    ),
    Case(
        "App that may only read",
        ("to cancel run 17000000001", "Actions: write"),
        prepare=_run_and(_token(kind="installation", actions="read")),
        kind=CANCEL,
    ),
    Case("repository archived", ("unarchive",), prepare=_run_and(_set(archived=True)), kind=CANCEL),
    Case("runID that is not an ID", ("config.runID", "quote("), config={"runID": "latest"}, kind=CANCEL),
    Case("force without a unit", ("config.force", "10s"), config={"force": "6"}, kind=CANCEL),
    Case("force of two days", ("the maximum is 24h",), config={"force": "48h"}, kind=CANCEL),
)


TABLES: Final = {
    "messages": DISPATCHES,
    "messages-repo-url": BY_URL,
    "messages-wait": WAITS,
    "messages-cancel": CANCELS,
}


def tell(case: Case) -> str:
    """What the host is told in the end, with the emulator's address replaced by a stable name."""
    github = GitHub(case.generation, now=lambda: START)  # so that what is left of a limit is the same in every run
    case.prepare(github, github.repository("myorg/my-app"))
    with tempfile.TemporaryDirectory(prefix="gha-step-messages-") as folder, ExitStack() as stack:
        root = Path(folder)
        tls = Authority(root / "ca").issue("server") if case.tls else None
        url = stack.enter_context(serve(github, tls=(tls.certificate, tls.key) if tls else None))
        store = stack.enter_context(closing(SqliteStore(root / "ledger.db")))
        clock = VirtualClock()
        program = Program(store=store, secrets=_secrets(case, root, url, stack, clock), clock=clock)
        try:
            result = program.follow(_config(case, url), kind=case.kind)
        finally:
            program.close()
    assert result.status == "Failed", result
    assert case.kind != DISPATCH or not github.runs
    assert case.kind != CANCEL or {run.conclusion for run in github.runs} <= {None}
    assert github.count("dispatch") <= 1
    text = str(result.message).replace(folder, "/secrets").replace(url, f"https://{SERVER}")
    text = re.sub(r"[0-9]{2}:[0-9]{2}:[0-9]{2}Z", "12:05:31Z", text)
    text = re.sub(r"127\.0\.0\.1 port [0-9]+", f"{SERVER} port 443", text).replace("127.0.0.1", SERVER)
    return re.sub(r"(?<=among the CAs in )\S+", "/etc/ssl/cert.pem", text)


def _secrets(case: Case, root: Path, url: str, stack: ExitStack, clock: Clock) -> SecretReader:
    if case.cluster is not None:
        server = stack.enter_context(serving())
        case.cluster(server)
        return KubernetesSecrets(api_at(server.url, root, clock=clock), SHARED)
    secret = {"accessToken": EXAMPLE_TOKEN} if case.secret is None else case.secret
    write_secret(root / "secrets", baseURL=case.base_url or url, **secret)
    if case.git is not None:
        credentials: dict[str, Any] = {"repoURL": f"{url}/myorg/my-app"} | case.git
        write_secret(root / "secrets", name="git", **credentials)
    return DirectorySecrets(root / "secrets")


def _config(case: Case, url: str) -> dict[str, Any]:
    changes = (BY_NOTHING | {"repoURL": CLONE} if case.git is not None else {}) | case.config
    whole = config(**OF_STEP[case.kind] | changes)
    if "repoURL" in whole:
        whole["repoURL"] = whole["repoURL"].replace("{url}", url)
    return whole
