"""cancelOnAbort: which records this process follows, and the objects for that, made when first needed.

With the setting `all`, or if no other process can use the ledger, these are all records with that duty; otherwise those
of its own steps, while it runs.
"""

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from gha_step.contract.errors import LedgerError, StepError
from gha_step.ledger.record import Record
from gha_step.runtime import Clock, Workers
from gha_step.telemetry import Telemetry, log
from gha_step.wiring.core import Core, guarded

if TYPE_CHECKING:
    from gha_step.inbound.duties import Duties
    from gha_step.kube import KubeApi

UNWRITTEN_FOR: Final = 600.0  # seconds for which a step may have no record yet


class AbortParts:
    """See the module.

    :param cluster: where Promotions are read.
    :param lease: namespace of the Lease by which one of several processes does it for all; ``None``: it is not shared.
    :param pod: of this process, whose earlier life may have left something; ``None``: not known.
    """

    def __init__(
        self,
        core: Core,
        *,
        cluster: "KubeApi",
        lease: str | None,
        pod: str | None,
        clock: Clock,
        workers: Callable[[int, str], Workers],
        telemetry: Telemetry,
    ) -> None:
        self._core = core
        self._cluster = cluster
        self._store = core.store
        self._lease = lease
        self._pod = pod
        self._clock = clock
        self._workers = workers
        self._telemetry = telemetry
        self._everybodys = lease is not None or core.store.exclusive
        self._threads = workers(2, "abort")
        self._lock = threading.Lock()
        self._mine: dict[str, tuple[str, float]] = {}  # project of each key, and since when; monotonic
        self._duties: Duties | None = None
        core.follow = self.follow

    def start(self) -> None:
        """Begin to work, on threads of its own."""
        if self._everybodys:
            self._begin()
        elif self._pod is not None:
            self._threads.spawn(self._take_over)

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            duties = self._duties
        if duties is not None:
            duties.stop()

    def follow(self, project: str, key: str) -> None:
        """A step of this process owes it."""
        if self._everybodys:
            return  # it is listed
        with self._lock:
            self._mine.setdefault(key, (project, self._clock.monotonic()))
        self._begin()

    def _begin(self) -> None:
        with self._lock:
            if self._duties is not None:
                self._duties.list_soon()
                return
            self._duties = duties = self._made()
        self._threads.spawn(guarded(duties.run, "cancelOnAbort has stopped working"))

    def _made(self) -> "Duties":
        from gha_step.inbound.abort.follower import Aborts  # the first step that asks for it pays
        from gha_step.inbound.duties import Duties
        from gha_step.inbound.promotions import Promotions
        from gha_step.ledger.duties import OUTCOMES
        from gha_step.ledger.leader import CANCELLER, Alone, Leader, LeaseLeader

        leader: Leader = Alone()
        if self._lease is not None:
            identity, work = self._core.owner.incarnation, "cancels the runs of promotions that were aborted"
            leader = LeaseLeader(self._cluster, self._lease, identity, self._clock, name=CANCELLER, work=work)
        aborts = Aborts(
            promotions=Promotions(self._cluster),
            access=self._core.access,
            client=self._core.client,
            dispatches=self._core.dispatches,
            store=self._store,
            clock=self._clock,
            everybodys=self._everybodys,
            soon=lambda key: duties.soon(key),  # noqa: PLW0108  it is made after this one
            count=self._telemetry.aborts.add,
        )
        duties = Duties(
            store=self._store,
            handler=aborts,
            leader=leader,
            clock=self._clock,
            workers=self._workers,
            owed=self._store.owed if self._everybodys else self._owed,
        )
        self._telemetry.aborts.expect(OUTCOMES)
        self._telemetry.watch_aborts(lambda: sum(standing.records for standing in duties.standing.values()))
        return duties

    def _owed(self) -> Iterator[Record]:
        """Those of this process's own steps."""
        with self._lock:
            mine = list(self._mine.items())
        for key, (project, since) in mine:
            record, over = None, self._clock.monotonic() - since > UNWRITTEN_FOR
            try:
                record = self._store.read(project, key)
            except LedgerError as error:
                log.error("%s", error)
                over = True
            if record is not None and record.owes:
                yield record
            elif record is not None or over:
                with self._lock:
                    self._mine.pop(key, None)

    def _take_over(self) -> None:
        """What an earlier process in this pod has begun: no call may ever come for it."""
        try:
            for record in self._store.owed():
                if record.abort is not None and record.owner is not None and record.owner.pod == self._pod:
                    self.follow(record.project, record.key)
        except StepError as error:
            log.warning("unfinished work of this pod's previous process cannot be listed: %s", error)
