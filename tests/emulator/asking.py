"""Short ways to ask an emulated GitHub without sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gha_step.emulator import API_2022, EXAMPLE_TOKEN, GitHub, Json, Request, Response

REPO = "/repos/myorg/my-app"
FLOW = f"{REPO}/actions/workflows/deploy.yml"
DISPATCH = f"{FLOW}/dispatches"
INPUTS = {"environment": "prod", "image_tag": "1.10"}


def ask(
    github: GitHub,
    target: str,
    *,
    method: str = "GET",
    token: str | None = EXAMPLE_TOKEN,
    version: str = API_2022,
    body: Json | bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One request to api.github.com."""
    return github.handle(
        Request.to(method, target, token=token, body=body, headers={"X-GitHub-Api-Version": version, **(headers or {})})
    )


def dispatch(
    github: GitHub,
    inputs: Json = None,
    *,
    ref: str = "main",
    details: bool | None = None,
    token: str | None = EXAMPLE_TOKEN,
    version: str = API_2022,
    target: str = DISPATCH,
) -> Response:
    """One dispatch; with `details` the body holds `return_run_details`."""
    body: dict[str, Json] = {"ref": ref, "inputs": INPUTS if inputs is None else inputs}
    if details is not None:
        body["return_run_details"] = details
    return ask(github, target, method="POST", body=body, token=token, version=version)


def message(response: Response) -> str:
    """The message of an error body."""
    text = json.loads(response.body)["message"]
    assert isinstance(text, str)
    return text


def listed(github: GitHub, query: str = "") -> list[int]:
    """The run IDs of the workflow's listing, in its order."""
    return [run["id"] for run in json.loads(ask(github, f"{FLOW}/runs{query}").body)["workflow_runs"]]
