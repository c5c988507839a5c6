"""The claim loop against an emulated Port on real sockets, with a clock that the test moves."""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import Answer as FaultAnswer
from gha_step.emulator import Fault, Json, Reset, Response
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Action, Port
from gha_step.inbound.port import api as api_of_port
from gha_step.inbound.port.api import PortApi
from gha_step.inbound.port.claiming import Rules
from gha_step.inbound.port.claims import Claims
from gha_step.inbound.port.client import PortClient, PortCredentials
from gha_step.inbound.port.intake import Held, Press
from gha_step.inbound.port.messages import Kind, PortRun
from tests.support.clock import VirtualClock


class Door:
    """An intake that keeps what it takes until the test lets go of it."""

    def __init__(self, clock: VirtualClock, places: int) -> None:
        self.clock = clock
        self.places = places
        self.hands: dict[str, Held] = {}
        self.taken: list[Press] = []
        self.waits: list[float] = []
        self.draining = False

    def take(self, press: Press) -> Held:
        self.taken.append(press)
        return self.hands.setdefault(press.run.id, Held(press))

    def holds(self, kind: Kind, run_id: str) -> bool:
        return run_id in self.hands and self.hands[run_id].press.run.kind == kind

    @property
    def free(self) -> int:
        return self.places - len(self.hands)

    def actions(self) -> Counter[str]:
        return Counter(hand.press.run.action for hand in self.hands.values())

    def wait(self, seconds: float, until: Callable[[], bool]) -> None:
        if not until():
            self.waits.append(seconds)
            self.clock.forward(seconds)


