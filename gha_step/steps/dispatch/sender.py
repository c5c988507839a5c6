"""From `reserved` to an attempt: the checks before sending, and a fresh connection.

After a failure to connect the record is still `reserved`. `gha_step.steps.dispatch.attempt` does the attempt itself.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gha_step.contract.errors import StepError, Unavailable
from gha_step.contract.memory import Memory
from gha_step.github.client import Client
from gha_step.github.connection import Connection, Connector
from gha_step.github.errors import GitHubError, RateLimited, Unreachable, Untrusted
from gha_step.github.exchange import Unfit
from gha_step.github.messages import shown
from gha_step.github.rate_limits import DISPATCHES
from gha_step.github.workflow_file import Unreadable
from gha_step.ledger.duties import aborted
from gha_step.ledger.record import Record, State
from gha_step.ledger.transitions import GaveUp, Trouble, adopt
from gha_step.runtime import Clock
from gha_step.steps.dispatch.answers import HOLD_LIMIT, Note
from gha_step.steps.dispatch.attempt import Attempts
from gha_step.steps.dispatch.gate import Gate, Preparation
from gha_step.steps.dispatch.input_check import check_inputs
from gha_step.steps.dispatch.journal import LEDGER_RETRY, Journal, refuse_deleted, subject_of
from gha_step.steps.dispatch.refusals import Refusals
from gha_step.steps.dispatch.request import DispatchRequest
from gha_step.steps.dispatch.run_finder import RunFinder
from gha_step.steps.dispatch.task import Task
from gha_step.steps.dispatch.trouble import time_left, too_late
from gha_step.telemetry import log

TOO_NEW: Final = 2.0  # seconds after which the host asks again
LONGEST_PROBLEMS: Final = 1000  # characters of what the workflow file says against the inputs


class Sender:
    """Sends for the tasks.

    :param pause: waits as part of a task; whether to go on. Zero seconds only asks.
    :param look_back: whether the ledger may have died with what it knew: then markers are looked for first.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        journal: Journal,
        refusals: Refusals,
        run_finder: RunFinder,
        gate: Gate,
        connector: Connector,
        client: Client,
        clock: Clock,
        pause: Callable[[Task, float], bool],
        look_back: bool,
    ) -> None:
        self._attempts = attempts
        self._journal = journal
        self._refusals = refusals
        self._run_finder = run_finder
        self._gate = gate
        self._connector = connector
        self._client = client
        self._servers = client.servers
        self._rate_limits = client.rate_limits
        self._clock = clock
        self._pause = pause
        self._look_back = look_back
        self._lock = threading.Lock()
        self._looked_back: dict[str, None] = Memory()  # keys whose marker no run showed

    def send(self, task: Task, record: Record) -> bool:
        """One try, from `reserved`. True if there is a new state or request to look at.

        :raises LedgerUnavailable: nothing was sent.
        """
        request = task.request
        refuse_deleted(record)
        if record.abort is not None and record.abort.aborted:
            self._journal.move(task, record, GaveUp(reason=aborted(record.abort)))
            return True
        if request is None or not request.may_send():
            return False
        if (left := self._refusals.wait_for(record.key)) > 0:
            task.note = Note(f"{request.endpoint.host} does not accept the App's new token yet", TOO_NEW)
            return self._pause(task, left)
        if self._refusals.is_used_up(record.key, request.token):
            return self._renew(task, record, request)
        hold, now = self._rate_limits.hold(request.endpoint, request.token, DISPATCHES), self._clock.monotonic()
        if hold.until > now:
            limited = RateLimited(hold.why, hold.asked(now), pause=hold.until - now)
            return self._trouble(task, record, limited)
        task.record = adopt(record, request.payload, request.key.duty)
        return self._prepare(task, request)

    def _prepare(self, task: Task, request: DispatchRequest) -> bool:
        """Find out what has to hold and connect, then send."""
        record = task.record
        try:
            if self._finds_marker(task, record, request):
                return True
            preparation = self._gate.prepare(
                task, record, request, lambda seconds: task.request is request and self._pause(task, seconds)
            )
            if preparation is None or task.request is not request:
                return task.request is not request  # a newer payload, adopted while this one waited
            if not request.may_send():  # waiting took long
                return False
            if (problem := self._problem(task, request)) is not None:
                self._journal.move(task, task.record, GaveUp(reason=problem))
                return True
            connection = self._connector.connect(request.endpoint)
        except Untrusted as error:
            self._journal.move(task, task.record, GaveUp(reason=f"{request.workflow}: {error}"))
            return True
        except Unreachable as error:  # a connection knows of no repository
            return self._trouble(task, task.record, Unreachable(f"{request.workflow}: {error}"))
        except GitHubError as error:
            return self._trouble(task, task.record, error)
        return self._send_over(task, request, connection, preparation)

    def _send_over(
        self, task: Task, request: DispatchRequest, connection: Connection, preparation: Preparation
    ) -> bool:
        record = task.record
        try:
            if record.state is State.RESERVED and self._pause(task, 0.0):
                self._attempts.make(task, record, request, connection, preparation)
                return True
        except Unfit as error:
            connection.close()
            whose = f"{request.token.subject}, or {request.endpoint.named_by}"
            self._journal.move(task, record, GaveUp(reason=f"{request.workflow}: no request: {error}: correct {whose}"))
            return True
        except BaseException:
            connection.close()
            raise
        connection.close()
        return record.state is not State.RESERVED

    def _finds_marker(self, task: Task, record: Record, request: DispatchRequest) -> bool:
        """Whether a run shows our marker already, where the ledger may have lost what it knew; looked for once."""
        if not self._look_back or record.marker is None or record.key in self._looked_back:
            return False
        if self._run_finder.look_back(task, record, request):
            return True
        with self._lock:
            self._looked_back[record.key] = None
        return False

    def _renew(self, task: Task, record: Record, request: DispatchRequest) -> bool:
        """Another token in place of the one that GitHub has refused, for the next turn. Nothing is sent here."""
        assert request.renew is not None
        try:
            token = request.renew(request.token)
        except Unavailable as error:  # the next call finds a token by itself
            task.note = Note(str(error), error.retry_after or LEDGER_RETRY)
            return False
        except StepError as error:
            self._journal.move(task, record, GaveUp(reason=str(error)))
            return True
        if token == request.token:
            why = f"{request.endpoint.host} issues only tokens that it then refuses"
            self._journal.move(task, record, GaveUp(reason=why))
            return True
        task.replace_request(request, replace(request, token=token))
        return True

    def _problem(self, task: Task, request: DispatchRequest) -> str | None:
        """What is wrong with the inputs on this server, in this workflow."""
        if len(request.inputs) > (most := self._servers.max_inputs(request.endpoint)):
            name = request.endpoint.name_of("config.inputs")
            return f"{name}: has {len(request.inputs)} inputs, but {request.endpoint.host} takes at most {most}"
        return self._input_problems(task, request) if request.validate_inputs else None

    def _input_problems(self, task: Task, request: DispatchRequest) -> str | None:
        """What the workflow file says against the inputs; what cannot be read is a warning, never a failure."""
        try:
            problems = check_inputs(request.workflow, request.inputs, request.token, self._client)
        except (Unreadable, GitHubError) as error:
            task.warning = f"The inputs were not validated: {error}."
            log.warning("inputs not validated: %s", error, extra=subject_of(task.record))
            return None
        if not problems:
            return None
        # Names and choices come from a file that anybody may have written, or from a server that is no GitHub.
        return f"{request.workflow}: {shown(request.token.hide('; '.join(problems)), LONGEST_PROBLEMS)}"

    def _trouble(self, task: Task, record: Record, error: GitHubError) -> bool:
        """GitHub cannot be asked now. Nothing was sent; wait for as long as that makes sense."""
        now = self._clock.now()
        asked = error.wait if isinstance(error, RateLimited) else None
        if (why := too_late(record, now, asked, str(error))) is not None:
            self._journal.move(task, record, GaveUp(reason=why))
            return True
        if record.trouble_since is None:
            self._journal.move(task, record, Trouble(at=now, reason=str(error)))
            if task.record.state is not State.RESERVED:
                return True
        pause = error.retry_after or 1.0
        seconds = min(max(1.0, pause), max(1.0, time_left(record, now)), HOLD_LIMIT)
        task.note = Note(str(error), seconds, queued=isinstance(error, RateLimited))
        return False
