"""Who speaks for a project: a caller that has the token in the Secret ``gha-step`` of the project's own namespace.

Source: facts/stock-kargo.md, "Who may call". Every refusal is backed by a read of that Secret that began after the call
came, so that a new token works at once; such reads are spaced, so that guessing puts no load on the API server. A
project that does not exist, one whose Secret is missing or may not be read, and a wrong token all take this one way and
look alike, also while the API server starts and refuses everything: then no refusal is certain for any project, and
only the right token is accepted.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gha_step.contract.errors import CredentialsError, SecretsUnavailable, StepError
from gha_step.contract.memory import Memory
from gha_step.contract.secret import Token
from gha_step.credentials.secrets import NoSecret, SecretDenied, SecretReader
from gha_step.runtime import Clock, Workers
from gha_step.telemetry import log

SECRET: Final = "gha-step"  # noqa: S105  the name of a Secret
KEY: Final = "token"
KEPT: Final = 10.0  # seconds for which a token that was read is believed: how long a replaced one still works
APART: Final = 0.5  # seconds after a read that proved nobody, before the next of the same Secret
LASTING: Final = 15.0  # seconds after the API server has let us in again: it may still learn who may what
MAX_READS: Final = 256  # first reads under way; guesses at ever other projects get no further
_FIRST: Final = " first"  # no project's name


@dataclass(frozen=True)
class _Read:
    """What a Secret held. ``begun``: when it was asked for, monotonic seconds. ``why``: no token to compare with.

    ``certain``: whether nothing but the project and the token can be the reason of a refusal.
    """

    begun: float
    token: Token | None = None
    why: StepError | None = None
    certain: bool = True

    def accepts(self, bearer: str) -> bool:
        return self.token is not None and self.token.matches(bearer)


class ProjectTokens:
    """The tokens of all projects; for one event loop.

    :param lets_in: whether the place where Secrets live lets this process in at this moment.
    """

    def __init__(
        self, secrets: SecretReader, *, workers: Workers, clock: Clock, lets_in: Callable[[], bool] = lambda: True
    ) -> None:
        self._secrets = secrets
        self._lets_in = lets_in
        self._asked = self._shut_out = -math.inf  # monotonic seconds: when it was asked last, and answered no last
        self._workers = workers
        self._clock = clock
        self._known: Memory[str, _Read] = Memory()
        self._first_reads = 0
        self._vain: Memory[str, float] = Memory()  # when the last read began that proved nobody
        self._underway: dict[str, asyncio.Task[_Read]] = {}

    async def objection(self, project: str, bearer: str, deadline: float) -> str | None:
        """Why ``bearer`` is not the token of ``project``, for the log only; ``None``: it is.

        :param project: the name of a namespace, whether there is one or not.
        :param deadline: monotonic seconds.
        :raises SecretsUnavailable: the token cannot be read now, or not until then.
        """
        arrived = self._clock.monotonic()
        known = self._known.get(project)
        if known is not None and arrived - known.begun < KEPT and known.accepts(bearer):
            return None
        while True:
            read = await self._read(project, deadline)
            if read.accepts(bearer):
                return None
            # Only such reads are spaced: the time that a refusal takes does not show whether a project is in use.
            self._vain[project] = read.begun
            if read.begun >= arrived:
                if isinstance(read.why, SecretsUnavailable) and not isinstance(read.why, SecretDenied):
                    raise read.why
                if not read.certain:
                    raise SecretsUnavailable("the API server did not let this process in a moment ago")
                return str(read.why or "another token than the Secret's was given")

    async def _read(self, project: str, deadline: float) -> _Read:
        """What the Secret holds by a read that is about to begin or under way."""
        task = self._underway.get(project)
        if task is None:
            known = project in self._known
            if not known and self._first_reads >= MAX_READS:
                raise SecretsUnavailable("too many Secrets are being read at the moment")
            task = self._underway[project] = asyncio.create_task(self._begin(project, known))
            self._first_reads += not known
        left = deadline - self._clock.monotonic()
        done, _ = await asyncio.wait([task], timeout=max(0.0, left))
        if not done:  # it goes on, and serves the next call
            raise SecretsUnavailable("it takes long to read")
        return task.result()

    async def _begin(self, project: str, known: bool) -> _Read:
        try:
            vain = self._vain.get(project)
            if vain is not None and (early := vain + APART - self._clock.monotonic()) > 0:
                await asyncio.sleep(early)
            begun = self._clock.monotonic()
            # Guesses at projects that nobody knows share among themselves what they may have of the threads.
            share = project if known else _FIRST
            job = self._workers.spawn(lambda: replace(self._get(project, begun), certain=self._is_certain()), share)
            read = await asyncio.wrap_future(job)
            if read.token is not None:
                self._known[project] = read
            elif not isinstance(read.why, SecretsUnavailable):
                self._known.pop(project, None)
            return read
        finally:
            self._first_reads -= not known
            del self._underway[project]

    def _is_certain(self) -> bool:
        """The same for all projects, and asked whatever the Secret held: neither words nor time tell of a project."""
        now = self._clock.monotonic()
        if now - self._asked >= APART:
            self._asked = now
            if not self._lets_in():
                self._shut_out = now
        return now - self._shut_out >= LASTING

    def _get(self, project: str, begun: float) -> _Read:
        try:
            value = self._secrets.read(project, SECRET).get(KEY)
        except SecretsUnavailable as error:
            return _Read(begun, why=error)
        except NoSecret:
            fix = f"kubectl create secret generic {SECRET} --namespace {project} --from-literal={KEY}=TOKEN"
            return _Read(begun, why=CredentialsError(f"the Secret {SECRET} does not exist: create it with {fix}"))
        except CredentialsError as error:
            return _Read(begun, why=error)
        except Exception:  # noqa: BLE001  the caller is asked to try again
            log.exception("the Secret %s of the project %s cannot be read", SECRET, project)
            return _Read(begun, why=SecretsUnavailable("internal error; see gha-step's log"))
        text = _text(value)
        if text is None:
            return _Read(begun, why=CredentialsError(f"its Secret {SECRET} has no key {KEY} that holds a token"))
        return _Read(begun, token=Token(text))


def _text(value: bytes | None) -> str | None:
    """The token as it may stand in a header, without the newline that ``echo`` and editors add."""
    text = (value or b"").decode("latin-1").strip()
    return text if text and all(33 <= ord(c) <= 126 for c in text) else None