class Play:
    """A loop, turn by turn, and what it said and counted."""

    def __init__(
        self,
        client: PortClient,
        port: Port,
        clock: VirtualClock,
        places: int,
        installation: str,
        poll: float,
        api: type[PortApi],
    ) -> None:
        self.port = port
        self.clock = clock
        self.door = Door(clock, places)
        self.counted: Counter[str] = Counter()
        self.claims = Claims(
            api(client),
            self.door,
            installation=installation,
            version="1.0",
            visibility=120.0,
            rules=Rules(places=places, poll=poll),
            clock=clock,
            personal=lambda: client.grant is not None and client.grant.machine is False,
            count=lambda result: self.counted.update([result]),
        )

    def until(self, seconds: float) -> None:
        """Turns, until so much time has passed."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.claims.turn()

    @property
    def ids(self) -> list[str]:
        return [press.run.id for press in self.door.taken]

    def let_go(self, number: int | None = None) -> None:
        """The first so many of those in hand are decided."""
        for run_id in list(self.door.hands)[:number]:
            del self.door.hands[run_id]


@pytest.fixture
def play(client: PortClient, port: Port, clock: VirtualClock) -> Callable[..., Play]:
    def made(
        *, places: int = 10, installation: str = "gha-step", poll: float = 3.0, api: type[PortApi] = PortApi
    ) -> Play:
        return Play(client, port, clock, places, installation, poll, api)

    return made


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "gha_step" and one.levelno >= level]


def test_a_press_and_a_node_are_taken_with_the_time_at_which_the_claim_began(
    play: Callable[..., Play], port: Port, clock: VirtualClock
) -> None:
    loop, begun = play(), clock.monotonic()
    run, node = port.press("deploy", {"environment": "prod"}), port.start_node(Action("deploy"))
    loop.until(3.0)
    assert loop.ids == [run.id, node.id]
    pressed = loop.door.taken[0]
    assert isinstance(pressed.run, PortRun)
    assert (pressed.run.inputs, pressed.via, pressed.open_at) == ({"environment": "prod"}, "claims", begun)
    assert loop.counted == {"new": 2}
    (asked,) = [one for one in port.log if one.operation == "claim"][:1]
    assert asked.headers["x-port-reserved-usage"] == "true"
    assert b'"visibilityTimeoutMs":120000' in asked.body
    assert b'"limit":10' in asked.body


def test_idle_it_asks_for_each_kind_once_per_poll(play: Callable[..., Play], port: Port) -> None:
    play().until(30.0)
    assert (port.count("claim"), port.count("claim-nodes"), port.count("token")) == (10, 10, 1)


def test_a_burst_is_claimed_at_once_page_by_page(play: Callable[..., Play], port: Port, clock: VirtualClock) -> None:
    loop, begun = play(places=5), clock.monotonic()
    runs = [port.press(Action(f"a{number}")) for number in range(12)]
    while len(loop.door.taken) < 12:
        loop.claims.turn()
        if not loop.door.free:
            loop.let_go()
    assert loop.ids == [run.id for run in runs]
    assert clock.monotonic() == begun
    assert port.count("claim") == 3


def test_a_page_with_much_content_is_taken_and_one_that_is_too_long_is_asked_for_in_smaller_pieces(
    play: Callable[..., Play], port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_of_port, "MAX_LISTING", 1 << 20)  # an eighth: to send so much takes long
    loop = play(places=200, poll=30.0)
    for number in range(60):
        port.press(Action(f"a{number}"), {"text": "x" * 3000})
    loop.until(1.0)
    assert len(loop.door.taken) == 60  # 200 kB
    for run in port.runs:
        port.ack(run, "gha-step")
    loop.let_go()
    for number in range(24):
        port.press(Action(f"b{number}"), {"text": "x" * 56_000})
    loop.until(900.0)  # what was claimed in vain comes again two minutes later
    assert len(set(loop.ids)) == 84
    assert loop.counted["error"]
    assert not loop.claims.refused


def test_no_more_is_taken_than_was_asked_for(play: Callable[..., Play], port: Port) -> None:
    loop = play(places=2)
    runs: list[Json] = [{"id": f"r_{number}", "payload": {}} for number in range(1000)]
    port.faults.add(FaultAnswer(Response.of(200, {"ok": True, "runs": runs})), "claim")
    loop.claims.turn()
    assert loop.ids == ["r_0", "r_1"]


def test_with_no_place_free_nothing_is_asked_and_nothing_turns_busily(
    play: Callable[..., Play], port: Port, clock: VirtualClock
) -> None:
    loop = play(places=2)
    for number in range(4):
        port.press(Action(f"a{number}"))
    loop.claims.turn()
    asked = port.count("claim", "claim-nodes")
    for _ in range(5):
        before = clock.monotonic()
        loop.claims.turn()
        assert clock.monotonic() >= before + 30.0
    assert port.count("claim", "claim-nodes") == asked
    loop.let_go(1)
    loop.claims.turn()
    loop.claims.turn()
    assert len(loop.door.taken) == 3  # the one place, and no more


def test_a_claim_without_a_usable_id_is_one_line_an_hour_and_stops_nothing(
    play: Callable[..., Play], port: Port, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    loop = play(poll=60.0)
    port.press("deploy").id = "r_../../evil"
    run = port.press("deploy")
    loop.until(3000.0)
    assert run.id in loop.ids
    assert "r_../../evil" not in loop.ids
    assert lines(caplog) == ["Port gave us a claim that cannot be used: a claimed run has no usable ID"]
    assert loop.counted["again"] > 20
    loop.until(1200.0)
    assert len(lines(caplog)) == 2


# ---------------------------------------------------------------- registration


def test_an_installation_of_our_own_is_registered_before_the_first_claim_and_once(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gha_step")
    play(installation="mine").until(60.0)
    made = port.installations["mine"]
    assert (made.app_type, made.actions_processing) == ("github-ocean", True)
    assert [one.operation for one in port.log][:4] == ["token", "get-integration", "create-integration", "claim"]
    assert port.count("create-integration", "get-integration") == 2
    assert lines(caplog, logging.INFO) == ["registered the installation mine at Port: actions can choose it now"]
    caplog.clear()
    play(installation="mine").until(60.0)  # the next start
    assert lines(caplog, logging.INFO) == ["the installation mine is registered at Port already: actions can choose it"]


def test_an_installation_that_somebody_removes_is_registered_again(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    loop = play()
    loop.until(10.0)
    del port.installations["gha-step"]
    loop.until(70.0)
    run = port.press("deploy")
    loop.until(6.0)
    assert loop.ids == [run.id]
    assert any("no action runs are claimed from Port" in line for line in lines(caplog))
    assert not loop.claims.refused


@pytest.mark.parametrize("status", [401, 403, 422])
def test_a_registration_that_port_refuses_is_told_hourly_and_runs_are_claimed_all_the_same(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    refusal = FaultAnswer(Response.of(status, {"ok": False, "error": "forbidden", "message": "no"}))
    port.faults.add(refusal, "get-integration", times=10_000)
    run = port.press("deploy")
    loop = play(poll=60.0)
    loop.until(3000.0)
    if status == 401:  # then nothing can be done with the token
        assert loop.claims.refused
        return
    assert loop.ids[0] == run.id
    assert len(lines(caplog)) == 1
    assert "the installation gha-step cannot be registered at Port" in lines(caplog)[0]
    assert port.count("get-integration") <= 51


def test_an_installation_of_another_kind_is_told_with_the_setting_that_names_it(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    port.installations["gha-step"].actions_processing = False
    loop = play(poll=30.0)
    loop.until(120.0)
    (line,) = lines(caplog)
    assert line.startswith("GHA_STEP_PORTIO_INSTALLATION: gha-step exists at Port, but its actionsProcessingEnabled")
    port.installations["gha-step"].actions_processing = True
    loop.until(120.0)
    asked = port.count("get-integration")
    loop.until(600.0)
    assert port.count("get-integration") == asked


# ---------------------------------------------------------------- refusals and trouble


def test_a_personal_token_is_named_hourly_and_a_machine_s_then_works(
    play: Callable[..., Play],
    port: Port,
    credentials: list[PortCredentials],
    caplog: pytest.LogCaptureFixture,
) -> None:
    port.add_credentials("person", "s", machine=False)
    machine = credentials[-1]
    credentials.append(PortCredentials("person", Token("s")))
    run = port.press("deploy")
    loop = play()
    loop.until(3500.0)
    told = lines(caplog)
    assert len(told) == 2  # runs and nodes
    assert all("a person's. Fix: use a machine's credentials" in line for line in told)
    assert port.count("claim") <= 60
    loop.until(300.0)
    assert len(lines(caplog)) == 4
    assert loop.claims.refused
    credentials.append(machine)
    loop.until(70.0)
    assert loop.ids == [run.id]
    assert not loop.claims.refused


def test_a_refused_login_is_asked_for_once_a_minute_and_told_once_an_hour(
    play: Callable[..., Play],
    port: Port,
    credentials: list[PortCredentials],
    caplog: pytest.LogCaptureFixture,
) -> None:
    right = credentials[-1]
    source = "the Secret port-credentials of project port"
    credentials.append(PortCredentials(EXAMPLE_CLIENT_ID, Token("wrong-secret-of-somebody"), source))
    loop = play()
    loop.until(3500.0)
    assert 50 <= port.count("token") <= 60
    assert len(lines(caplog)) == 2
    told = "refuses the client ID and secret: 401"
    fix = "correct clientId and clientSecret in the Secret port-credentials of project port"
    assert all(told in line and fix in line for line in lines(caplog))
    assert not any("wrong-secret-of-somebody" in line for line in lines(caplog, logging.DEBUG))
    credentials.append(right)
    run = port.press("deploy")
    loop.until(70.0)
    assert loop.ids == [run.id]


def test_missing_routes_for_nodes_are_told_and_asked_for_once_an_hour_and_runs_go_on(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    port.node_routes = "none"
    loop = play(poll=60.0)
    loop.until(3500.0)
    run = port.press("deploy")
    loop.until(60.0)
    assert loop.ids == [run.id]
    (line,) = lines(caplog)
    assert "no workflow nodes are claimed from Port" in line
    assert "asked again in an hour. Actions are not affected" in line
    assert port.count("claim-nodes") == 2  # both forms
    assert loop.claims.nodes_refused
    assert not loop.claims.refused
    port.node_routes = "described"
    node = port.start_node(Action("deploy"))
    loop.until(3600.0)
    assert node.id in loop.ids
    assert not loop.claims.nodes_refused


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Reset("after"), id="reset"),
        pytest.param(FaultAnswer(Response.of(503, {"ok": False})), id="503"),
        pytest.param(FaultAnswer(Response(200, (), b"<html>")), id="not json"),
        pytest.param(FaultAnswer(Response.of(200, {"ok": True, "runs": {}})), id="no list"),
    ],
)
def test_lost_answers_are_no_refusal_and_what_was_claimed_comes_again(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    port.faults.add(fault, "claim", times=3)
    run = port.press("deploy")
    loop = play()
    loop.until(200.0)
    assert set(loop.ids) == {run.id}
    assert port.count("claim") < 70
    assert lines(caplog) == []
    assert not loop.claims.refused


def test_an_outage_of_port_is_a_warning_once_it_has_lasted_and_is_told_when_it_is_over(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gha_step")
    port.faults.add(FaultAnswer(Response.of(503, {"ok": False})), times=1_000_000)
    loop = play()
    loop.until(1800.0)
    told = lines(caplog, logging.WARNING)
    assert len(told) == 2  # runs and nodes
    assert all("cannot be asked for" in line and "asked again" in line for line in told)
    assert port.count() < 200
    assert not loop.claims.refused
    port.faults.clear()
    run = port.press("deploy")
    loop.until(100.0)
    assert loop.ids == [run.id]
    assert any("action runs are claimed from Port again" in line for line in lines(caplog, logging.INFO))


def test_a_defect_in_asking_for_one_kind_keeps_the_other_from_nothing(play: Callable[..., Play], port: Port) -> None:
    class Defective(PortApi):
        def claim_nodes(self, *_: object) -> Any:
            raise RuntimeError("a defect")

    loop = play(api=Defective)
    run = port.press("deploy")
    for _ in range(6):
        with suppress(RuntimeError):
            loop.claims.turn()
    assert loop.ids == [run.id]


def test_it_ends_when_the_process_drains_and_survives_what_it_did_not_expect(
    play: Callable[..., Play], port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gha_step")
    loop = play()
    run = port.press("deploy")
    take = loop.door.take

    def clumsy(press: Press) -> Held:
        loop.door.draining = len(loop.door.taken) > 1
        take(press)
        raise RuntimeError("a defect")

    loop.door.take = clumsy  # type: ignore[method-assign]
    port.press("deploy")
    port.press("deploy")
    loop.claims.run()
    assert loop.ids[0] == run.id
    assert "claiming from Port failed" in lines(caplog)
