"""Each mistake that users make, made against the emulated GitHub through the real step: what the host is told.

The table in docs/messages.md is made from this, and a test holds each row against the server's answer.
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Repository, Token, serve
from gha_step.ledger.sqlite import SqliteStore
from tests.assembled import Assembled, config, write_secret
from tests.certificates import Authority

SERVER: Final = "github.example.com"

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
    """One mistake. ``words``: what its message must hold besides the subject."""

    mistake: str
    words: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[GitHub, Repository], None] = lambda github, repository: None
    secret: dict[str, str] | None = None  # None: the right one
    generation: str = "github.com"
    base_url: str | None = None
    tls: bool = False


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


def _disable(github: GitHub, repository: Repository) -> None:
    workflow = repository.workflow("deploy.yml")
    assert workflow is not None
    workflow.state = "disabled_manually"


def _without_trigger(github: GitHub, repository: Repository) -> None:
    repository.add_workflow("push.yml", "name: Push\non: push\njobs: {}\n")


def _typed(github: GitHub, repository: Repository) -> None:
    repository.add_workflow("typed.yml", TYPED)


CASES: Final = (
    Case("wrong token", ("Bad credentials", "renew"), secret={"accessToken": "wrong"}),
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
        ("rate limit", "asks to wait"),
        prepare=lambda github, repository: github.limit_rate(600, operation="dispatch"),
    ),
    Case(
        "secondary rate limit",
        ("secondary rate limit", "asks to wait"),
        prepare=lambda github, repository: github.limit_rate(600, secondary=True, operation="dispatch"),
    ),
    Case("Secret missing", ("does not exist", "absent"), config={"credentials": {"secretName": "absent"}}),
    Case("key missing", ("the key accessToken is missing",), secret={"token": "x"}),
    Case("key empty", ("the key accessToken is empty",), secret={"accessToken": " "}),
    Case("baseURL that does not resolve", ("does not resolve",), base_url="https://ghe.invalid"),
    Case("baseURL that refuses", ("cannot be reached",), base_url="http://127.0.0.1:9"),
    Case("baseURL with a certificate nobody trusts", ("is not trusted", "SSL_CERT_FILE"), tls=True),
    Case("baseURL over http", ("must start with https://",), base_url="http://ghe.example.com"),
    Case("config typo", ("did you mean workflowFile?",), config={"workflowfile": "deploy.yml"}),
    Case("timeout out of range", ("config.timeout", "at most 300"), config={"timeout": "301"}),
    Case("a number where a string belongs", ("config.ref", "quote("), config={"ref": 1.1}),
    Case(
        "inputs that do not fit, with validateInputs",
        ("'image_tag' is required", "'colour' is not declared"),
        config={"inputs": {"environment": "test", "colour": "red"}, "validateInputs": True},
    ),
)


def tell(case: Case) -> str:
    """What the host is told in the end, with the emulator's address replaced by a stable name."""
    github = GitHub(case.generation)
    case.prepare(github, github.repository("myorg/my-app"))
    with tempfile.TemporaryDirectory(prefix="gha-step-messages-") as folder:
        root = Path(folder)
        tls = Authority(root / "ca").issue("server") if case.tls else None
        with serve(github, tls=(tls.certificate, tls.key) if tls else None) as url:
            secret = {"accessToken": EXAMPLE_TOKEN} if case.secret is None else case.secret
            write_secret(root / "secrets", baseURL=case.base_url or url, **secret)
            store = SqliteStore(root / "ledger.db")
            program = Assembled(store=store, secrets=root / "secrets")
            try:
                result = program.follow(config(**case.config))
            finally:
                program.close()
                store.close()
    assert result.status == "Failed", result
    assert not github.runs
    text = str(result.message).replace(folder, "/secrets").replace(url, f"https://{SERVER}")
    text = re.sub(r"127\.0\.0\.1 port [0-9]+", f"{SERVER} port 443", text).replace("127.0.0.1", SERVER)
    return re.sub(r"(?<=by the CAs in )\S+(?=:)", "/etc/ssl/cert.pem", text)
