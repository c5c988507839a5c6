"""Reads one run and cancels it, with the credentials of one repository: for the cancel step and for cancelOnAbort.

It decides nothing. If GitHub refuses an App's token, it is replaced once; it follows a renamed repository.
"""

from dataclasses import replace

from gha_step.github.cancelling import ask_to_cancel, asked_of
from gha_step.github.client import Client
from gha_step.github.errors import GitHubError, Refused
from gha_step.github.refusals import read_refusal
from gha_step.github.run_reader import Place, RunReader
from gha_step.github.runs import ObservedRun, RunReference, moved_to
from gha_step.steps.access import Repository


class RunControl:
    """The requests about one run, each with a fresh token once, where an App's was refused."""

    def __init__(self, client: Client, repository: Repository, run_id: int) -> None:
        self.run = RunReference(repository.endpoint, repository.owner, repository.name, run_id)
        self.seen_at: float | None = None
        """GitHub's clock at the last look."""
        self._unseen: Refused | None = None
        self._client = client
        self._reader = RunReader(client)
        self._renew = repository.renew
        self._at = Place(self.run.repository_path, self.run, repository.token)

    def look(self) -> ObservedRun:
        """The run as it is now. :raises GitHubError: it cannot be seen."""
        while True:
            try:
                observed, self.seen_at = self._reader.run(self._at)
            except Refused as refusal:
                root = moved_to(refusal, self.run)
                if root is not None and root != self._at.root:
                    self._at = replace(self._at, root=root)
                elif refusal.status != 401 or not self._renewed():
                    self._unseen = refusal
                    raise
            else:
                return observed

    def why(self, error: GitHubError) -> str:
        """The words for a refusal that is final."""
        if self._unseen is None or error is not self._unseen or self._unseen.status != 404:
            return str(error)
        return self._reader.why_missing(self._at, self._unseen)

    def cancel(self, *, force: bool, fields: tuple[str, ...] = ()) -> bool:
        """Whether GitHub has taken the request; 409: it cannot be cancelled now.

        :param fields: of the config, where one names the run.
        :raises GitHubError: it is refused.
        """
        asked = asked_of(self.run, *fields)
        answer = ask_to_cancel(self._client, asked, self.run, self._at.token, self._at.root, force=force)
        if answer.status not in (202, 409):
            raise read_refusal(answer, asked, self._at.token)
        return answer.status == 202

    def _renewed(self) -> bool:
        renew, self._renew = self._renew, None
        if renew is None:
            return False
        self._at = replace(self._at, token=renew(self._at.token))
        return True
