"""Reports followed to their end against an emulated Port, under deaths, lost answers, people and workflows.

The follower here is a loop over `next_step`; the duty survives each death, what the process knew does not.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gha_step.emulator import Request, Response
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET, Action, ActionRun, NodeRun, Port, example
from gha_step.emulator.port import Refusal as PortRefusal
from gha_step.github.runs import ObservedJob, ObservedRun
from gha_step.inbound.port import following as f
from gha_step.inbound.port.reports import line_body, node_at_port, run_at_port
from gha_step.ledger.duties import Report
from gha_step.ledger.record import State
from tests.ledger import records
from tests.support.clock import VirtualClock

PAGE = "https://github.com/myorg/my-app/actions/runs/17"
COURSE = ("queued", "in_progress", "completed")


@dataclass
class Workflow:
    """The dispatched run: it goes on by the clock, and may tell Port something itself."""

    clock: VirtualClock
    conclusion: str = "success"
    course: tuple[str, ...] = COURSE
    each: float = 40.0  # seconds in each status
    began: float = 0.0
    exists: bool = True
    cancelled: list[bool] = field(default_factory=list)

    @property
    def status(self) -> str:
        step = int((self.clock.now() - self.began) / self.each)
        return "completed" if self.cancelled else self.course[min(step, len(self.course) - 1)]

    def observed(self) -> ObservedRun:
        ended = self.status == "completed"
        conclusion = "cancelled" if self.cancelled else self.conclusion
        return ObservedRun(self.status, conclusion if ended else None, 1, PAGE)


@dataclass
class World:
    """One Port run or node, its record, its workflow, and a follower that may die."""

    dice: random.Random
    kind: Any = "run"
    wanted: bool = True
    trouble: float = 0.0  # the share of requests that are lost, before or after they were processed
    deaths: int = 0
    rules: f.Rules = field(default_factory=f.Rules)
    state: State = State.ACCEPTED

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.port: Port = example(Port(now=self.clock.now))
        self.run: ActionRun | NodeRun = (
            self.port.press("deploy") if self.kind == "run" else self.port.start_node(Action("deploy"))
        )
        self.workflow = Workflow(self.clock, began=self.clock.now())
        now = self.clock.now()
        run = records.run(run_id=17)
        self.record = records.record(
            self.state, created_at=now, sending_at=now, timeout=300, reason="no such ref", run=run
        )
        self.duty = Report(via="claims", kind=self.kind, id=self.run.id, wanted=self.wanted)
        self.known = f.Known(since=now)
        self.asked: list[str] = []
        self.odd: dict[str, tuple[Response | None, bool]] = {}
        self.odd_left = 0
        self.closed: list[f.Close] = []
        self.events: list[tuple[float, Callable[[], None]]] = []
        body = {"clientId": EXAMPLE_CLIENT_ID, "clientSecret": EXAMPLE_CLIENT_SECRET}
        answer = self.port.handle(Request.to("POST", "/v1/auth/access_token", body=body))
        self.token = json.loads(answer.body)["accessToken"]
        self.port.credentials[EXAMPLE_CLIENT_ID].lifetime = self.port.credentials[EXAMPLE_CLIENT_ID].token_ends = 1e12

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        self.events.append((self.clock.now() + seconds, what))

    def ask(self, name: str, method: str, target: str, body: Any = b"") -> Response | None:
        """``None``: no answer; it may have been processed."""
        self.asked.append(name)
        lost = self.dice.random() < self.trouble
        if lost and self.dice.random() < 0.5:
            return None
        odd = self.odd.get(name) if self.odd_left else None
        if odd is not None:
            self.odd_left -= 1
            if not odd[1]:
                return odd[0]
        headers = {"x-port-reserved-usage": "true"}
        answer = self.port.handle(Request.to(method, target, token=self.token, body=body, headers=headers))
        if odd is not None:
            return odd[0]
        return None if lost or answer.status >= 500 else answer

    def follow(self, seconds: float = 40_000) -> None:
        """Until the report is closed; fails if it is not within that time."""
        end = self.clock.now() + seconds
        for _ in range(20_000):
            for event in [one for one in self.events if one[0] <= self.clock.now()]:
                self.events.remove(event)
                event[1]()
            owing = self.record.model_copy(update={"report": self.duty})
            step = f.next_step(owing, self.known, self.clock.now(), self.rules)
            if isinstance(step, f.Done):
                return
            assert self.clock.now() < end, (step, self.duty, self.known)
            before = self.duty
            self.carry_out(step)
            assert before.may_become(self.duty, sent=True), (step, before, self.duty)
            if self.deaths and self.dice.random() < 0.1:
                self.deaths -= 1
                self.known = f.Known(since=self.clock.now())
        raise AssertionError(("no end", self.duty, self.known))

    def carry_out(self, step: f.Step) -> None:
        now = self.clock.now()
        path = f"/v1/actions/runs/{self.run.id}" if self.kind == "run" else f"/v1/workflows/nodes/runs/{self.run.id}"
        match step:
            case f.Wait(wait):
                assert wait > 0
                self.clock.forward(wait)
            case f.Ack():
                name = "runId" if self.kind == "run" else "nodeRunIdentifier"
                where = "/v1/actions/runs/ack" if self.kind == "run" else "/v1/workflows/runs/ack"
                answer = self.ask("ack", "PATCH", where, {name: self.run.id})
                if answer is not None and answer.status == 409:
                    answer = Response(200)
                self.told(step, answer)
            case f.ReadPort() if self.kind == "run":
                answer = self.ask("read", "GET", path)
                if answer is not None:
                    seen = None if answer.status == 404 else run_at_port(answer.body)
                    self.duty, self.known = f.read(seen, self.duty, self.known, now)
                self.pause(answer)
            case f.ReadPort():
                target = f"/v1/workflows/nodes/runs?external_run_id={self.known.external_id}"
                answer = self.ask("read", "GET", target)
                node = None if answer is None else node_at_port(answer.body)
                if answer is not None:
                    self.duty, self.known = f.read(node, self.duty, self.known, now)
                self.pause(None if node is None else answer)
            case f.Patch(part, body, _):
                self.told(step, self.ask(f"patch {part}", "PATCH", path, body))
            case f.Say(part, line):
                self.told(
                    step, self.ask(f"say {part}", "POST", f"{path}/logs", line_body(line, node=self.kind == "node"))
                )
            case f.Look():
                self.asked.append("look")
                if self.dice.random() < self.trouble:
                    self.known = f.unseen(self.known, now)
                else:
                    run = self.workflow.observed() if self.workflow.exists else None
                    ended_well = run is None or run.conclusion in (None, "success", "skipped")
                    jobs = () if ended_well else (ObservedJob("deploy", "failure", "Test", PAGE),)
                    self.known = replace(f.looked(run, self.known, now, "gh_1_2_17"), jobs=jobs)
            case f.Resume():
                self.known = f.unseen(self.known, now)
            case f.Reject(reason):
                self.becomes(State.REJECTED, reason=reason)
            case f.Cancel(force):
                self.asked.append("force-cancel" if force else "cancel")
                if force or self.workflow.course == COURSE:
                    self.workflow.cancelled.append(force)
                self.duty, self.known = f.told(step, f.Took(), self.duty, self.known, now)
            case f.Close():
                self.closed.append(step)
                self.duty = self.duty.model_copy(update={"closed": True})

    def becomes(self, state: State, **changes: Any) -> None:
        self.record = self.record.model_copy(update={"state": state, **changes})

    def told(self, step: Any, answer: Response | None) -> None:
        outcome: f.Outcome = f.Unheard(sent=True)
        if answer is not None:
            outcome = f.Took() if answer.status < 300 else f.Refusal(answer.status)
        self.duty, self.known = f.told(step, outcome, self.duty, self.known, self.clock.now())
        self.pause(answer)

    def pause(self, answer: Response | None) -> None:
        if answer is None or answer.status >= 300:
            self.clock.forward(self.dice.choice([1.0, 5.0, 60.0]))

    @property
    def action_run(self) -> ActionRun:
        assert isinstance(self.run, ActionRun)
        return self.run

    @property
    def node(self) -> NodeRun:
        assert isinstance(self.run, NodeRun)
        return self.run

    def answers(self, answer: Response | None, *names: str, times: int = 10**9, processed: bool = False) -> None:
        """Port, or something before it, is of another mind: it answers these requests so."""
        self.odd |= dict.fromkeys(names, (answer, processed))
        self.odd_left = times

    @property
    def patches(self) -> int:
        return self.run.patches_by(EXAMPLE_CLIENT_ID)


def quiet(**changes: Any) -> World:
    return World(random.Random(0), **changes)


def test_an_ordinary_run_takes_seven_requests_two_of_them_patches() -> None:
    world = quiet()
    world.follow()
    to_port = [name for name in world.asked if name != "look"]
    assert to_port == ["ack", "patch link", "say link", "say label", "read", "say end", "patch end"]
    run = world.action_run
    assert (run.status, run.link, run.external_id) == ("SUCCESS", PAGE, "gh_1_2_17")
    assert world.action_run.labels == ["queued", "in progress"]
    assert world.action_run.label == "success"
    assert world.patches == 2
    assert world.action_run.summary is not None


def test_an_ordinary_node_ends_completed_with_its_output() -> None:
    world = quiet(kind="node")
    world.follow()
    assert (world.node.status, world.node.result, world.node.links) == ("COMPLETED", "SUCCESS", [PAGE])
    assert world.node.output["conclusion"] == "success"
    assert world.node.label == "success"


def test_a_node_keeps_what_the_workflow_put_into_its_output() -> None:
    world = quiet(kind="node")
    node = world.node
    world.later(50, lambda: world.port.workflow_patches_node(node, output={"image": "a", "conclusion": "mine"}))
    world.follow()
    assert node.output == {"workflowRunUrl": PAGE, "workflowRunId": "17", "conclusion": "mine", "image": "a"}


def test_a_failure_names_the_job() -> None:
    world = quiet()
    world.workflow.conclusion = "failure"
    world.follow()
    assert world.action_run.status == "FAILURE"
    assert "job 'deploy' ended with failure in its step 'Test'" in (world.action_run.summary or "")


@pytest.mark.parametrize("kind", ["run", "node"])
@pytest.mark.parametrize("wanted", [True, False])
def test_what_was_refused_before_it_was_sent_is_told_whatever_is_wanted(kind: str, wanted: bool) -> None:
    world = quiet(kind=kind, wanted=wanted, state=State.REJECTED)
    world.follow()
    assert world.run.ended
    assert world.run.label == "not dispatched"
    assert world.run.messages == ["Not dispatched: no such ref"]
    assert world.patches == 1


@pytest.mark.parametrize("kind", ["run", "node"])
def test_without_reporting_the_workflow_tells_the_end_itself(kind: str) -> None:
    world = quiet(kind=kind, wanted=False)
    world.follow()
    assert not world.run.ended
    assert "Workflow ended: success" in world.run.messages[-1]


@pytest.mark.parametrize("ending", ["SUCCESS", "FAILURE"])
def test_a_workflow_that_ends_its_own_run_is_left_alone(ending: str) -> None:
    world = quiet()
    run = world.action_run
    world.later(100, lambda: world.port.workflow_patches(run, status=ending, summary="mine"))
    world.follow()
    assert (run.status, run.summary) == (ending, "mine")
    assert world.patches == 1  # the link
    (close,) = world.closed
    assert not close.error
    assert close.differs is (ending == "FAILURE")


def test_a_link_and_summary_of_the_workflow_stay() -> None:
    world = quiet()
    world.port.workflow_patches(world.action_run, link="https://argo.example", summary="mine")
    world.clock.forward(60)  # taken up late, after a death
    world.follow()
    assert (world.action_run.link, world.action_run.summary) == ("https://argo.example", "mine")
    assert (world.action_run.status, world.action_run.external_id) == ("SUCCESS", "gh_1_2_17")
    assert any(PAGE in line for line in world.action_run.messages)


@pytest.mark.parametrize("state", [State.UNRESOLVED, State.AMBIGUOUS])
@pytest.mark.parametrize("kind", ["run", "node"])
def test_unknown_is_said_at_once_and_ends_the_run_an_hour_later(state: State, kind: str) -> None:
    world = quiet(kind=kind, state=state)
    began = world.clock.now()
    world.follow()
    assert world.run.ended
    assert world.run.label == "unknown"
    assert "may have been dispatched" in world.run.messages[0]
    assert world.run.ended_at is not None
    assert world.run.ended_at - began >= 3600
    assert world.run.log[0].at - began < 60


def test_late_evidence_saves_an_unknown_run() -> None:
    world = quiet(state=State.UNRESOLVED)
    world.later(600, lambda: world.becomes(State.ACCEPTED))
    world.follow()
    assert (world.action_run.status, world.action_run.link) == ("SUCCESS", PAGE)


def test_a_run_that_github_has_lost_is_unknown_and_never_a_plain_failure() -> None:
    world = quiet()
    world.workflow.each = 1e9
    world.later(100, lambda: setattr(world.workflow, "exists", False))
    world.follow()
    assert (world.action_run.status, world.action_run.label) == ("FAILURE", "unknown")


def test_what_waits_too_long_is_rejected_and_told() -> None:
    world = quiet(state=State.RESERVED)
    began = world.clock.now()
    world.follow()
    assert world.run.ended
    assert world.run.label == "not dispatched"
    assert "waited longer than 3600 s" in world.run.messages[0]
    assert world.clock.now() - began >= 3600


def test_what_a_listing_no_longer_shows_is_read_and_withdrawn_before_it_is_sent() -> None:
    world = quiet(state=State.RESERVED)
    world.port.set_status(world.action_run, "FAILURE")
    world.known = replace(world.known, doubted=True)
    began = world.clock.now()
    world.follow()
    assert world.record.reason == "withdrawn"
    assert world.clock.now() - began < 60
    assert world.action_run.messages == []


def test_a_run_that_waits_for_an_environment_says_so() -> None:
    world = quiet()
    world.workflow.course = ("queued", "waiting", "in_progress", "completed")
    world.known = replace(world.known, environments=("production",))
    world.follow()
    assert world.action_run.labels == ["queued", "waiting in GitHub", "in progress"]
    assert any("production" in line for line in world.action_run.messages)


@pytest.mark.parametrize(
    ("mode", "stubborn", "asked"),
    [
        ("off", False, []),
        ("on", False, ["cancel"]),
        ("on", True, ["cancel"]),
        ("force", False, ["cancel"]),
        ("force", True, ["cancel", "force-cancel"]),
    ],
)
def test_a_run_withdrawn_by_a_person_has_its_workflow_cancelled(mode: Any, stubborn: bool, asked: list[str]) -> None:
    world = quiet(rules=f.Rules(cancel=mode))
    run = world.action_run
    world.workflow.each = 1e9
    if stubborn:
        world.workflow.course = ("in_progress",)

    def withdraw() -> None:
        world.port.set_status(run, "FAILURE")
        world.known = replace(world.known, doubted=True, stale=True)

    world.later(30, withdraw)
    began = world.clock.now()
    world.follow()
    assert [name for name in world.asked if "cancel" in name] == asked
    assert len(world.closed) == 1
    if "force-cancel" in asked:
        assert world.clock.now() - began >= 360


@pytest.mark.parametrize("by", ["machine", "workflow"])
def test_nobody_elses_failure_cancels_anything(by: str) -> None:
    world = quiet(rules=f.Rules(cancel="force"))
    run = world.action_run
    world.later(30, lambda: world.port.set_status(run, "FAILURE", by=by))
    world.follow()
    assert not [name for name in world.asked if "cancel" in name]


def test_a_run_whose_id_is_only_attributed_is_never_cancelled() -> None:
    world = quiet(rules=f.Rules(cancel="force"))
    world.becomes(State.ACCEPTED, run=records.run("marker", 17))
    world.port.set_status(world.action_run, "FAILURE")
    world.follow()
    assert not [name for name in world.asked if "cancel" in name]


@pytest.mark.parametrize("part", ["link", "end"])
def test_an_open_run_that_refuses_a_patch_does_not_hold_up_the_rest(part: str) -> None:
    world = quiet()
    world.answers(Response(422), f"patch {part}")
    world.follow()
    assert world.action_run.status == "SUCCESS"
    assert world.asked.count(f"patch {part}") == 1


def test_a_run_that_refuses_its_end_in_every_form_is_closed_with_an_error() -> None:
    world = quiet()
    world.answers(Response(422), "patch end", "patch status alone")
    world.follow()
    (close,) = world.closed
    assert close.error


@pytest.mark.parametrize("kind", ["run", "node"])
@pytest.mark.parametrize("part", ["patch link", "say link", "say end", "patch end"])
@pytest.mark.parametrize("status", [302, 403, 405, 409])
def test_a_refusal_that_may_pass_is_repeated_until_port_takes_it(kind: str, part: str, status: int) -> None:
    if kind == "node" and status == 409:
        return  # by which Port says that a node has ended
    world = quiet(kind=kind)
    world.answers(Response(status), part, times=3)
    world.follow()
    assert (world.run.ended, world.run.label, world.odd_left) == (True, "success", 0)
    assert any("Workflow dispatched" in line for line in world.run.messages)
    assert any("Workflow ended" in line for line in world.run.messages)


@pytest.mark.parametrize("answer", [None, Response(403), Response(422), Response(503)])
def test_an_ack_that_never_comes_through_holds_up_nothing(answer: Response | None) -> None:
    world = quiet()
    world.answers(answer, "ack")
    world.follow()
    assert (world.action_run.status, world.patches) == ("SUCCESS", 2)
    assert world.asked[0] == "ack"
    if answer is not None and answer.status < 500:
        assert world.asked.count("ack") == 1


def test_an_ack_that_is_refused_because_the_run_has_ended_closes_its_report() -> None:
    world = quiet()
    world.port.set_status(world.action_run, "FAILURE")
    world.answers(Response(422), "ack")
    world.follow()
    assert len(world.closed) == 1
    assert world.patches == 0


def test_a_run_that_port_has_lost_is_given_up_after_ten_minutes_and_no_sooner() -> None:
    world = quiet()
    world.port.runs.clear()
    world.duty = world.duty.model_copy(update={"ack": "closed"})
    began = world.clock.now()
    world.follow()
    assert world.clock.now() - began >= 600


def test_a_read_that_lags_is_no_loss() -> None:
    world = quiet(state=State.REJECTED)
    world.port.read_lag = 60
    world.follow()
    assert world.run.ended


SEEDS = range(500)


@pytest.mark.parametrize("block", range(10))
def test_nothing_is_stranded_and_nothing_untrue_is_told(block: int) -> None:
    for seed in SEEDS[block::10]:
        dice = random.Random(seed)
        world = World(
            dice,
            kind=dice.choice(["run", "run", "node"]),
            wanted=dice.random() < 0.8,
            trouble=dice.choice([0.0, 0.2, 0.5]),
            deaths=dice.randrange(5),
            state=dice.choice([State.ACCEPTED] * 5 + [State.REJECTED, State.UNRESOLVED, State.UNKNOWN]),
            rules=f.Rules(cancel=dice.choice(["off", "on", "force"])),
        )
        world.port.ended_status = dice.choice([409, 422])
        world.workflow.conclusion = dice.choice(["success", "failure", "cancelled", "skipped"])
        if world.state in (State.UNKNOWN, State.UNRESOLVED):
            becomes = dice.choice([State.ACCEPTED, State.REJECTED, State.AMBIGUOUS])
            if world.state is State.UNRESOLVED:
                becomes = State.ACCEPTED
            if world.state is State.UNKNOWN or dice.random() < 0.5:
                world.later(
                    dice.uniform(10, 3000),
                    lambda world=world, becomes=becomes: world.becomes(becomes),  # type: ignore[misc]  # of this very world
                )
        by_hand = []
        if isinstance(world.run, ActionRun) and dice.random() < 0.5:
            at = dice.uniform(0, 200)
            if dice.random() < 0.5:
                by_hand.append("person")
                world.later(at, lambda world=world: world.port.set_status(world.action_run, "FAILURE"))  # type: ignore[misc]
            else:
                by_hand.append("workflow")
                told = dice.choice([{"status": "SUCCESS"}, {"summary": "mine"}, {"link": "https://argo.example"}])

                def tell(world: World = world, told: dict[str, str] = told, by: list[str] = by_hand) -> None:
                    try:
                        world.port.workflow_patches(world.action_run, **told)
                    except PortRefusal:
                        by.append("refused")  # the workflow's own step fails: it came after the end

                world.later(at, tell)
        world.follow()
        check(world, by_hand, seed)


def check(world: World, by_hand: list[str], seed: int) -> None:
    run, final = world.run, world.record.state
    said = " ".join(run.messages)
    if world.wanted or final is State.REJECTED:
        assert run.ended, seed
    ours = [patch for patch in run.patches if patch.by == EXAMPLE_CLIENT_ID and {"status", "result"} & set(patch.body)]
    assert len(ours) <= 1, seed
    for patch in ours:
        good = patch.body.get("status") == "SUCCESS" or patch.body.get("result") == "SUCCESS"
        label = patch.body.get("statusLabel")
        text = label.get("text") if isinstance(label, dict) else label
        if good:
            assert (final, world.workflow.status) == (State.ACCEPTED, "completed"), seed
            assert world.workflow.observed().conclusion in ("success", "skipped"), seed
        elif final is State.ACCEPTED and text not in (None, "unknown"):
            assert world.workflow.observed().conclusion in ("failure", "cancelled"), seed
        if text == "not dispatched":
            assert final is State.REJECTED, seed
    if final is State.REJECTED:
        assert PAGE not in said, seed
    if world.workflow.cancelled:
        assert "person" in by_hand, seed
    if isinstance(run, ActionRun) and "workflow" in by_hand and any(patch.by == "external" for patch in run.patches):
        for patch in run.patches:
            if patch.by == "external" and "summary" in patch.body and not ours:
                assert run.summary == "mine", seed
            if patch.by == "external" and "status" in patch.body:
                assert run.status == patch.body["status"], seed


def test_a_node_whose_link_went_out_alone_is_told_its_external_id_before_it_is_read() -> None:
    world = quiet(kind="node")
    node = world.node
    world.duty = world.duty.model_copy(update={"ack": "closed", "linked": True})
    world.later(50, lambda: world.port.workflow_patches_node(node, output={"image": "a"}))
    world.follow()
    assert node.output["image"] == "a"
    assert world.asked.count("patch external ID") == 1


def test_a_node_that_ended_before_its_external_id_was_told_is_closed() -> None:
    """Found by the simulation: no read can find it, and the PATCH of its ID is refused for ever."""
    world = quiet(kind="node")
    node = world.node
    world.duty = world.duty.model_copy(update={"ack": "closed", "linked": True, "said": ("link",)})
    world.later(0, lambda: world.port.workflow_patches_node(node, status="COMPLETED", result="SUCCESS"))
    world.follow()
    assert world.duty.closed
    assert (node.status, node.patches_by(EXAMPLE_CLIENT_ID)) == ("COMPLETED", 0)
    assert world.asked.count("patch external ID") == 1


def test_a_node_that_no_read_shows_is_told_its_end_all_the_same() -> None:
    world = quiet(kind="node")
    world.answers(Response.of(200, {"ok": True, "runs": []}), "read")  # a Port without this route
    world.follow()
    assert (world.node.status, world.node.result) == ("COMPLETED", "SUCCESS")
    assert world.asked.count("patch external ID") == 1


def test_a_report_links_the_run_or_else_the_workflow() -> None:
    duty = Report(via="kafka", kind="run", id="r_1", ack="none")
    now, known = 1_700_000_002.0, f.Known(since=1_700_000_000.0, next_look=1_700_000_900.0)

    def step(state: State, **changes: Any) -> f.Step:
        return f.next_step(records.record(state, **changes).owing(duty), known, now, f.Rules())

    assert step(State.ACCEPTED) == f.Patch("link", {"link": records.run().url})
    unknown = step(State.AMBIGUOUS)
    assert isinstance(unknown, f.Say)
    assert "https://github.com/myorg/my-app/actions/workflows/deploy.yml" in unknown.line.message
    assert records.CANDIDATE.url in unknown.line.message
    rejected = step(State.REJECTED)
    assert isinstance(rejected, f.ReadPort)


@pytest.mark.parametrize("part", ["link", "end"])
@pytest.mark.parametrize("processed", [True, False])
def test_a_patch_whose_answer_was_lost_is_followed_by_a_read_before_it_is_repeated(part: str, processed: bool) -> None:
    world = quiet()
    world.answers(None, f"patch {part}", times=1, processed=processed)
    world.follow()
    assert (world.action_run.status, world.action_run.link) == ("SUCCESS", PAGE)
    assert world.asked[world.asked.index(f"patch {part}") + 1] == "read"
    if part == "end":
        assert world.asked.count("patch end") == (1 if processed else 2)


def test_what_is_not_yet_acknowledged_is_acknowledged_first_in_every_state_after_the_send() -> None:
    now = 1000.0
    for state in State:
        owing = records.record(state, created_at=now).owing(Report(via="claims", kind="run", id="r_1"))
        step = f.next_step(owing, f.Known(), now, f.Rules())
        assert isinstance(step, f.Ack) is (state not in (State.RESERVED, State.SENDING))
