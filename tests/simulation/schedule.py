"""One schedule: a world made from a seed, hosts that drive promotions in it to their ends, and what must hold.

The invariants are those of the specification: never two POSTs' worth of runs per key, never a wrong ID, no step stuck
for ever, a final answer stays final, no final answer while a send is possible; and where nothing goes wrong and
nobody else starts the workflow, the right ID.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.contract.request import Caller, Step, StepRequest
from gha_step.contract.result import StepResult
from gha_step.contract.secret import Token as SecretToken
from gha_step.credentials.secrets import LabelledSecret
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Run
from gha_step.emulator.generation import API_2022, Generation
from gha_step.github.endpoint import resolve_endpoint
from gha_step.kube import LASTING, Denied
from gha_step.ledger.keys import digest, step_key
from gha_step.ledger.record import FINAL, Owner, Record, State, Target
from gha_step.ledger.record import Run as RecordedRun
from gha_step.steps.registry import Steps
from gha_step.telemetry import Telemetry
from gha_step.wiring.core import Core
from tests.support.app_keys import rsa_key
from tests.support.github import MARKED, NAMED, PLAIN, WORKFLOW

from .kernel import Kernel, Process
from .world import EPOCH, ApiServer, Boundaries, Disk, Network, SimClock, SimConnector, SimStore, SimWorkers, Weather

REPLY_WITHIN: Final = 5.0
SETTLE: Final = 20.0
CALM_AFTER: Final = 420.0  # virtual seconds: from then on nothing goes wrong any more
STUCK_AFTER: Final = 1800.0  # virtual seconds: by then every promotion must have come to its end
TELEMETRY: Final = Telemetry()  # counters only: shared by all schedules
BASE_URL: Final = "http://127.0.0.1:1"
STEP_KIND: Final = "gha-dispatch-workflow"
OLD_PLAYS: Final = ("mixed answers", "forged gate", "late pod")
PLAYS: Final = ("poison", "fresh tokens", "versions", "denied", "forged record")
# Where these are calm, and nobody else starts the workflow, every promotion finds its run.
ORDINARY: Final = ("any", "fresh tokens", "versions", "denied")
POISON: Final = (
    '"return_run_details" is not a permitted key',
    'Invalid request. "return_run_details" is not a permitted key',
    "API rate limit exceeded",
    "You have exceeded a secondary rate limit",
    'The version you specified in the "X-GitHub-API-Version" request header is not supported',
)
MOST_TOKENS: Final = 2  # per key and process, as the specification has it
DENIALS: Final = ("may not", "knows no workflowdispatches", "401 or 403")


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Promotion:
    """One promotion step, as its host sees it."""

    name: str
    uid: str
    alias: str
    tag: str  # the input by which the judge knows its runs; no title shows it
    config: dict[str, Any]
    shared: dict[str, Any] = field(default_factory=dict)
    ended: StepResult | None = None
    ended_at: float = 0.0
    ends: int = 0
    told_unwritten: bool = False
    ended_denied: bool = False  # at least once, because the API server forbade it
    over_rest: bool = False
    calls: list[float] = field(default_factory=list)  # when its host asked

    @property
    def caller(self) -> Caller:
        """As the host or, over REST, the address in the path makes it."""
        if self.over_rest:
            return Caller(("demo", "caller", self.name, self.alias), self.name, self.uid, proved=True)
        return Caller(("demo", self.uid, self.alias), self.name, self.uid)

    @property
    def key(self) -> str:
        return step_key(*self.caller.key_parts)

    @property
    def denied(self) -> bool:
        """Whether it ended because the API server forbade it; a run that is known is told all the same, with why."""
        failed = self.ended is not None and self.ended.status == "Failed"
        return failed and any(words in str(self.ended and self.ended.message) for words in DENIALS)


class Secrets:
    def __init__(self, data: Mapping[str, bytes], api: ApiServer) -> None:
        self._data = data
        self._api = api

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        self._ask("get", name)
        return self._data

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        self._ask("list", "")
        yield LabelledSecret("app", self._data)

    def _ask(self, verb: str, name: str) -> None:
        try:
            self._api.ask(verb, f"secrets/{name}")
        except Denied as error:
            raise error.told_as("the Secret may not be read", CredentialsError, SecretsUnavailable) from None

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        return []


class Schedule:
    """Everything that a seed decides."""

    over_after = 0.0  # virtual seconds: what goes on without the hosts may take so long

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.kernel = kernel = Kernel(seed)
        dice = kernel.random
        self.generation: str | Generation
        self.generation = dice.choice(("github.com", "ghes-3.19", "ghes-3.19", "ghes-3.20", "ghes-3.21"))
        self.mark = dice.choice(("nothing", "nothing", "promotion", "marker"))
        self.shared_store = dice.random() < 0.5  # two pods on one store; else one process at a time
        self.replicas = dice.choice((1, 2)) if self.shared_store else 1
        self.polls_slowly = dice.random() < 0.3
        chance = dice.choice((0.0, 0.002, 0.01, 0.05))
        self.weather = replace(
            Weather.drawn(dice, chance, gets=5),
            budget=dice.choice((0, 1, 2, 4, 8)),
            clock_skew=dice.choice((0.0, 0.0, -3600.0, 3600.0, 7.3)),
            listing=dice.choice((1.0, 5.0, SETTLE)),
            zombie=dice.random() < 0.3,
        )
        self.play = dice.choice(("any", "any", "any", *OLD_PLAYS, *PLAYS))
        self._set_the_play()
        self.calm = self.weather.budget == 0
        begin, end = self.weather.denied
        hard = (  # an honest end is enough there
            self.weather.dead_tokens >= MOST_TOKENS or self.weather.lost_headers > 0 or end - begin >= LASTING
        )
        self.ordinary = self.calm and self.play in ORDINARY and not hard
        self.weather.creation = dice.uniform(0.0, 0.6) * self.weather.listing
        self.boundaries = Boundaries(kernel, self.weather)
        self.github = self._github()
        self.network = Network(kernel, self.github, self.boundaries)
        self.disk = Disk()
        self.one_promotion = dice.random() < 0.3 and self.play != "late pod"
        most = (2, 3, 3) if self.play in ("mixed answers", "poison") else (1, 1, 2, 3)
        self.promotions = [self._promotion(number) for number in range(dice.choice(most))]
        if self.play == "poison":
            self._poison(self.promotions[0])
        if self.play == "forged record":
            self._forge_record(self.promotions[0])
        self.processes: list[tuple[Process, Steps]] = []
        self.host = Process("host")
        self._incarnations = 0
        self._nonces = 0
        self.answers: list[str] = []

    def _set_the_play(self) -> None:
        """What each play needs of the world."""
        dice, weather = self.kernel.random, self.weather
        match self.play:
            case "mixed answers":
                self.generation = dice.choice(("github.com", "ghes-3.21"))
                weather.names = dice.choice((0.3, 0.6))
            case "forged gate":
                self.generation = dice.choice(("ghes-3.19", "ghes-3.20"))
            case "late pod":  # the sender dies once; another pod takes over, and must find what it started
                self.generation = dice.choice(("ghes-3.19", "ghes-3.20"))
                self.mark, self.polls_slowly = "promotion", False
                self.shared_store, self.replicas = True, 1
                self.weather = Weather(crash=0.05, budget=1, listing=dice.choice((1.0, 5.0, SETTLE)))
            case "poison":  # GitHub repeats what a user wrote, and that reads like its own words
                self.generation = dice.choice(("github.com", "ghes-3.21"))
                weather.budget = 0
            case "fresh tokens":  # a new App token is refused for some seconds, or for ever
                weather.ripening = dice.choice((0.0, 2.0, 5.0, 8.0))
                weather.dead_tokens = dice.choice((0, 0, 1, 9))
                weather.budget = dice.choice((0, weather.budget))
            case "versions":
                only_2022 = replace(Generation.named("ghes-3.21"), api_versions=(API_2022,))
                self.generation = dice.choice(("ghes-3.21", "ghes-3.21", only_2022))
                weather.lost_headers = dice.choice((0.0, 0.3, 1.0))
                weather.budget = dice.choice((0, weather.budget))
            case "denied":
                begin = dice.choice((0.0, dice.uniform(0.0, 30.0)))
                weather.denied = (begin, begin + dice.choice((2.0, 8.0, LASTING - 0.1, 40.0)))
                self.shared_store = True
                weather.budget = dice.choice((0, weather.budget))

    # ------------------------------------------------------------------ the world

    def _github(self) -> GitHub:
        dice, weather = self.kernel.random, self.weather
        github = GitHub(
            self.generation,
            example=False,
            now=lambda: EPOCH + self.kernel.now,
            skew=weather.clock_skew,
            creation_lag=lambda run: dice.uniform(0.0, weather.creation),
            listing_lag=lambda run: dice.uniform(0.0, weather.listing - weather.creation),
        )
        github.add_token(EXAMPLE_TOKEN)
        if self.play == "fresh tokens":
            github.add_installation(github.add_app(rsa_key().public))
        titles = {"nothing": PLAIN, "promotion": NAMED, "marker": MARKED}
        github.add_repository("myorg/my-app").add_workflow("deploy.yml", WORKFLOW.format(title=titles[self.mark]))
        return github

    def _promotion(self, number: int) -> Promotion:
        # Several steps of one promotion may dispatch the same workflow: then its name alone tells none from another.
        name, tag = f"test.promo{0 if self.one_promotion else number}", f"tag-{number}"
        inputs = {"image_tag": tag}
        if self.mark == "promotion":
            inputs["promotion"] = name
        by_secret = {"credentials": {"secretName": "github"}, "owner": "myorg", "repo": "my-app"}
        config: dict[str, Any] = {
            **({"repoURL": f"{BASE_URL}/myorg/my-app"} if self.play == "fresh tokens" else by_secret),
            "workflowFile": "deploy.yml",
            "ref": self.kernel.random.choice(("main", "refs/heads/main")),
            "inputs": inputs,
            "timeout": self.kernel.random.choice(("5", "60", "120")),
        }
        if self.mark == "marker":
            config["correlationInput"] = "gha_step"
        uid = f"uid-{0 if self.one_promotion else number}"
        return Promotion(name, uid, f"step-{number}", tag, config, over_rest=self.play == "forged record")

    def _poison(self, promotion: Promotion) -> None:
        """Let GitHub's refusal hold words of its protocol, which the user wrote."""
        dice = self.kernel.random
        words = dice.choice(POISON)
        if dice.random() < 0.5:
            promotion.config["ref"] = words
        else:
            promotion.config["inputs"][words] = "x"

    def _forge_record(self, promotion: Promotion) -> None:
        """Over REST a key is known before its Promotion exists: somebody makes its record, without or with a UID."""
        dice, config = self.kernel.random, promotion.config
        foreign = self.github.start_run(actor="kargo-bot", inputs={"image_tag": "by-hand"}, ref="main")
        state = dice.choice((State.ACCEPTED, State.ACCEPTED, State.RESERVED, State.AMBIGUOUS))
        api_base = resolve_endpoint(BASE_URL, allow_http=False).base
        forged = Record(
            key=promotion.key,
            key_parts=promotion.caller.key_parts,
            promotion=promotion.name,
            promotion_uid=dice.choice(("", "uid-forged")),
            state=state,
            target=Target(api_base=api_base, repo="myorg/my-app", workflow="deploy.yml", ref=config["ref"]),
            inputs_hash=digest(config["inputs"]),
            timeout=int(config["timeout"]),
            created_at=EPOCH,
            nonce=None if state is State.RESERVED else "forged",
            run=RecordedRun(id=foreign.id, url="", source="response") if state is State.ACCEPTED else None,
        )
        self.disk.put(forged)

    def start_process(self, pod: str) -> None:
        """A new process of the server, with nothing in its memory."""
        kernel = self.kernel
        self._incarnations += 1
        process = Process(f"p{self._incarnations}")
        clock, workers = SimClock(kernel), SimWorkers(kernel, process)
        api = ApiServer(clock, self.weather)
        store = SimStore(self.disk, process, self.boundaries, api, exclusive=not self.shared_store)
        connector = SimConnector(self.network, process)
        core = Core(
            store=store,
            secrets=Secrets(self._secret(), api),
            connector=connector,
            clock=clock,
            workers=lambda limit, name: workers,
            owner=Owner(pod=pod, incarnation=process.name),
            new_nonce=self._nonce,
            settle=SETTLE,
            telemetry=TELEMETRY,
        )
        steps = core.steps
        self.processes.append((process, steps))
        self._started(process, core, clock, workers)
        kernel.note(f"{process.name} starts in pod {pod}")
        delay = kernel.random.uniform(0.5, 20.0)
        stays = kernel.random.random() < 0.6 and self.play != "late pod"
        successor = pod if stays else f"pod{self._incarnations}"
        process.at_death.append(lambda: kernel.at(delay, lambda: self._replace(process, successor)))

    def _started(self, process: Process, core: Core, clock: SimClock, workers: SimWorkers) -> None:
        """What else works in a new process."""

    def _secret(self) -> Mapping[str, bytes]:
        if self.play != "fresh tokens":
            return {"accessToken": EXAMPLE_TOKEN.encode(), "baseURL": BASE_URL.encode()}
        app = {"githubAppClientID": "Iv23example", "githubAppInstallationID": "815"}
        app |= {"repoURL": f"{BASE_URL}/myorg/my-app", "githubAppPrivateKey": rsa_key().private}
        return {name: value.encode() for name, value in app.items()}

    def _replace(self, dead: Process, pod: str) -> None:
        self.processes = [(process, steps) for process, steps in self.processes if process is not dead]
        self.start_process(pod)

    def _nonce(self) -> str:
        self._nonces += 1
        return f"nonce{self._nonces}"

    # ------------------------------------------------------------------ the host

    def _drive(self, promotion: Promotion) -> None:
        """A host: asks again and again until the answer is final, and forgets its state now and then."""
        kernel, dice = self.kernel, self.kernel.random
        kernel.sleep(dice.uniform(0.0, 5.0))
        again = dice.choice((0, 0, 1))  # how often all steps are run again after the end
        while not self._is_over(promotion):
            if dice.random() < 0.05:
                kernel.spawn(self.host, lambda: self._call(promotion))  # the host re-sends a call that it gave up
            result = self._call(promotion)
            if result is None:
                promotion.shared.pop(promotion.alias, None)
                kernel.sleep(dice.uniform(0.2, 3.0))
                continue
            if result.status != "Running":
                promotion.ends += 1
                if again == 0:
                    return
                again -= 1
                promotion.shared.clear()
                kernel.sleep(dice.choice((1.0, 30.0, 200.0)))
                continue
            assert result.retry_after is not None
            if result.retry_after < 1.0:
                raise Broken(f"retryAfter is {result.retry_after}")
            kernel.sleep(max(10.0, result.retry_after) if self.polls_slowly else result.retry_after)

    def _is_over(self, promotion: Promotion) -> bool:
        """Whether its host asks no more."""
        return False

    def _call(self, promotion: Promotion) -> StepResult | None:
        """One call, as the server's shell makes it; ``None``: it did not reach the server, or got no answer."""
        kernel = self.kernel
        alive = [(process, steps) for process, steps in self.processes if process.alive]
        if not alive:
            return None
        process, steps = kernel.random.choice(alive)
        shared = {} if promotion.over_rest else dict(promotion.shared)
        request = StepRequest(promotion.caller, Step(kind=STEP_KIND, config=dict(promotion.config)), shared)
        promotion.calls.append(kernel.now)
        arrived = 1000.0 + kernel.now
        held = self._record(promotion)
        was_final = held is not None and held.final
        deadline = kernel.now + REPLY_WITHIN
        job = kernel.spawn(process, lambda: steps.execute(request, arrived))
        kernel.join(job, deadline - kernel.now)
        if not process.alive or not job.done():
            return None
        outcome = job.result()
        if not isinstance(outcome, StepResult):
            kernel.join(outcome.ready, deadline - kernel.now)
            if not process.alive:
                return None
            outcome = outcome.answer()
        if kernel.random.random() < 0.05:
            return None  # the answer is lost on its way to the host
        self._hear(promotion, outcome, was_final=was_final)
        return outcome

    def _hear(self, promotion: Promotion, result: StepResult, *, was_final: bool) -> None:
        wire = json.loads(result.to_wire())
        promotion.shared[promotion.alias] = wire["output"]
        run_id = wire["output"].get("runID", "")
        line = f"{promotion.name} {promotion.alias} hears {result.status} {run_id} {result.message}"
        self.kernel.note(line)
        self.answers.append(line)
        if any(token in str(wire) for token in (EXAMPLE_TOKEN, *self.network.made)):
            raise Broken("a token is in an answer")
        if "internal error" in str(result.message):
            raise Broken("an internal error")
        if result.status == "Running":
            # A ledger that cannot be read says nothing, not even that the step has ended; and an exact ID may be
            # told while it is still being written.
            excused = "the ledger" in str(result.message) or not was_final
            if promotion.ended is not None and not excused:
                raise Broken(f"{promotion.name}: Running after {promotion.ended.status}")
            return
        self._judge_final(promotion, result)

    # ------------------------------------------------------------------ what must hold

    def runs_of(self, promotion: Promotion) -> list[Run]:
        return [run for run in self.github.runs if run.inputs.get("image_tag") == promotion.tag]

    def _record(self, promotion: Promotion) -> Record | None:
        return self.disk.records.get(promotion.key)

    def _judge_final(self, promotion: Promotion, result: StepResult) -> None:
        run_id = _run_id(result)
        if result.status == "Succeeded":
            if run_id not in [run.id for run in self.runs_of(promotion)]:
                raise Broken(f"{promotion.name}: run {run_id} is somebody else's")
        elif run_id is not None:
            raise Broken(f"{promotion.name}: {result.status} with a run ID")
        before = promotion.ended
        held = self._record(promotion)
        if result.status == "Succeeded" and (held is None or held.state is not State.ACCEPTED):
            promotion.told_unwritten = True  # the ledger was away: exact knowledge is told all the same
        same = before is not None and (before.status, _run_id(before)) == (result.status, run_id)
        if before is not None and not same and not promotion.told_unwritten:
            improves = before.status == "Failed" and result.status == "Succeeded"
            if not improves or str(before.message).startswith("nothing was dispatched"):
                raise Broken(f"{promotion.name}: {before.message} became {result.message}")
        if before is None:
            promotion.ended_at = self.kernel.now
        promotion.ended = result
        promotion.ended_denied |= promotion.denied

    def _check(self) -> None:
        for promotion in self.promotions:
            if self.ordinary and (promotion.ended is None or promotion.ended.status != "Succeeded"):
                raise Broken(f"{promotion.name}: nothing went wrong, and yet: {promotion.ended}")
            runs = self.runs_of(promotion)
            if self.play == "late pod" and runs and (promotion.ended is None or promotion.ended.status != "Succeeded"):
                raise Broken(f"{promotion.name}: its run shows its name, and yet: {promotion.ended}")
            if len(runs) > 1:
                raise Broken(f"{promotion.name}: {len(runs)} runs for one key")
            posts = [when for when, _, body in self.network.posts if f'"{promotion.tag}"' in body]
            self._check_play(promotion, runs, posts)
            if promotion.ended is None:
                continue
            if str(promotion.ended.message).startswith("nothing was dispatched") and runs:
                raise Broken(f"{promotion.name}: told that nothing was dispatched, but a run exists")
            # What the API server forbade ends without a record: a host that asks again begins anew.
            again = [when for when in promotion.calls if when > promotion.ended_at and promotion.ended_denied]
            until = min(again, default=STUCK_AFTER + 700.0)
            late = [when for when in posts if promotion.ended_at < when < until]
            if late and not self.boundaries.frozen_before_sending:
                raise Broken(f"{promotion.name}: a POST began at {late[0]:.1f}, after the final answer")
            self._check_record(promotion)

    def _check_play(self, promotion: Promotion, runs: list[Run], posts: list[float]) -> None:
        status = None if promotion.ended is None else promotion.ended.status
        tampered = promotion is self.promotions[0]
        if self.play == "poison":
            source = getattr(promotion.ended and promotion.ended.output, "run_id_source", None)
            if len(posts) != 1:
                raise Broken(f"{promotion.name}: {len(posts)} POSTs: a user's words were taken for GitHub's")
            if (status, source) != (("Failed", None) if tampered else ("Succeeded", "response")):
                raise Broken(f"{promotion.name}: a user's words were learned from: {promotion.ended}")
        if self.play == "forged record" and tampered and (status != "Failed" or posts):
            raise Broken(f"{promotion.name}: a forged record was believed: {promotion.ended}")
        begin, end = self.weather.denied
        if promotion.ended_denied and end - begin < LASTING:
            raise Broken(f"{promotion.name}: a denial of a moment ended it: {promotion.ended}")
        if self.play == "fresh tokens" and self.calm and self.replicas == 1:
            tokens = {token for _, token, body in self.network.posts if f'"{promotion.tag}"' in body}
            if len(tokens) > MOST_TOKENS:
                raise Broken(f"{promotion.name}: {len(tokens)} tokens were tried")
        if self.play == "versions" and self.calm and len(posts) > 3:
            raise Broken(f"{promotion.name}: {len(posts)} POSTs to a server with two API versions")

    def _check_record(self, promotion: Promotion) -> None:
        record = self._record(promotion)
        history = self.disk.history.get(record.key, []) if record is not None else []
        for before, after in itertools.pairwise(history):
            if (
                before.state in FINAL
                and before.state is not after.state
                and (after.state is not State.ACCEPTED or before.state is State.REJECTED)
            ):
                raise Broken(f"{promotion.name}: the record went from {before.state} to {after.state}")

    # ------------------------------------------------------------------ running

    def run(self) -> None:
        """To the end of the schedule. :raises Broken: an invariant does not hold."""
        kernel, dice = self.kernel, self.kernel.random
        for number in range(self.replicas):
            self.start_process(f"pod-{number}")
        if self.play == "forged gate":
            self.weather.gate_refused = dice.random() < 0.3
            kernel.spawn(self.host, self._forge)
        for _ in range(0 if self.play == "late pod" else dice.choice((0, 0, 1, 2))):
            self.ordinary = False
            kernel.at(dice.uniform(0.0, 60.0), self._stranger)
        kernel.at(CALM_AFTER, self._calm)
        drivers = [
            kernel.spawn(self.host, lambda promotion=promotion: self._drive(promotion))  # type: ignore[misc]
            for promotion in self.promotions
        ]
        try:
            kernel.run(STUCK_AFTER, lambda: all(driver.done() for driver in drivers))
            for driver in drivers:
                if not driver.done():
                    raise Broken("a step is stuck")
                driver.result()
            kernel.run(max(kernel.now, self.over_after) + 700.0, lambda: False)  # what is still on its way arrives
            self._check()
        finally:
            kernel.end()

    def _calm(self) -> None:
        self.kernel.note("from here on nothing goes wrong")
        self.weather.budget = 0

    def _forge(self) -> None:
        """Somebody who may write Leases holds the gate for whom he likes, or touches it without end."""
        dice, gates = self.kernel.random, self.disk.gates
        touches = dice.random() < 0.5
        while self.kernel.now < STUCK_AFTER:
            self.kernel.sleep(dice.uniform(0.05, 0.5) if touches else dice.uniform(0.5, 20.0))
            for name, gate in list(gates.items()):
                holders = ("f" * 64, None, gate.holder, *self.disk.records)
                holder = gate.holder if touches and dice.random() < 0.9 else dice.choice(holders)
                gates[name] = gate.model_copy(update={"holder": holder, "version": int(gate.version) + 1})

    def _stranger(self) -> None:
        """Somebody starts the same workflow with the same token."""
        actor = self.kernel.random.choice(("kargo-bot", "kargo-bot", "alice"))
        self.kernel.note(f"{actor} starts the workflow by hand")
        self.github.start_run(actor=actor, inputs={"image_tag": "by-hand"}, ref="main")


def _run_id(result: StepResult) -> int | None:
    run_id: int | None = getattr(result.output, "run_id", None)
    return run_id


def describe(schedule: Schedule) -> str:
    """What the seed decided, and everything that happened."""
    head = (
        f"seed {schedule.seed}: {schedule.play}, {schedule.generation}, titles show {schedule.mark}, "
        f"{schedule.replicas} replica(s), {'shared' if schedule.shared_store else 'exclusive'} store, "
        f"{len(schedule.promotions)} promotion(s), "
        f"{schedule.weather}"
    )
    return "\n".join([head, *schedule.kernel.trace])


__all__ = ["Broken", "Schedule", "SecretToken", "describe"]
