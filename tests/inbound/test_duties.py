"""Whoever works off duties goes on, whatever the ledger answers."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gha_step.inbound.duties import Duties
from gha_step.inbound.rounds import Rounds
from gha_step.ledger.leader import Alone
from gha_step.ledger.record import Record
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import SystemClock, ThreadWorkers
from tests.support.clock import LONG, VirtualClock, eventually


class Nothing:
    """A kind of duty that no record has."""

    def owes(self, record: Record) -> bool:
        return False

    def turn(self, record: Record) -> float | None:
        return None

    def forget(self, key: str) -> None: ...

    def each_minute(self) -> None: ...


def test_a_listing_that_fails_in_an_unexpected_way_is_tried_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def owed() -> Iterator[Record]:
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("a defect")
        return iter(())

    with closing(SqliteStore(tmp_path / "ledger.db")) as store:
        duties = Duties(
            store=store, handler=Nothing(), leader=Alone(), clock=SystemClock(), workers=ThreadWorkers, owed=owed
        )
        running = ThreadWorkers(1, "run").spawn(duties.run)

        def listed_again() -> bool:
            duties.list_soon()
            return len(asked) > 1

        eventually(listed_again)
        duties.stop()
        running.result(LONG)


def test_whoever_has_many_turns_that_take_long_leaves_places_to_others() -> None:
    rounds: Rounds[str] = Rounds(
        lambda name: None,
        clock=VirtualClock(),
        workers=ThreadWorkers(1, "none"),
        at_once=4,
        what="turns",
        share=lambda name: name[0],
    )
    for name in ("a1", "a2", "a3", "a4", "b1", "b2"):
        rounds.soon(name)
    assert rounds._ready() == ["a1", "b1", "a2"]
    assert rounds._pause() > 1, "nobody's turn can begin before another one has ended"
    rounds.soon("c1")
    assert rounds._ready() == ["c1"]
    rounds._one("b1")
    rounds._one("c1")
    assert rounds._ready() == ["b2"]
