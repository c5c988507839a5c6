"""The artifact storage: a separate server that accepts no token, only URLs that were signed within the last minute.

Source: facts/github-dispatch.md ("Nearest convention for outputs"). Texts and statuses are Azure's.
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode

from .bodies import Links
from .state import Artifact, State
from .wire import Request, Response

PATH = "/_storage/artifacts/"
GOOD_FOR = 60.0  # seconds


def signed_url(state: State, artifact: Artifact, links: Links) -> str:
    """Where GitHub's redirect leads."""
    ends = str(state.clock() + GOOD_FOR)
    root = state.storage_url or links.site
    return f"{root}{PATH}{artifact.id}?{urlencode({'se': ends, 'sig': _signature(artifact.id, ends)})}"


def read(request: Request, state: State) -> Response:
    """The answer to a request below `PATH`."""
    if "authorization" in request.headers:
        return _refused(400, "InvalidAuthenticationInfo", "Authentication information is not given in the right format")
    number, ends, signature = request.path[len(PATH) :], request.query.get("se", ""), request.query.get("sig", "")
    found = next((one for run in state.runs for one in run.artifacts if str(one.id) == number), None)
    if found is None:
        return _refused(404, "BlobNotFound", "The specified blob does not exist.")
    if signature != _signature(found.id, ends) or state.clock() > float(ends):
        return _refused(403, "AuthenticationFailed", f"Signature did not match or has expired: sig={signature}")
    kind = "application/zip" if found.content.startswith(b"PK") else "application/octet-stream"
    return Response(200, (("Content-Type", kind), ("Server", "Windows-Azure-Blob/1.0")), found.content)


def _signature(artifact_id: int, ends: str) -> str:
    return hashlib.sha256(f"emulated storage/{artifact_id}/{ends}".encode()).hexdigest()


def _refused(status: int, code: str, words: str) -> Response:
    page = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
    return Response(status, (("Content-Type", "application/xml"),), page.encode())
