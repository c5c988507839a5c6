"""What every store of the ledger must do: `StoreContract` runs against each entry of `STORES`.

Another store joins by an entry: from what pytest knows of a test, a context that gives an empty store.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gha_step.contract.request import Asked
from gha_step.ledger.duties import Duty
from gha_step.ledger.keys import step_key
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import Record, State
from gha_step.ledger.sqlite import SqliteStore
from gha_step.ledger.store import Conflict, Standing, Store
from gha_step.ledger.transitions import Send, advance
from tests.ledger.clusters import granted
from tests.ledger.records import ABORT, CANDIDATE, OURS, REPORT, TARGET, events, owing, record, run

OpenStore = Callable[[pytest.FixtureRequest], AbstractContextManager[Store]]


@contextmanager
def _sqlite(request: pytest.FixtureRequest) -> Iterator[Store]:
    folder: Path = request.getfixturevalue("tmp_path")
    store = SqliteStore(folder / "ledger.db")
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _kubernetes(request: pytest.FixtureRequest) -> Iterator[Store]:
    yield granted(request.getfixturevalue("cluster"), "demo", "other").store


STORES: Final[dict[str, OpenStore]] = {"sqlite": _sqlite, "kubernetes": _kubernetes}

OTHER_WORKFLOWS: Final = {"workflow": "test.yml", "repo": "myorg/other", "api_base": "https://ghe/api/v3"}


def fresh(alias: str = "dispatch", state: State = State.RESERVED, **changes: object) -> Record:
    """A record that no store has seen."""
    return record(state, alias=alias, **({"version": 0} | changes))


class StoreContract:
    """Derive from it, with a fixture ``store``."""

    def test_what_was_never_written_is_not_there(self, store: Store) -> None:
        assert store.read("demo", fresh().key) is None

    def test_a_write_gives_the_stored_record_and_a_read_finds_it(self, store: Store) -> None:
        written = store.write(fresh())
        assert written.version != 0
        assert written == fresh(version=written.version)
        assert store.read("demo", written.key) == written

    def test_every_content_has_a_version_of_its_own(self, store: Store) -> None:
        versions = {stored.version for stored in _life(store)}
        assert len(versions) == 4

    def test_a_record_that_is_there_is_not_created_again(self, store: Store) -> None:
        first = store.write(fresh(timeout=1))
        with pytest.raises(Conflict):
            store.write(fresh(timeout=2))
        assert store.read("demo", first.key) == first

    def test_another_version_than_the_stored_one_is_not_replaced(self, store: Store) -> None:
        *old, stored = _life(store)
        other = store.write(fresh("other"))
        for version in (
            *(one.version for one in old),
            f"{stored.version}9",
            99,
            *([] if other.version == 1 else [other.version]),
        ):
            with pytest.raises(Conflict):
                store.write(stored.model_copy(update={"version": version, "timeout": 9}))
        assert store.read("demo", stored.key) == stored

    def test_a_record_that_is_not_there_is_not_replaced(self, store: Store) -> None:
        other = store.write(fresh("other"))
        for version in (1, other.version):
            with pytest.raises(Conflict):
                store.write(fresh(version=version))
        assert store.read("demo", fresh().key) is None

    def test_the_state_alone_never_lets_a_write_through(self, store: Store) -> None:
        stale = store.write(fresh())
        store.write(stale.model_copy(update={"timeout": 9}))
        with pytest.raises(Conflict):
            store.write(advance(stale, events()[Send]))

    @pytest.mark.parametrize("state", list(State))
    def test_every_state_comes_back_as_it_was_written(self, store: Store, state: State) -> None:
        written = store.write(fresh(state=state))
        assert store.read("demo", written.key) == written

    def test_every_field_comes_back_as_it_was_written(self, store: Store) -> None:
        whole = fresh(
            alias="täsk::stéр 🚀\n'\"; DROP TABLE records; --",
            state=State.ACCEPTED,
            promotion="test.01abc 'quoted'",
            trouble_since=1.5,
            lost_at=2.25,
            answered_date=3.0,
            floor=4.125,
            baseline_ids=(1, 2**53 + 1),
            seen=(CANDIDATE,),
            listings=7,
            actor="my-app[bot]",
            marker="gs-" + "a" * 26,
            run=run("marker", 2**62),
            candidates=(CANDIDATE, CANDIDATE),
            reason="{braces} and \\ and \u2028",
            names_promotion=True,
            owner=OURS,
            asked=Asked("email:a@example.com", "REST from 10.0.0.1", "system:serviceaccount:kargo:controller"),
        )
        stored = store.write(whole)
        assert store.read("demo", stored.key) == stored == whole.model_copy(update={"version": stored.version})

    def test_a_version_that_does_not_know_who_asked_leaves_it_in_the_record(self, store: Store) -> None:
        asked = Asked("email:a@example.com", "REST from 10.0.0.1", "system:serviceaccount:kargo:controller")
        made = store.write(fresh(asked=asked))
        moved = store.write(made.model_copy(update={"asked": None, "timeout": 5}))
        assert store.read("demo", made.key) == moved.model_copy(update={"asked": asked})

    def test_of_many_writers_of_one_version_exactly_one_wins(self, store: Store) -> None:
        base = store.write(fresh())
        outcomes = race(lambda number: store.write(base.model_copy(update={"timeout": number + 1})), 8)
        won = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        assert len(won) == 1
        assert all(isinstance(outcome, Record | Conflict) for outcome in outcomes)
        assert store.read("demo", base.key) == won[0]

    def test_of_many_creators_exactly_one_wins(self, store: Store) -> None:
        outcomes = race(lambda number: store.write(fresh(timeout=number + 1)), 8)
        won = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        assert len(won) == 1
        assert store.read("demo", won[0].key) == won[0]

    def test_other_dispatches_of_one_promotion_and_workflow_are_found_whatever_their_ref(self, store: Store) -> None:
        mine = store.write(fresh("mine"))
        same = store.write(fresh("same", target=TARGET.model_copy(update={"ref": "dev"})))
        store.write(fresh("other-promotion", promotion="test.02"))
        store.write(fresh("other-project", key_parts=("other", "uid-1", "other-project")))
        for name, value in OTHER_WORKFLOWS.items():
            store.write(fresh(f"other-{name}", target=TARGET.model_copy(update={name: value})))
        assert store.others(mine, ()) == [same]

    @pytest.mark.parametrize("project", ["demo", "other"])
    @pytest.mark.parametrize("state", list(State))
    def test_open_dispatches_of_one_workflow_are_found_whatever_their_project(
        self, store: Store, project: str, state: State
    ) -> None:
        mine = store.write(fresh("mine"))
        parts = (project, "uid-2", "theirs")
        theirs = fresh(state=state, key_parts=parts, key=step_key(*parts), promotion="test.02")
        theirs = store.write(theirs)
        for name, value in OTHER_WORKFLOWS.items():
            target = TARGET.model_copy(update={name: value})
            store.write(fresh(f"other-{name}", State.SENDING, promotion="test.02", target=target))
        is_open = state in (State.SENDING, State.UNKNOWN, State.ACCEPTED_WITHOUT_ID)
        assert store.others(mine, ()) == ([theirs] if is_open else [])

    @pytest.mark.parametrize(
        ("mine", "theirs", "found"),
        [
            ("deploy.yml", "12345", True),
            ("12345", "deploy.yml", True),
            ("12345", "012345", True),
            ("12345", "67890", False),
            ("deploy.yml", "12345.yml", False),
        ],
    )
    def test_a_workflow_that_is_named_by_its_number_may_be_any_file_of_the_repository(
        self, store: Store, mine: str, theirs: str, *, found: bool
    ) -> None:
        ours = store.write(fresh("mine", target=TARGET.model_copy(update={"workflow": mine})))
        target = TARGET.model_copy(update={"workflow": theirs})
        rival = store.write(fresh("theirs", State.SENDING, promotion="test.02", target=target))
        for name in ("repo", "api_base"):
            elsewhere = target.model_copy(update={name: OTHER_WORKFLOWS[name]})
            store.write(fresh(f"other-{name}", State.SENDING, promotion="test.02", target=elsewhere))
        assert store.others(ours, ()) == ([rival] if found else [])

    @pytest.mark.parametrize("state", [State.AMBIGUOUS, State.UNRESOLVED])
    def test_accepted_dispatches_that_ended_without_their_run_are_found(self, store: Store, state: State) -> None:
        mine = store.write(fresh("mine", State.ACCEPTED_WITHOUT_ID, answered_date=5.0, floor=0.0, sending_at=5.0))
        theirs = store.write(fresh("theirs", state, promotion="test.02", answered_date=5.0, sending_at=1.0))
        store.write(fresh("lost", state, promotion="test.02", answered_date=None, sending_at=1.0))
        store.write(fresh("before", state, promotion="test.02", answered_date=5.0, sending_at=-1.0))
        assert [other.key for other in store.others(mine, ())] == [theirs.key]  # a store may give less of each

    def test_whoever_has_one_of_the_runs_is_found(self, store: Store) -> None:
        mine = store.write(fresh("mine", State.ACCEPTED, run=run("marker", 5)))
        theirs = [
            store.write(fresh(f"theirs-{number}", State.ACCEPTED, promotion="test.02", run=run("response", number)))
            for number in (5, 2**62, 7)
        ]
        store.write(
            fresh(
                "elsewhere",
                State.ACCEPTED,
                promotion="test.02",
                run=run("response", 5),
                target=TARGET.model_copy(update=OTHER_WORKFLOWS),
            )
        )
        assert sorted(found.alias for found in store.others(mine, (5, 2**62, 8))) == sorted(
            found.alias for found in theirs[:2]
        )

    def test_a_gate_that_was_never_written_is_empty(self, store: Store) -> None:
        assert store.read_lease("demo", TARGET) == Lease(project="demo", target=TARGET)

    def test_a_gate_is_replaced_by_version_only(self, store: Store) -> None:
        empty = store.read_lease("demo", TARGET)
        entered = store.write_lease(empty.entered("a"))
        assert store.read_lease("demo", TARGET) == entered
        with pytest.raises(Conflict):
            store.write_lease(empty.entered("b"))
        again = store.write_lease(entered.entered("c"))
        with pytest.raises(Conflict):
            store.write_lease(entered.entered("d"))
        assert store.read_lease("demo", TARGET) == again

    def test_each_target_of_each_project_has_its_own_gate(self, store: Store) -> None:
        store.write_lease(store.read_lease("demo", TARGET).entered("a"))
        assert store.read_lease("other", TARGET).holder is None
        assert store.read_lease("demo", TARGET.model_copy(update={"ref": "dev"})).holder is None

    def test_of_many_who_enter_a_gate_exactly_one_does(self, store: Store) -> None:
        empty = store.read_lease("demo", TARGET)
        outcomes = race(lambda number: store.write_lease(empty.entered(str(number))), 8)
        assert sum(isinstance(outcome, Lease) for outcome in outcomes) == 1

    @pytest.mark.parametrize(
        ("duty", "changes", "end"),
        [
            (ABORT, {"end": "Aborted", "ended": 1.5, "attempt": 2, "asked": 3.5}, {"outcome": "cancelled"}),
            (REPORT, {"ack": "closed", "linked": True, "said": ("link",), "label": "x"}, {}),
        ],
    )
    @pytest.mark.parametrize("state", list(State))
    def test_a_duty_is_kept_in_every_state_and_found_until_it_is_closed(
        self, store: Store, state: State, duty: Duty, changes: dict[str, Any], end: dict[str, Any]
    ) -> None:
        store.write(fresh("owes-nothing", state))
        stored = store.write(owing(fresh(state=state), duty))
        assert store.read("demo", stored.key) == stored
        assert list(store.owed()) == [stored]
        done = store.write(owing(stored, duty, **changes))
        assert list(store.owed()) == [done]
        closed = store.write(owing(done, duty, **changes, **end, closed=True))
        assert store.read("demo", stored.key) == closed
        assert list(store.owed()) == []

    def test_what_is_owed_is_found_in_every_project(self, store: Store) -> None:
        parts = ("other", "port", "run", "r_2")
        owed = {store.write(owing(fresh())).key}
        owed.add(store.write(owing(fresh(key_parts=parts, key=step_key(*parts)), id="r_2")).key)
        assert {record.key for record in store.owed()} == owed

    def test_a_report_travels_through_the_moves_of_its_record(self, store: Store) -> None:
        stored = store.write(owing(fresh()))
        moved = store.write(advance(stored, events()[Send]))
        assert moved.report == REPORT
        assert list(store.owed()) == [moved]

    def test_an_operator_sees_all_records_newest_first(self, store: Store) -> None:
        for number in (2, 3, 1):
            store.write(fresh(f"a{number}", created_at=float(number)))
        assert [found.alias for found in store.records()] == ["a3", "a2", "a1"]

    def test_records_are_counted_by_state_and_every_state_is_named(self, store: Store) -> None:
        store.write(advance(store.write(fresh("a", created_at=1.5)), events()[Send]))
        store.write(fresh("b", created_at=4.0))
        store.write(fresh("c", created_at=3.0))
        expected = dict.fromkeys(State, Standing()) | {
            State.SENDING: Standing(1, 1.5),
            State.RESERVED: Standing(2, 3.0),
        }
        assert dict(store.census()) == expected


def _life(store: Store) -> list[Record]:
    """One record as it is written four times, each time with another content."""
    life = [store.write(fresh(timeout=1))]
    for timeout in (2, 3, 4):
        life.append(store.write(life[-1].model_copy(update={"timeout": timeout})))
    return life


def race(work: Callable[[int], object], threads: int) -> list[object]:
    """What each of the threads gets, a result or an exception, when all begin at once."""
    outcomes: list[object] = [None] * threads
    start = threading.Barrier(threads)

    def one(number: int) -> None:
        start.wait()
        try:
            outcomes[number] = work(number)
        except Exception as error:  # noqa: BLE001  the test looks at it
            outcomes[number] = error

    running = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return outcomes
