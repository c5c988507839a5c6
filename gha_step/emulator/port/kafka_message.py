"""The Kafka message that Port publishes for a run of an action with `invocationMethod.type: GITHUB`, signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Literal, TypeAlias

from gha_step.emulator.wire import Json

from .state import ActionRun, Credentials, State, timestamp

Signed: TypeAlias = Literal["without headers", "without the two keys", "not"]


def kafka_message(
    state: State,
    run: ActionRun,
    signer: Credentials,
    *,
    version: Literal[1, 2] = 2,
    signed: Signed = "without headers",
    other_headers: dict[str, Json] | None = None,
) -> bytes:
    """Its value. `signed`: over the text without its top-level `headers`, over the text whose `headers` lack the
    signature and its time stamp (which of the two Port takes for GITHUB is not known), or not at all."""
    properties = run.action.properties(run.properties)
    method: dict[str, Json] = {"type": run.action.invocation, **properties}
    inputs: dict[str, Json] = dict(run.properties)
    action: dict[str, Json] = {"invocationMethod": method, "trigger": "DAY-2"}
    if version == 1:
        method.pop("workflowInputs")
        method |= {"omitPayload": False, "omitUserInputs": False, **run.action.omit}
        inputs = {**(run.action.inputs or {}), **run.properties}
        action |= {"id": "action_1", "identifier": run.action.identifier, "title": run.action.identifier}
    who: Json = {"orgId": state.organisation, "userId": run.created_by, "user": {"email": "a@example.com"}}
    body: dict[str, Json] = {
        "action": run.action.identifier,
        "resourceType": "run",
        "status": "TRIGGERED",
        "trigger": {"by": who, "origin": run.source, "at": timestamp(run.created_at)},
        "context": {"entity": run.entity, "blueprint": None, "runId": run.id},
        "payload": {"entity": None, "properties": inputs, "censoredProperties": [], "action": action},
    }
    headers = dict(other_headers or {})
    at = str(int(state.clock()))
    text = _text(body if signed == "without headers" else {**body, "headers": headers})
    digest = hmac.new(signer.client_secret.encode(), f"{at}.{text}".encode(), hashlib.sha256).digest()
    if signed != "not":
        headers |= {"X-Port-Signature": f"v1,{base64.b64encode(digest).decode()}", "X-Port-Timestamp": at}
    return _text({**body, "headers": headers}).encode()


def _text(body: Json) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)
