"""Calls as hosts and projects make them, each over a connection of its own."""

import http.client
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.calls import BEARER

ELSEWHERE: Final = 19  # niceness: in truth attackers, and their servers, have other machines' cores
PROJECT_TOKEN: Final = "the-victims-own-project-token"


@dataclass
class Caller:
    """``address``: of HTTP. ``authority``: of the certificate of gRPC at ``grpc``; steps are then executed there.

    ``name``: what its promotions are called, which nobody has seen before.
    """

    address: str
    grpc: str
    authority: Path | None
    name: str
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def body(self, project: str, alias: str = "dispatch", **changes: Any) -> dict[str, Any]:
        """A step.execute request for a new promotion."""
        number = next(self._numbers)
        config: dict[str, Any] = {
            "credentials": {"secretName": "github"},
            "owner": "myorg",
            "repo": "my-app",
            "workflowFile": "deploy.yml",
            "ref": "main",
            "inputs": {"environment": "test"},
        }
        kind = changes.pop("kind", "gha-dispatch-workflow")
        promotion = changes.pop("promotion", f"{self.name}{number}")
        if kind == "gha-wait-for-workflow":
            config = {name: config[name] for name in ("credentials", "owner", "repo")} | {"runID": 1000 + number}
        config |= changes
        context = {"project": project, "promotion": promotion, "promotionUID": f"uid-{promotion}", "alias": alias}
        return {"context": context, "step": {"kind": kind, "config": config}}

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None, timeout: float = 30.0) -> Any:
        """The answer to one request; its status alone where it is no 200."""
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return json.loads(text) if response.status == 200 and text.startswith(b"{") else response.status

    def execute(self, body: dict[str, Any]) -> Any:
        """The answer to a call; a status or code alone where there is none."""
        if self.authority is None:
            return self.ask("POST", "/api/v1/step.execute", body, BEARER)
        import grpc

        from gha_step.pb.v1 import step_pb2 as pb
        from tests.inbound.channels import PROOF, as_http, request, stub

        with stub(self.grpc, grpc.ssl_channel_credentials(self.authority.read_bytes())) as client:
            try:
                return as_http(client.Execute(request(pb.ExecuteRequest, body), timeout=30, metadata=PROOF))
            except grpc.RpcError as error:
                return error.code().name
