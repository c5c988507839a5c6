"""The natural stack: the same server as one would write it first, every library used as its own examples use it.

FastAPI for the HTTP API; kubernetes' CoreV1Api for the Secret (or a directory, where one is named, as here);
PyGithub with its defaults for the dispatch: get_repo, get_workflow, create_dispatch, and the newest run of a listing.
It remembers runs in memory only, and has no metrics and no structured log, so that it costs rather less than a program
of the same promises would.

    python natural_stack.py PORT TOKEN_FILE [SECRETS_DIRECTORY]
"""

import base64
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from github import Auth, Github
from kubernetes import client, config
from pydantic import BaseModel, Field

PORT, TOKEN_FILE = int(sys.argv[1]), Path(sys.argv[2])
SECRETS = Path(sys.argv[3]) if len(sys.argv) > 3 else None

if SECRETS is None:
    config.load_incluster_config()  # type: ignore[no-untyped-call]
core = client.CoreV1Api()
app = FastAPI()
token = TOKEN_FILE.read_text().strip()
runs: dict[tuple[str, str, str], dict[str, Any]] = {}


class Credentials(BaseModel):
    secret_name: str = Field(alias="secretName")


class Config(BaseModel):
    credentials: Credentials
    owner: str
    repo: str
    workflow_file: str = Field(alias="workflowFile")
    ref: str
    inputs: dict[str, str] = {}


class Context(BaseModel):
    project: str
    promotion_uid: str = Field(alias="promotionUID")
    alias: str


class Step(BaseModel):
    kind: str
    config: Config


class StepRequest(BaseModel):
    context: Context
    step: Step


def read_secret(namespace: str, name: str) -> dict[str, str]:
    if SECRETS is None:
        data = core.read_namespaced_secret(name, namespace).data or {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
    return {key.name: key.read_text().strip() for key in (SECRETS / namespace / name).iterdir()}


def ready() -> dict[str, str]:
    return {"status": "ready"}


def execute(request: StepRequest, authorization: str = Header()) -> dict[str, Any]:
    if authorization != f"Bearer {token}":
        raise HTTPException(403)
    key = (request.context.project, request.context.promotion_uid, request.context.alias)
    if key not in runs:
        wanted = request.step.config
        secret = read_secret(request.context.project, wanted.credentials.secret_name)
        github = Github(auth=Auth.Token(secret["accessToken"]), base_url=f"{secret['baseURL']}/api/v3")
        workflow = github.get_repo(f"{wanted.owner}/{wanted.repo}").get_workflow(wanted.workflow_file)
        workflow.create_dispatch(wanted.ref, dict(wanted.inputs))
        run = workflow.get_runs()[0]
        runs[key] = {"runID": run.id, "url": run.html_url}
    return {"status": "Succeeded", "output": runs[key]}


app.add_api_route("/readyz", ready)
app.add_api_route("/api/v1/step.execute", execute, methods=["POST"])
uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
