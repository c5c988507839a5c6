"""The fault plan: which request meets what, and how often."""

from gha_step.emulator import Close, Delay, Fault, Faults, Request, Reset

GET = Request.to("GET", "/user")
POST = Request.to("POST", "/x")


def test_a_fault_is_met_as_often_as_planned() -> None:
    faults: Faults[str] = Faults()
    planned = faults.add(Reset(), times=2)
    assert [faults.take("get-user", GET) for _ in range(3)] == [[Reset()], [Reset()], []]
    assert planned.used == 2


def test_a_fault_may_be_endless_and_cleared() -> None:
    faults: Faults[str] = Faults()
    faults.add(Reset(), times=None)
    assert all(faults.take("get-user", GET) for _ in range(100))
    faults.clear()
    assert faults.take("get-user", GET) == []


def test_only_matching_requests_meet_it_or_use_it_up() -> None:
    faults: Faults[str] = Faults()
    faults.add(Reset("after"), "dispatch", where=lambda request: request.method == "POST")
    assert faults.take("get-user", POST) == []
    assert faults.take("dispatch", GET) == []
    assert faults.take("dispatch", POST) == [Reset("after")]
    assert faults.take("dispatch", POST) == []


def test_the_first_ones_may_be_skipped() -> None:
    faults: Faults[str] = Faults()
    faults.add(Close(), skip=2)
    assert [bool(faults.take("get-user", GET)) for _ in range(4)] == [False, False, True, False]


def test_delays_come_first_and_join_other_faults() -> None:
    faults: Faults[str] = Faults()
    expected: list[Fault] = [Delay(1), Reset()]
    faults.add(Reset())
    faults.add(Delay(1))
    assert faults.take("get-user", GET) == expected
