"""Scenarios that take seconds of waiting, so that all of them are played at once; tests then look at how they ended.

What is waited for is real: a POST's answer, a listing's lag, the ten seconds after which looking ends.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gha_step.emulator import NEVER, Run
from tests.support.github import MARKED, NAMED, PLAIN
from tests.support.host import Heard

from .site import MARKED_BY, Followed, Site, Wait, as_told, site

OLD: Final = ("ghes-3.19", "ghes-3.20")
NEW: Final = "github.com"
NEVER_LISTED: Final = "never-listed.yml"


@dataclass
class Ended:
    """How a scenario ended: its promotions, and what GitHub got to see of it."""

    followed: list[Followed]
    strangers: list[Run] = field(default_factory=list)
    again: list[Heard] = field(default_factory=list)  # the answers to one more call each
    posts: int = (
        0  # dispatches of its workflow, less those that were refused for a key that an old server does not know
    )

    @property
    def only(self) -> Followed:
        assert len(self.followed) == 1
        return self.followed[0]

    @property
    def end(self) -> Heard:
        return self.only.end

    @property
    def statuses(self) -> set[str]:
        return {followed.end.status for followed in self.followed}

    @property
    def sources(self) -> set[object]:
        return {followed.source for followed in self.followed}


Play = Callable[[Site], Ended]
PLAYS: Final[dict[tuple[str, str], Play]] = {}  # by generation and name


def play(*generations: str) -> Callable[[Play], Play]:
    """A scenario on each of these servers."""

    def register(scenario: Play) -> Play:
        PLAYS.update({(generation, scenario.__name__): scenario for generation in generations})
        return scenario

    return register


@contextmanager
def played(folder: Path) -> Iterator[dict[tuple[str, str], Future[Ended]]]:
    """All of them, under way."""
    with ExitStack() as stack:
        sites = {
            generation: stack.enter_context(
                site(
                    folder / generation,
                    generation,
                    creation_lag=0.1,
                    listing_lag=lambda run: NEVER if run.workflow.file_name == NEVER_LISTED else 0.2,
                )
            )
            for generation in (*OLD, NEW)
        }
        pool = stack.enter_context(ThreadPoolExecutor(len(PLAYS)))
        yield {(generation, name): pool.submit(one, sites[generation]) for (generation, name), one in PLAYS.items()}


def posts_of(made: Site, file: str) -> int:
    """Dispatches of a workflow, less those that GitHub refused."""
    return sum(
        logged.operation == "dispatch" and f"/{file}/" in logged.path and logged.status in (200, 204, None)
        for logged in made.github.log
    )


def at_once(made: Site, file: str, count: int, *, named: bool = False, wait: Wait = as_told, **changes: Any) -> Ended:
    """So many promotions of one workflow at once."""
    promotions = {str(number): made.promotion() for number in range(count)}
    build = made.named if named else made.step
    steps = {name: build(promotion, file, **changes) for name, promotion in promotions.items()}
    followed = made.follow_all(steps, promotions, wait=wait)
    return Ended(list(followed.values()), posts=posts_of(made, file))


@play("ghes-3.19")
def five_named(made: Site) -> Ended:
    """Five promotions at once, each with its promotion's name in the run's title."""
    return at_once(made, made.workflow("named.yml", NAMED), 5, named=True, timeout="60")


@play("ghes-3.20")
def quiet(made: Site) -> Ended:
    """One dispatch without any mark; others have been long before."""
    file = made.workflow("quiet.yml", PLAIN)
    repository = made.github.repository("myorg/my-app")
    before = [made.stranger(file) for _ in range(3)]
    for run in before:  # long before: nothing of theirs is still on its way when ours begins
        run.created_at -= 60
        run.listed_at = run.created_at
    assert set(before) <= set(repository.runs)
    ended = at_once(made, file, 1)
    return Ended(ended.followed, strangers=before, posts=ended.posts)


@play("ghes-3.20")
def unmarked_at_once(made: Site) -> Ended:
    """Three promotions without a mark at once."""
    return at_once(made, made.workflow("unmarked.yml", PLAIN), 3)


@play("ghes-3.19")
def among_strangers(made: Site) -> Ended:
    """Without a mark, while the same identity starts the workflow by hand."""
    file = made.workflow("strangers.yml", PLAIN)
    promotion = made.promotion()
    step = made.step(promotion, file)
    made.host.call(promotion, step)
    made.await_state(promotion, step, "accepted_without_id")
    strangers = [made.stranger(file), made.stranger(file, actor="alice")]
    followed = made.follow(promotion, step)
    again = made.host.call(promotion, step)
    return Ended([followed], strangers, [again], posts_of(made, file))


@play("ghes-3.19")
def five_marked(made: Site) -> Ended:
    """Five promotions at once with correlationInput, among strangers."""
    file = made.workflow("marked.yml", MARKED)
    stranger = made.stranger(file)
    ended = at_once(made, file, 5, correlationInput=MARKED_BY)
    return Ended(ended.followed, [stranger], posts=ended.posts)


@play("ghes-3.20")
def deleted_while_looking(made: Site) -> Ended:
    """The ledger's record is deleted between the 204 and the run's first sight."""
    file = made.workflow("deleted.yml", PLAIN)
    promotion = made.promotion()
    step = made.step(promotion, file)
    made.host.call(promotion, step)
    made.await_state(promotion, step, "accepted_without_id")
    made.delete_record(promotion, step)
    return Ended([made.follow(promotion, step)], posts=posts_of(made, file))


@play("ghes-3.20")
def accepted_never_listed(made: Site) -> Ended:
    """204, and no listing ever shows the run."""
    return at_once(made, made.workflow(NEVER_LISTED, PLAIN), 1)
