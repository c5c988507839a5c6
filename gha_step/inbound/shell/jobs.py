"""The jobs of a run on a terminal: each is printed once, when it has ended.

One request per poll. Its errors are not shown, because the run itself is polled as well.
"""

from typing import Final

from gha_step.contract.errors import StepError
from gha_step.contract.secret import Token
from gha_step.github.client import Client
from gha_step.github.runs import FINE, ObservedJob, RunReference, jobs_page

MOST: Final = "100"  # of a run's jobs; the others are not told


class Jobs:
    """The jobs of one run."""

    def __init__(self, client: Client, run: RunReference, token: Token) -> None:
        self._client = client
        self._run = run
        self._token = token
        self._told: set[tuple[str, str | None]] = set()
        self.summary = ""
        """How far the run is, as of the last look."""

    def ended(self) -> list[str]:
        """A line for each that has ended since the last look."""
        path = f"{self._run.repository_path}/actions/runs/{self._run.run_id}/jobs"
        try:
            page = self._client.read(
                "jobs",
                self._run.asked,
                path,
                self._token,
                lambda answer: jobs_page(answer, self._run),
                {"per_page": MOST},
            )
        except StepError:
            return []
        ended = [job for job in page.jobs if job.conclusion is not None]
        self.summary = f"{len(ended)} of {page.total} jobs have ended"
        new = [job for job in ended if (job.name, job.url) not in self._told]
        self._told |= {(job.name, job.url) for job in new}
        return [_line(job) for job in new]


def _line(job: ObservedJob) -> str:
    good = job.conclusion in FINE
    where = "" if job.failed_step is None else f" in the step {job.failed_step}"
    link = "" if good or job.url is None else f" {job.url}"
    return f"  {'✓' if good else '✗'} {job.name}: {job.conclusion}{where}{link}"
