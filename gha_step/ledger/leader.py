"""Elects, by a Lease of Kubernetes, the one process that works on the records' duties.

It decides nothing about a dispatch: if two processes lead at once, at worst Port gets a report twice. A leader that
cannot renew its Lease stops before another may start. Clocks are never compared: a candidate waits until the Lease has
not changed for long enough.

Source: https://kubernetes.io/docs/concepts/architecture/leases/
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from gha_step.kube import AlreadyExists, Conflict, KubeApi, KubeError, NotFound
from gha_step.ledger.kubernetes import GATES
from gha_step.runtime import Clock
from gha_step.telemetry import log

DURATION: Final = 15.0  # seconds for which a Lease must stand still before another process takes it
RENEW: Final = 5.0  # seconds between two renewals
LEADS_FOR: Final = 10.0  # seconds from the begin of a renewal on
FOLLOWER: Final = "gha-step-follower"
CANCELLER: Final = "gha-step-cancel-on-abort"


class Leader(Protocol):
    """Whether this process works off duties."""

    def leads(self) -> bool:
        """Whether it does now."""

    def run(self, stopped: Callable[[], bool]) -> None:
        """See to it until ``stopped``, then let go."""


class Alone:
    """The only process on its ledger."""

    def leads(self) -> bool:
        return True

    def run(self, stopped: Callable[[], bool]) -> None:
        del stopped


class LeaseLeader:
    """One of several.

    :param identity: no other process has it.
    :param work: what its holder does, for the log.
    """

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        identity: str,
        clock: Clock,
        *,
        name: str = FOLLOWER,
        work: str = "sends reports to Port",
    ) -> None:
        self._work = work
        self._api = api
        self._collection = GATES.path(namespace)
        self._path = GATES.path(namespace, name)
        self._name = name
        self._identity = identity
        self._clock = clock
        self._leads_until = float("-inf")
        self._watched: tuple[str, float] = ("", 0.0)  # the Lease's version, and since when it is seen (monotonic)
        self._trouble = ""

    def leads(self) -> bool:
        return self._clock.monotonic() < self._leads_until

    def run(self, stopped: Callable[[], bool]) -> None:
        while not stopped():
            self.renew()
            self._clock.sleep(RENEW)
        self._release()

    def renew(self) -> None:
        """One try to have or keep the Lease."""
        begun, led = self._clock.monotonic(), self.leads()
        try:
            if self._take(begun):
                self._leads_until = begun + LEADS_FOR
                if not led:
                    log.info("this process %s (Lease %s)", self._work, self._name)
            else:
                self._leads_until = float("-inf")
            self._trouble = ""
        except Conflict:  # somebody else was quicker
            self._leads_until = float("-inf")
        except KubeError as error:  # as long as it holds, it holds
            if str(error) != self._trouble:
                log.warning("the Lease %s can be neither acquired nor renewed: %s", self._name, error)
            self._trouble = str(error)

    def _take(self, now: float) -> bool:
        try:
            found = self._api.get(self._path)
        except NotFound:
            try:
                self._api.create(self._collection, self._body({}, {}))
            except AlreadyExists:
                return False
            return True
        metadata, spec = found.get("metadata") or {}, found.get("spec") or {}
        holder, version = spec.get("holderIdentity") or "", str(metadata.get("resourceVersion"))
        if holder not in ("", self._identity):
            seen, since = self._watched
            if seen != version:
                self._watched = (version, now)
                return False
            if now - since < DURATION:
                return False
        self._api.replace(self._path, self._body(metadata, spec))
        return True

    def _body(self, metadata: dict[str, Any], spec: dict[str, Any], *, held: bool = True) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = spec.get("holderIdentity") == self._identity
        transitions = spec.get("leaseTransitions")
        count = transitions if isinstance(transitions, int) else 0
        kept = {
            name: metadata[name] for name in ("uid", "resourceVersion", "labels", "annotations") if name in metadata
        }
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, **kept},
            "spec": {
                **({"holderIdentity": self._identity} if held else {}),
                "leaseDurationSeconds": int(DURATION),
                "acquireTime": spec.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": count if mine or not spec else count + 1,
            },
        }

    def _release(self) -> None:
        """Let the next one begin at once."""
        if not self.leads():
            return
        self._leads_until = float("-inf")
        try:
            found = self._api.get(self._path)
            metadata, spec = found.get("metadata") or {}, found.get("spec") or {}
            if spec.get("holderIdentity") == self._identity:
                self._api.replace(self._path, self._body(metadata, spec, held=False))
        except KubeError as error:
            log.info("the Lease %s could not be released and will expire: %s", self._name, error)
