"""Reads a workflow's outputs: an artifact with an agreed name, by GitHub's redirect to its storage.

`gha_step.github.artifacts` decides what may be read and from where; the poller decides when, and how often.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from gha_step.github.artifacts import (
    MAX_STORED,
    Artifact,
    BadArtifact,
    NoArtifact,
    artifacts,
    check_size,
    newest,
    others,
    outputs_of,
    stored_at,
    too_large,
)
from gha_step.github.client import Client
from gha_step.github.errors import TooLarge, Unclear
from gha_step.github.messages import Answer
from gha_step.github.refusals import Asked, read_refusal
from gha_step.github.run_reader import Place
from gha_step.github.runs import ObservedJob, ObservedRun
from gha_step.steps.wait.snapshot import Outputs

_ON_A_PAGE: Final = "100"
EXPIRED: Final = "it has expired: raise its retention-days, or run the workflow again"


class OutputsReader:
    """Reads artifacts.

    :param hosts: where they may be stored besides the server itself: names that stand for all below them, too.
    """

    def __init__(self, client: Client, hosts: frozenset[str]) -> None:
        self._client = client
        self._hosts = hosts
        self._unpacking = threading.Lock()  # a quarter of a megabyte may become some when it is parsed: one at a time

    def read(self, at: Place, run: ObservedRun, name: str, jobs: Callable[[], Iterable[ObservedJob]]) -> Outputs:
        """The outputs of a run that has ended.

        :param jobs: reads the jobs of the latest attempt, where that matters.
        :raises BadArtifact: there are none, however often they are asked for (`NoArtifact`: nor an artifact).
        :raises GitHubError: not now.
        """
        asked = at.run.asked._replace(subject=f"the artifacts of {at.run}")
        found = self._newest(at, asked, name)
        note = _origin(found, run, jobs)
        if found.expired:
            raise BadArtifact(f"the artifact {name!r}: {EXPIRED}")
        try:
            return Outputs(json=self._content(at, asked, found), note=note)
        except BadArtifact as error:
            raise BadArtifact(f"the artifact {name!r}: {error}") from None

    def _content(self, at: Place, asked: Asked, found: Artifact) -> str:
        check_size(found)
        redirect = self._client.get("artifact", asked, f"{at.root}/actions/artifacts/{found.id}/zip", at.token)
        if redirect.status == 410:
            raise BadArtifact(EXPIRED)
        if redirect.status == 304 or redirect.status >= 400:
            raise read_refusal(redirect, asked, at.token)
        stored = stored_at(redirect, at.run.endpoint, self._hosts)
        secrets = (at.token, *redirect.secrets)

        def unpacked(content: Answer) -> str:
            where = f"{stored.endpoint.host}, where it is stored,"
            if 300 <= content.status < 400:
                raise BadArtifact(f"{where} redirects once more, which is not followed")
            if content.status != 200:
                raise Unclear(f"the artifact {found.name!r} cannot be read: {where} answered {content.status}")
            with self._unpacking:
                return outputs_of(content)

        try:
            return self._client.fetch("artifact_storage", asked, stored, secrets, MAX_STORED, unpacked)
        except TooLarge:
            raise too_large() from None

    def _newest(self, at: Place, asked: Asked, name: str) -> Artifact:
        found = newest(self._list(at, asked, {"name": name}), name)
        if found is None:
            there = others(self._list(at, asked, {}))
            raise NoArtifact(
                f"there is no artifact {name!r}, {there}: let the workflow upload one JSON file with "
                f"actions/upload-artifact and `name: {name}`"
            )
        return found

    def _list(self, at: Place, asked: Asked, parameters: Mapping[str, str]) -> tuple[Artifact, ...]:
        asks = {**parameters, "per_page": _ON_A_PAGE}
        return self._client.read("artifacts", asked, f"{at.path}/artifacts", at.token, artifacts, asks)


def _origin(found: Artifact, run: ObservedRun, jobs: Callable[[], Iterable[ObservedJob]]) -> str:
    """What to know of an artifact that an earlier attempt has made.

    :raises BadArtifact: it is stale.
    """
    if run.attempt == 1 or (run.started_at is not None and found.created_at >= run.started_at):
        return ""
    made = datetime.fromtimestamp(found.created_at, UTC)
    if any(job.attempt < run.attempt for job in jobs()):
        return f"the outputs are those of an earlier attempt ({made:%H:%M:%SZ}), of which jobs were carried over"
    raise BadArtifact(
        f"the artifact {found.name!r} is stale: an earlier attempt made it ({made:%Y-%m-%d %H:%M:%SZ}), and attempt "
        f"{run.attempt} made none: see why its job did not upload it"
    )
