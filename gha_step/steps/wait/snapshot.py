"""What is known of a run that a step waits for: made by `run_poller`, read by `answers`."""

from dataclasses import dataclass

from gha_step.github.concurrency import Ahead
from gha_step.github.runs import ObservedJob, ObservedRun, PendingDeployment
from gha_step.steps.wait.ending import Named


@dataclass(frozen=True)
class Trouble:
    """Why the run could not be seen, or is not looked at now. ``until``: monotonic; nothing is asked before."""

    message: str
    until: float


@dataclass(frozen=True)
class Wanted:
    """What a step wants to know of a run besides its end.

    ``outputs``: the artifact that holds its outputs. ``jobs``: the step ends with these. ``grace``: seconds for which a
    new attempt is waited for after any failure but ``expected``.
    """

    outputs: str | None = None
    jobs: tuple[str, ...] = ()
    grace: float = 0.0
    expected: str | None = None


@dataclass(frozen=True)
class Outputs:
    """The outputs of a run that has ended: text with a JSON object; or the problem for which there are none.

    ``missing``: the workflow has uploaded nothing of that name. ``note``: what to know of them.
    """

    json: str = ""
    problem: str = ""
    missing: bool = False
    note: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What is known of a run. ``run``: as it was last seen; ``failure``: why looking again cannot help.

    ``jobs``: those by which it failed, and ``more_jobs``: how many more did. ``detail``: why its jobs or approvals
    cannot be read. ``missing``: GitHub's last answer was that there is no such run. ``outputs``: where they are wanted,
    of a run that has ended. ``named``: the jobs that the step waits for. ``grace``: for how many seconds a new attempt
    of the failed run is waited for. ``never_began``: it was cancelled before a job began. ``ahead``: whom it waits for
    in its concurrency group, where that is known.
    """

    run: ObservedRun | None = None
    jobs: tuple[ObservedJob, ...] = ()
    more_jobs: int = 0
    pending: tuple[PendingDeployment, ...] = ()
    detail: str = ""
    trouble: Trouble | None = None
    failure: str | None = None
    missing: bool = False
    outputs: Outputs | None = None
    named: Named | None = None
    grace: float | None = None
    never_began: bool = False
    ahead: Ahead | None = None
