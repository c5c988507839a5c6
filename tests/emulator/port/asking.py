"""Short ways to ask an emulated Port without sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gha_step.emulator import Json, Request, Response
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET, Port

RESERVED = {"x-port-reserved-usage": "true"}
CLAIM: dict[str, Json] = {"installationId": "gha-step", "limit": 10, "visibilityTimeoutMs": 4000}


def token(port: Port, client_id: str = EXAMPLE_CLIENT_ID, secret: str = EXAMPLE_CLIENT_SECRET) -> str:
    """A token as a client gets it."""
    body: Json = {"clientId": client_id, "clientSecret": secret}
    found = answer(port.handle(Request.to("POST", "/v1/auth/access_token", body=body)))["accessToken"]
    assert isinstance(found, str)
    return found


def ask(
    port: Port,
    method: str,
    target: str,
    body: Json | bytes = b"",
    *,
    bearer: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One request, with the example's token unless another is given."""
    return port.handle(Request.to(method, target, token=bearer or token(port), body=body, headers=headers))


def answer(response: Response) -> dict[str, Any]:
    """The body of a success."""
    assert response.status < 300, response.body
    body = json.loads(response.body)
    assert isinstance(body, dict)
    return body


def claim(port: Port, **changes: Json) -> list[str]:
    """The IDs of the action runs that a claim gives."""
    response = ask(port, "POST", "/v1/actions/runs/claim-pending", {**CLAIM, **changes}, headers=RESERVED)
    return [run["id"] for run in answer(response)["runs"]]


def patch(port: Port, run: str, **body: Json) -> Response:
    """A PATCH of a run."""
    return ask(port, "PATCH", f"/v1/actions/runs/{run}", body)
