"""Attribution among several keys of one ledger, explored completely: who may claim a run that several may have started.

Time goes in ticks. Each key sends once; its answer names the run (200), does not (204), or is lost. A run is created
when its key sends, and listed at some later tick; those of `late` keys at any later tick, the others within S: in this
model the assumption that a run is listed within S is broken on purpose. No gate: the keys may send at once.

Source: ledger.md, Attribution. A listing serves all; what the records say is read after it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Final, NamedTuple

SENDING, OPEN_204, UNKNOWN = "sending", "accepted_without_id", "unknown"
OPEN: Final = frozenset({SENDING, OPEN_204, UNKNOWN})


@dataclass(frozen=True)
class Rules:
    """What is explored, and under which rules."""

    answers: tuple[frozenset[str], ...]  # for each key, those that it may get: "200", "204", "lost"
    refs: tuple[str, ...]
    numbers: frozenset[int] = frozenset()  # keys that name the workflow by its ID, the others by its file
    late: frozenset[int] = frozenset()  # keys whose run may be listed at any later tick
    settle: int = 2  # S: runs that are not late are listed by then
    deadline: int = 4  # ticks after sending
    patience: int = 3  # ticks for which a deadline waits for other keys
    answered_within: int = 2  # ticks after sending: then `sending` ends
    looks_from: int = 5  # before this tick a look may fail to happen
    ticks: int = 10
    others_runs_are_taken: bool = True
    waits_for_rivals: bool = True
    waits_for_unidentified: bool = True
    a_number_may_be_any_file: bool = True


class Key(NamedTuple):
    """One dispatch; its run has the number of the key."""

    state: str = "idle"
    sent: int = 0
    listed: bool = False
    seen: frozenset[int] = frozenset()
    run: int | None = None
    has_204: bool = False


State = tuple[int, tuple[Key, ...]]


def explore(rules: Rules) -> tuple[int, str | None, set[tuple[str, ...]]]:
    """How many states there are, how a wrong run comes to be claimed (``None``: it does not), and all ends."""
    start: State = (0, tuple(Key() for _ in rules.answers))
    before: dict[State, State | None] = {start: None}
    ends: set[tuple[str, ...]] = set()
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        if any(key.run not in (None, number) for number, key in enumerate(state[1])):
            return len(before), _course(before, state), ends
        if state[0] == rules.ticks:
            ends.add(tuple(key.state for key in state[1]))
            continue
        for after in _next(rules, state):
            if after not in before:
                before[after] = state
                waiting.append(after)
    return len(before), None, ends


def _course(before: dict[State, State | None], state: State | None) -> str:
    lines = []
    while state is not None:
        lines.append(f"{state[0]}: {', '.join(f'{k.state} {sorted(k.seen)} {k.run}' for k in state[1])}")
        state = before[state]
    return "\n".join(reversed(lines))


def _next(rules: Rules, state: State) -> Iterator[State]:
    tick, keys = state
    for begun in _sent(tick, keys, rules):
        for answered in _answered(tick, begun, rules):
            for shown in _listed(tick, answered, rules):
                if tick < rules.looks_from:
                    yield tick + 1, shown
                yield tick + 1, _look(tick, shown, rules)


def _sent(tick: int, keys: tuple[Key, ...], rules: Rules) -> Iterator[tuple[Key, ...]]:
    """Any of the keys that have not begun may begin, in the first ticks."""
    idle = [number for number, key in enumerate(keys) if key.state == "idle"]
    if tick >= 2:
        yield tuple(key._replace(state="unsent") if key.state == "idle" else key for key in keys)
        return
    for chosen in _subsets(idle):
        yield tuple(
            key._replace(state=SENDING, sent=tick) if number in chosen else key for number, key in enumerate(keys)
        )


def _answered(tick: int, keys: tuple[Key, ...], rules: Rules) -> Iterator[tuple[Key, ...]]:
    """Each answer comes now or in a later tick."""
    courses: list[tuple[Key, ...]] = [()]
    for number, key in enumerate(keys):
        choices = [] if key.state == SENDING and tick >= key.sent + rules.answered_within else [key]
        if key.state == SENDING:
            outcomes = {
                "200": key._replace(state="accepted", run=number),
                "204": key._replace(state=OPEN_204, has_204=True),
                "lost": key._replace(state=UNKNOWN),
            }
            choices += [outcomes[answer] for answer in sorted(rules.answers[number])]
        courses = [(*course, choice) for course in courses for choice in choices]
    yield from courses


def _listed(tick: int, keys: tuple[Key, ...], rules: Rules) -> Iterator[tuple[Key, ...]]:
    unlisted = [n for n, key in enumerate(keys) if key.state not in ("idle", "unsent") and not key.listed]
    due = {n for n in unlisted if n not in rules.late and tick >= keys[n].sent + rules.settle}
    for chosen in _subsets([n for n in unlisted if n not in due]):
        yield tuple(
            key._replace(listed=True) if number in due or number in chosen else key for number, key in enumerate(keys)
        )


def _look(tick: int, keys: tuple[Key, ...], rules: Rules) -> tuple[Key, ...]:
    """One listing, by which the keys decide one after the other; each reads the records as they are by then."""
    shown = {number for number, key in enumerate(keys) if key.listed}
    for number, key in enumerate(keys):
        if key.state in (OPEN_204, UNKNOWN):
            decided = _decide(tick, number, keys, shown, rules)
            keys = (*keys[:number], decided, *keys[number + 1 :])
    return keys


def _decide(tick: int, number: int, keys: tuple[Key, ...], shown: set[int], rules: Rules) -> Key:
    key, ref = keys[number], rules.refs[number]
    others = [(n, other) for n, other in enumerate(keys) if n != number and _may_be_of_one_workflow(n, number, rules)]
    taken = {other.run for _, other in others if other.run is not None} if rules.others_runs_are_taken else set()
    seen = (key.seen | {n for n in shown if rules.refs[n] == ref}) - taken
    rivals = [other for n, other in others if rules.refs[n] == ref and other.state in OPEN]
    if not rules.waits_for_rivals:
        rivals = []
    unidentified = rules.waits_for_unidentified and any(
        other.has_204 and other.state in ("ambiguous", "unresolved") and rules.refs[n] == ref for n, other in others
    )
    settled = tick > key.sent + rules.settle
    rivals_settled = all(other.state == OPEN_204 and tick > other.sent + rules.settle for other in rivals)
    key = key._replace(seen=frozenset(seen))
    if key.state == OPEN_204 and settled:
        if len(seen) == 1 and not rivals and not unidentified:
            return key._replace(state="accepted", run=next(iter(seen)))
        if len(seen) >= max(2, 1 + len(rivals)) and rivals_settled:
            return key._replace(state="ambiguous")
    patience = rules.patience if rivals and key.state == OPEN_204 else 0
    if tick >= key.sent + rules.deadline + patience:
        return key._replace(state="ambiguous" if seen else "unresolved")
    return key


def _may_be_of_one_workflow(one: int, other: int, rules: Rules) -> bool:
    """As far as the two names tell: all keys of this model start one workflow, and a listing shows the runs of all."""
    return rules.a_number_may_be_any_file or (one in rules.numbers) == (other in rules.numbers)


def _subsets(numbers: list[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(numbers, size) for size in range(len(numbers) + 1))


MIXED: Final = frozenset({"200", "204"})
TWO: Final = Rules(answers=(MIXED, frozenset({"204"})), refs=("main", "main"), late=frozenset({1}))
OLD: Final = replace(TWO, others_runs_are_taken=False, waits_for_rivals=False)
