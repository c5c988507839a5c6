"""What every interface needs: the ledger, GitHub and the steps, constructed once.

Everything that touches the world (store, secrets, connections, clock, threads) is an argument, so that tests build the
same core.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from gha_step.credentials.secrets import SecretReader
from gha_step.github.app_tokens import AppTokens
from gha_step.github.client import Client
from gha_step.github.connection import Connector
from gha_step.github.listings import Listings
from gha_step.ledger.record import Owner
from gha_step.ledger.storage import objection
from gha_step.ledger.store import Store
from gha_step.runtime import Clock, Workers
from gha_step.settings import SqliteLedger
from gha_step.steps.access import Access, GivenToken, Repositories
from gha_step.steps.dispatch.step import DispatchWorkflow
from gha_step.steps.dispatch.tasks import DispatchTasks
from gha_step.steps.kind import Later, StepKind
from gha_step.steps.registry import Steps
from gha_step.steps.waking import Hint, Waking
from gha_step.telemetry import Telemetry, log

if TYPE_CHECKING:
    from gha_step.steps.wait.run_poller import RunPoller

TASKS: Final = 256  # threads for dispatches: each may wait half a minute for GitHub
LOOKS: Final = 64  # threads for looks at runs: each may wait ten seconds for GitHub
CANCELS: Final = 64  # threads for runs that are cancelled: each may wait ten seconds for GitHub
TOKENS: Final = 32  # threads for installation tokens: each may wait half a minute for GitHub
ARTIFACT_HOSTS: Final = frozenset({"blob.core.windows.net", "actions.githubusercontent.com"})
LATE: Final = 256  # threads for POSTs that have been silent for long


class Parts(NamedTuple):
    """What a step kind may be made from."""

    access: Repositories
    client: Client
    dispatches: DispatchTasks
    run_poller: "Callable[[], RunPoller]"
    clock: Clock
    store: Store
    workers: Callable[[int, str], Workers]
    follow: Callable[[str, str], None]


def _wait(parts: Parts) -> StepKind:
    from gha_step.steps.wait.step import WaitForWorkflow

    return WaitForWorkflow(access=parts.access, run_poller=parts.run_poller(), clock=parts.clock)


def _cancel(parts: Parts) -> StepKind:
    from gha_step.steps.cancel.step import CancelWorkflow

    workers = parts.workers(CANCELS, "cancel")
    return CancelWorkflow(
        access=parts.access, client=parts.client, store=parts.store, clock=parts.clock, workers=workers
    )


MakeKind = Callable[[Parts], StepKind]
KINDS: Final[tuple[MakeKind, ...]] = (
    lambda parts: DispatchWorkflow(access=parts.access, tasks=parts.dispatches, follow=parts.follow),
    lambda parts: Later("gha-wait-for-workflow", lambda: _wait(parts)),  # a twentieth of a start
    lambda parts: Later("gha-cancel-workflow", lambda: _cancel(parts)),
)


class Core:
    """One process's ledger, GitHub and steps.

    :param secrets: where tokens come from: Secrets, or the one that the caller has brought.
    :param workers: makes a bounded set of threads, from a limit and a name.
    :param owner: this process, as the records that it writes name it.
    :param settle: the settling time of the attribution, seconds.
    :param projects: the projects that hosts are served for; ``None``: all.
    :param shared_namespace: where Kargo's shared Git credentials are; ``None``: there are none.
    :param artifact_hosts: where outputs may be stored besides their GitHub itself.
    :param look_back: whether the ledger may have died with what it knew: then markers are looked for first.
    """

    def __init__(
        self,
        *,
        store: Store,
        secrets: SecretReader | GivenToken,
        connector: Connector,
        clock: Clock,
        workers: Callable[[int, str], Workers],
        owner: Owner,
        new_nonce: Callable[[], str],
        settle: float,
        telemetry: Telemetry,
        projects: frozenset[str] | None = None,
        allow_http: bool = False,
        shared_namespace: str | None = None,
        look_back: bool = False,
        artifact_hosts: frozenset[str] = ARTIFACT_HOSTS,
        kinds: Sequence[MakeKind] = KINDS,
    ) -> None:
        self.store = store
        self.owner = owner
        self.client = client = Client(connector, clock, telemetry)
        tasks = workers(TASKS, "task")
        self.dispatches = DispatchTasks(
            store=store,
            connector=connector,
            client=client,
            listings=Listings(client, clock, tasks),
            clock=clock,
            tasks=tasks,
            late_readers=workers(LATE, "late"),
            owner=owner,
            new_nonce=new_nonce,
            settle=settle,
            telemetry=telemetry,
            look_back=look_back,
        )
        self._clock = clock
        self._workers = workers
        self._artifact_hosts = artifact_hosts
        self._lock = threading.Lock()
        self._run_poller: RunPoller | None = None
        self.waking = Waking()
        self.waking.listen(self._hint)
        self.app_tokens = app_tokens = AppTokens(client=client, clock=clock, workers=workers(TOKENS, "token"))
        self.follow: Callable[[str, str], None] = lambda project, key: None
        """Hears, by project and key, of each record whose run is to be cancelled on abort."""
        access: Repositories
        if isinstance(secrets, GivenToken):
            access = secrets
        else:
            access = Access(secrets, allow_http=allow_http, shared_namespace=shared_namespace, app_tokens=app_tokens)
        parts = Parts(access, client, self.dispatches, lambda: self.run_poller, clock, store, workers, self._follow)
        self.access = access
        self.steps = Steps([make(parts) for make in kinds], projects=projects, clock=clock)

    @property
    def run_poller(self) -> "RunPoller":
        """What looks at runs, made when somebody first waits for one."""
        from gha_step.github.run_reader import RunReader
        from gha_step.steps.wait.outputs import OutputsReader
        from gha_step.steps.wait.reasons import Reasons
        from gha_step.steps.wait.run_poller import RunPoller

        with self._lock:
            if self._run_poller is None:
                reader = RunReader(self.client)
                self._run_poller = RunPoller(
                    reader=reader,
                    reasons=Reasons(reader, self.client.servers, self._clock),
                    outputs=OutputsReader(self.client, self._artifact_hosts),
                    rate_limits=self.client.rate_limits,
                    clock=self._clock,
                    workers=self._workers(LOOKS, "look"),
                )
            return self._run_poller

    def _follow(self, project: str, key: str) -> None:
        self.follow(project, key)  # which is known only later

    def _hint(self, hint: Hint) -> None:
        if self._run_poller is not None:  # else nobody waits
            self._run_poller.hint(hint)

    def drain(self) -> None:
        """Begin no further dispatch."""
        self.dispatches.drain()

    @property
    def on_the_wire(self) -> int:
        """How many POSTs have no answer yet, or one that is not yet in the ledger."""
        return self.dispatches.on_the_wire

    def close(self) -> None:
        """Begin nothing more, and let go of the ledger."""
        self.drain()
        self.store.close()


def objection_to(ledger: SqliteLedger, environment: Mapping[str, str]) -> str | None:
    """Why the ledger cannot be kept in this file of this machine; ``None``: it can."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text()
    except OSError:  # not Linux: nothing is known of the place
        mountinfo = ""
    in_kubernetes = "KUBERNETES_SERVICE_HOST" in environment
    place = PurePosixPath(ledger.path.resolve())
    return objection(place, mountinfo, in_kubernetes=in_kubernetes, lifetime_pod=ledger.lifetime_pod)


def guarded(work: Callable[[], None], otherwise: str) -> Callable[[], None]:
    """``work`` for a thread that has nobody else to tell. ``otherwise``: what it means that it fails."""

    def run() -> None:
        try:
            work()
        except Exception:  # noqa: BLE001  see above
            log.exception("%s: restart this process", otherwise)

    return run
