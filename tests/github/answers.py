"""Subjects and answers to try things on."""

import json
from typing import Any

from gha_step.github.client import Client
from gha_step.github.connection import Connector
from gha_step.github.dispatch import Workflow
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.messages import Answer
from gha_step.github.refusals import Asked
from gha_step.runtime import Clock
from gha_step.telemetry import Telemetry

DATE = "Tue, 14 Nov 2023 22:13:20 GMT"  # 1,700,000,000


def workflow(base_url: str | None = None, **changes: str) -> Workflow:
    """Kargo's example on this GitHub."""
    names = {"owner": "myorg", "repo": "my-app", "file": "deploy.yml", "ref": "main"} | changes
    return Workflow(resolve_endpoint(base_url, allow_http=False), **names)


def asking(base_url: str | None = None) -> Asked:
    """A request for something of Kargo's example."""
    endpoint = resolve_endpoint(base_url, allow_http=False)
    return Asked(endpoint, "list the runs of", "myorg/my-app workflow deploy.yml", "myorg", "my-app", file="deploy.yml")


def client_over(connector: Connector, clock: Clock, telemetry: Telemetry | None = None) -> Client:
    """A client with memories of its own."""
    return Client(connector, clock, telemetry or Telemetry())


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    """GitHub's answer; a body that is no bytes becomes JSON, ``_`` in a header's name a dash."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Answer(status, {"date": DATE} | {k.replace("_", "-"): v for k, v in headers.items()}, content)


def said(status: int, message: str, **headers: str) -> Answer:
    """An error with GitHub's words."""
    return answer(status, {"message": message, "documentation_url": "https://docs.github.com/rest"}, **headers)
