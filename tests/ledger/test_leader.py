"""One process at a time works off what is owed: by a Lease that nobody's clock decides about."""

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gha_step.kube import AlreadyExists, Conflict, KubeUnavailable, NotFound
from gha_step.ledger.leader import DURATION, LEADS_FOR, RENEW, Alone, LeaseLeader
from tests.support.clock import LONG, VirtualClock, eventually


class Leases:
    """An API server's Leases: compare-and-set by uid and resourceVersion, as `KubeApi` shows it."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.away = False
        self.before_write: Callable[[], None] = lambda: None
        self._version = 0

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        self._check()
        if path not in self.objects:
            raise NotFound(path)
        return copy.deepcopy(self.objects[path])

    def create(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> dict[str, Any]:
        self._check()
        name = f"{path}/{body['metadata']['name']}"
        if name in self.objects:
            raise AlreadyExists(name)
        return self._put(name, body)

    def replace(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> dict[str, Any]:
        self._check()
        self.before_write()
        held = self.objects[path]["metadata"]
        if any(body["metadata"].get(key) != held[key] for key in ("uid", "resourceVersion")):
            raise Conflict(path)
        return self._put(path, body)

    def _put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._version += 1
        stored = copy.deepcopy(dict(body))
        stored["metadata"] |= {"uid": "u", "resourceVersion": str(self._version)}
        self.objects[path] = stored
        return copy.deepcopy(stored)

    def _check(self) -> None:
        if self.away:
            raise KubeUnavailable("the API server is away")

    @property
    def spec(self) -> dict[str, Any]:
        (one,) = self.objects.values()
        spec: dict[str, Any] = one["spec"]
        return spec


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def process(leases: Leases, clock: VirtualClock) -> Callable[[str], LeaseLeader]:
    return lambda name: LeaseLeader(leases, "port", name, clock)  # type: ignore[arg-type]


def test_the_first_leads_and_the_second_does_not(process: Callable[[str], LeaseLeader], leases: Leases) -> None:
    first, second = process("a"), process("b")
    first.renew()
    second.renew()
    assert (first.leads(), second.leads()) == (True, False)
    assert (leases.spec["holderIdentity"], leases.spec["leaseDurationSeconds"]) == ("a", 15)


def test_a_lease_that_is_renewed_is_never_taken_over(
    process: Callable[[str], LeaseLeader], clock: VirtualClock
) -> None:
    first, second = process("a"), process("b")
    for _ in range(20):
        first.renew()
        second.renew()
        assert (first.leads(), second.leads()) == (True, False)
        clock.forward(RENEW)


def test_who_cannot_renew_stops_before_another_begins(
    process: Callable[[str], LeaseLeader], leases: Leases, clock: VirtualClock
) -> None:
    first, second = process("a"), process("b")
    first.renew()
    second.renew()
    taken_over_after = None
    for passed in range(1, 40):
        clock.forward(1.0)
        leases.away = True
        first.renew()
        leases.away = False
        second.renew()
        assert not (first.leads() and second.leads())
        assert first.leads() == (passed < LEADS_FOR)
        if second.leads() and taken_over_after is None:
            taken_over_after = passed
    assert taken_over_after == DURATION
    assert leases.spec["leaseTransitions"] == 1


def test_a_clock_that_is_wrong_takes_nothing_over(process: Callable[[str], LeaseLeader], leases: Leases) -> None:
    """The Lease's own times are of other machines: they decide nothing."""
    process("a").renew()
    leases.spec["renewTime"] = "2001-01-01T00:00:00.000000Z"
    second = process("b")
    second.renew()
    second.renew()
    assert not second.leads()


def test_of_two_that_take_over_at_once_one_does(
    process: Callable[[str], LeaseLeader], leases: Leases, clock: VirtualClock
) -> None:
    process("a").renew()
    second, third = process("b"), process("c")
    second.renew()
    third.renew()
    clock.forward(DURATION)

    def quicker() -> None:
        leases.before_write = lambda: None
        third.renew()

    leases.before_write = quicker
    second.renew()
    assert (second.leads(), third.leads()) == (False, True)


def test_who_stops_lets_the_next_one_begin_at_once(process: Callable[[str], LeaseLeader], clock: VirtualClock) -> None:
    first, second = process("a"), process("b")
    stopped = threading.Event()
    thread = threading.Thread(target=lambda: first.run(stopped.is_set), daemon=True)
    thread.start()
    eventually(first.leads)
    stopped.set()
    thread.join(LONG)
    assert not first.leads()
    second.renew()
    assert second.leads()


def test_alone_one_always_leads() -> None:
    assert Alone().leads()
