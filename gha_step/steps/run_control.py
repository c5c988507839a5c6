"""Looking at one run and cancelling it, with the credentials of one repository: for the cancel step and for aborts.

It decides nothing. A token of an App that GitHub refuses is replaced once; a renamed repository is followed.
"""

from dataclasses import replace

from gha_step.github.cancelling import ask_to_cancel, asked_of
from gha_step.github.client import Client
from gha_step.github.errors import GitHubError, Refused
from gha_step.github.messages import date
from gha_step.github.refusals import Asked, invisible, read_refusal
from gha_step.github.runs import ObservedRun, RunReference, moved_to, no_such_run, observed_run
from gha_step.steps.access import Repository


class RunControl:
    """The requests about one run, each with a fresh token once, where an App's was refused."""

    def __init__(self, client: Client, repository: Repository, run_id: int) -> None:
        self.run = RunReference(repository.endpoint, repository.owner, repository.name, run_id)
        self.seen_at: float | None = None
        """GitHub's clock at the last look."""
        self._unseen: GitHubError | None = None
        self._client = client
        self._repository = repository
        self._token = repository.token
        self._root = self.run.repository_path

    def look(self) -> ObservedRun:
        """The run as it is now. :raises GitHubError: it cannot be seen."""
        path = f"/actions/runs/{self.run.run_id}"
        while True:
            answer = self._client.get("run", self.run.asked, self._root + path, self._token)
            if answer.status == 200:
                self.seen_at = date(answer)
                return observed_run(answer, self.run)
            refusal = read_refusal(answer, self.run.asked, self._token)
            root = moved_to(refusal, self.run) if isinstance(refusal, Refused) else None
            if root is not None and root != self._root:
                self._root = root
            elif answer.status != 401 or not self._renewed():
                self._unseen = refusal
                raise refusal

    def why(self, error: GitHubError) -> str:
        """The words for a refusal that is final. Whether the run is missing or its repository, one request tells."""
        if error is not self._unseen or not isinstance(error, Refused) or error.status != 404 or not error.words:
            return str(error)
        run, name = self.run, f"{self.run.owner}/{self.run.repo}"
        try:
            answer = self._client.get(
                "repository", Asked(run.endpoint, "show", name, run.owner, run.repo), self._root, self._token
            )
        except GitHubError:
            return str(error)
        if answer.status == 404:
            return f"{run} cannot be seen: {invisible(run.endpoint, name, self._token)}"
        return no_such_run(run) if answer.status == 200 else str(error)

    def cancel(self, *, force: bool, fields: tuple[str, ...] = ()) -> bool:
        """Whether GitHub has taken the request; 409: it cannot be cancelled now.

        :param fields: of the config, where one names the run.
        :raises GitHubError: it is refused.
        """
        asked = asked_of(self.run, *fields)
        answer = ask_to_cancel(self._client, asked, self.run, self._token, self._root, force=force)
        if answer.status not in (202, 409):
            raise read_refusal(answer, asked, self._token)
        return answer.status == 202

    def _renewed(self) -> bool:
        renew, self._repository = self._repository.renew, replace(self._repository, renew=None)
        if renew is None:
            return False
        self._token = renew(self._token)
        return True
