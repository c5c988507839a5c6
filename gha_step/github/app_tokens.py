"""Installation tokens of GitHub Apps: one request for all that want the same one, kept until shortly before its end.

A token is shared only by those who show the same private key: who knows an App's and an installation's number has no
right to what another project's key has earned. All of this is this process's own memory and may be lost.
"""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from gha_step.contract.errors import TokenUnavailable
from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.github.app import (
    Installation,
    InstallationToken,
    app_jwt,
    clock_error,
    installation_number,
    installation_request,
    installation_token,
)
from gha_step.github.client import Client
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import GitHubError, RateLimited, Unclear, Unreachable
from gha_step.github.messages import Answer
from gha_step.runtime import Clock, Workers

CALL_WAITS: Final = 2.0  # seconds: a call has to answer within some
TASK_WAITS: Final = 45.0  # seconds: twice connecting and twice an answer
PAUSE: Final = 5.0  # seconds after trouble that says nothing of its end

_Key = tuple[Endpoint, str, int, str, str, bytes]


class _Cell:
    """What is known of one token; read and written under the lock."""

    def __init__(self) -> None:
        self.flight: Future[InstallationToken] | None = None
        self.token: Token | None = None
        self.until = 0.0  # boottime, which also counts while the machine is suspended
        self.trouble: GitHubError | None = None
        self.not_before = 0.0  # monotonic


class AppTokens:
    """All installation tokens of this process.

    :param workers: threads for requests, each up to half a minute.
    """

    def __init__(self, *, client: Client, clock: Clock, workers: Workers) -> None:
        self._client = client
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()  # never held across a call into any of the above
        self._cells: Memory[_Key, _Cell] = Memory(5_000)
        # GitHub's clock minus ours, where a JWT was refused for it.
        self._ahead: Memory[Endpoint, float] = Memory(1_000)

    def token(self, app: Installation, *, patience: float = CALL_WAITS) -> Token:
        """A token that is good for some minutes at least.

        :param patience: seconds to wait for a request; it goes on, and the next call joins it.
        :raises TokenUnavailable: there is none now.
        :raises GitHubError: there is none, for good: `Refused`, `Untrusted`, `BadPrivateKey`.
        """
        mine: Future[InstallationToken] = Future()
        boottime, monotonic = self._clock.boottime(), self._clock.monotonic()
        with self._lock:
            cell = self._cell(app)
            if cell.token is not None and boottime < cell.until:
                return cell.token
            if cell.trouble is not None and (left := cell.not_before - monotonic) > 0:
                raise _unavailable(cell.trouble, left)
            if cell.flight is None:
                cell.flight = mine
            flight = cell.flight
        if flight is mine:
            self._workers.spawn(lambda: self._fly(app, cell, mine), app.endpoint.authority)
        if not self._workers.join(flight, patience):
            raise TokenUnavailable(f"a token for {app} is on its way", 1.0)
        try:
            return flight.result().token
        except (Unreachable, RateLimited, Unclear) as error:
            raise _unavailable(error, error.retry_after or PAUSE) from None

    def renewed(self, app: Installation, refused: Token) -> Token:
        """A token other than ``refused``, which GitHub has just refused: new, or what others have got meanwhile.

        Raises as `token`.
        """
        with self._lock:
            cell = self._cell(app)
            if cell.token == refused:
                cell.token = None
        return self.token(app, patience=TASK_WAITS)

    def installation(self, app: Installation) -> int:
        """The number of the App's installation for the repository, whatever number ``app`` has. One request.

        :raises GitHubError: it cannot be told; `Refused` with 404: the App is not installed there.
        """
        asked, path = installation_request(app)

        def ask(now: float) -> Answer:
            return self._client.get("app_installation", asked, path, app_jwt(app, now))

        answer, _ = self._by_githubs_clock(app, ask)
        return installation_number(answer, app)

    def _cell(self, app: Installation) -> _Cell:
        proof = hashlib.sha256(app.private_key.reveal().encode()).digest()
        key = (app.endpoint, app.issuer, app.number, app.owner.lower(), app.repo.lower(), proof)
        self._cells[key] = cell = self._cells.get(key) or _Cell()
        return cell

    # ---------------------------------------------------------------- the request

    def _fly(self, app: Installation, cell: _Cell, flight: "Future[InstallationToken]") -> None:
        try:
            begun = self._clock.boottime()  # GitHub counts from its answer, so this errs on the safe side
            found = self._request(app)
        except BaseException as error:
            trouble = error if isinstance(error, Unreachable | RateLimited | Unclear) else None
            with self._lock:
                cell.flight = None
                cell.trouble = trouble
                if trouble is not None:
                    cell.not_before = self._clock.monotonic() + (trouble.retry_after or PAUSE)
            flight.set_exception(error)
            if not isinstance(error, GitHubError):
                raise
            return
        token = Token(found.token.reveal(), found.token.subject, made_at=self._clock.monotonic())
        found = found._replace(token=token)
        with self._lock:
            cell.flight, cell.trouble = None, None
            cell.token, cell.until = found.token, begun + found.usable_for
        flight.set_result(found)

    def _request(self, app: Installation) -> InstallationToken:
        def ask(now: float) -> Answer:
            proof = app_jwt(app, now)
            return self._client.post("app_token", app.asked, app.path, proof, app.body, owner=("app", app.issuer))

        answer, ahead = self._by_githubs_clock(app, ask)
        return installation_token(answer, app, self._clock.now() + ahead)

    def _by_githubs_clock(self, app: Installation, ask: Callable[[float], Answer]) -> tuple[Answer, float]:
        """The answer, and by how many seconds GitHub's clock is ahead of ours.

        :param ask: one request; a second one only where GitHub's refusal itself tells that our clock is wrong.
        """
        with self._lock:
            ahead = self._ahead.get(app.endpoint, 0.0)
        answer = ask(self._clock.now() + ahead)
        error = clock_error(answer, self._clock.now() + ahead)
        if error is not None:
            with self._lock:
                self._ahead[app.endpoint] = ahead = ahead + error
            answer = ask(self._clock.now() + ahead)
        return answer, ahead


def _unavailable(error: GitHubError, retry_after: float) -> TokenUnavailable:
    asked = None
    if isinstance(error, RateLimited) and error.wait is not None:
        asked = max(0.0, error.wait - (error.retry_after - retry_after))
    return TokenUnavailable(str(error), min(max(retry_after, 1.0), 60.0), asked)
