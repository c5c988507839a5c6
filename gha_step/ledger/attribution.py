"""Which run is ours, where GitHub did not say: decided purely, from listings and records that others read.

A run carries none of its inputs, so two dispatches of one workflow by one identity look alike. `RULES` may name a run,
each with its own proof; where none applies the end is "ambiguous" or "unresolved", never a guess.
Times are GitHub's (its ``Date`` and ``created_at``) wherever it has said them: the local clock may be an hour off.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from gha_step.contract.listing import WorkflowRun, WorkflowRuns
from gha_step.ledger.record import LOOKING, OPEN, Candidate, Record, Run, State
from gha_step.ledger.transitions import (
    Event,
    FoundByMarker,
    FoundByName,
    Indistinguishable,
    Looked,
    NothingFound,
    OnlyCandidate,
)

DATE_SLACK: Final = 5.0  # seconds: one-second timestamps, and servers behind one name that differ a little
UNKNOWN_SLACK: Final = 300.0  # seconds, where the moment of sending is known by the local clock only
MIN_LISTINGS: Final = 3
LOOK_AFTER_SETTLING: Final = 10.0  # seconds
WAIT_FOR_OTHERS: Final = 300.0  # seconds after its own end for which a dispatch waits for other keys' dispatches

_FOREIGN_MARKER: Final = re.compile(r"(?<![0-9A-Za-z])gs-[a-z2-7]{26}(?![0-9A-Za-z])")


def shows(word: str, title: str) -> bool:
    """Whether ``title`` holds ``word`` as a whole word: its neighbours are not alphanumeric."""
    if not word or word not in title:  # most titles end here, without a pattern to compile
        return False
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(word)}(?![0-9A-Za-z])", title) is not None


def shows_name(name: str, title: str) -> bool:
    """Whether ``title`` holds a promotion's name, and not a longer one of which it is a part.

    Such names hold dots and dashes, so that `test.1` is a whole word of `test.1-b` and of `pre-test.1`.
    """
    before, after = r"(?<![0-9A-Za-z])(?<![0-9A-Za-z][-._])", r"(?![0-9A-Za-z])(?![-._][0-9A-Za-z])"
    return bool(name) and re.search(before + re.escape(name) + after, title) is not None


# ---------------------------------------------------------------- what other records say


class Others(NamedTuple):
    """What the records of other keys of this ledger say about one that looks for its run."""

    runs: frozenset[int] = frozenset()  # theirs, whatever named them
    rivals: tuple[Record, ...] = ()  # open, of the same short ref, sent since our floor: a run may be theirs
    unidentified: bool = False  # one that GitHub accepted since our floor ended without its run
    name_is_unique: bool = True  # every other dispatch of the promotion that was sent is accepted or rejected


UNREAD: Final = Others(unidentified=True, name_is_unique=False)  # nobody knows: a marker alone proves a run then


def concerns(record: Record, other: Record, runs: Collection[int]) -> bool:
    """Whether ``other`` is one of the records that decide about ``record``, where a listing shows ``runs``.

    A store gives these and no others, so that a decision does not read all that a project has ever dispatched.
    """
    return (
        other.key != record.key
        and other.target.may_be_workflow_of(record.target)
        and (
            other.state in OPEN
            or _is_unidentified(record, other)
            or (other.run is not None and other.run.id in runs)
            or (not _is_over(other) and (other.project, other.promotion) == (record.project, record.promotion))
        )
    )


def _is_over(other: Record) -> bool:
    """Whether all that another's record can still tell us is which run is not ours."""
    return other.state in (State.ACCEPTED, State.REJECTED)


def others_of(record: Record, records: Iterable[Record]) -> Others:
    """What ``records``, which all concern ``record``, say about it."""
    records = tuple(records)
    promotion = (record.project, record.promotion)
    siblings = [other for other in records if (other.project, other.promotion) == promotion]
    return Others(
        runs=frozenset(other.run.id for other in records if other.run is not None),
        rivals=tuple(other for other in records if _is_rival(record, other)),
        unidentified=any(_is_unidentified(record, other) for other in records),
        name_is_unique=all(other.state is State.ACCEPTED or not other.sent for other in siblings),
    )


def _is_rival(record: Record, other: Record) -> bool:
    return other.state in OPEN and _may_be_mistaken(record, other)


def _is_unidentified(record: Record, other: Record) -> bool:
    accepted = other.state in (State.AMBIGUOUS, State.UNRESOLVED) and other.answered_date is not None
    return accepted and _may_be_mistaken(record, other)


def _may_be_mistaken(record: Record, other: Record) -> bool:
    """Whether the other's run would be eligible for ours: of the same short ref, and sent since our floor."""
    if other.target.short_ref != record.target.short_ref:
        return False
    if other.sending_at is None or record.sending_at is None or record.floor is None or record.answered_date is None:
        return True
    # The floor by the local clock, at the latest: from the floor to the answer it took at least as long as from the
    # floor to sending.
    return other.sending_at >= record.sending_at - (record.answered_date - record.floor)


# ---------------------------------------------------------------- one look


def floor_of(record: Record, listing: WorkflowRuns, since_sending: float) -> float | None:
    """GitHub's time before which our run was not created."""
    if record.floor is not None or listing.begun is None:
        return record.floor
    return listing.begun - since_sending - UNKNOWN_SLACK


def eligible(run: WorkflowRun, record: Record, floor: float | None, others_runs: Collection[int]) -> bool:
    """Whether ``run`` may be the one that ``record`` started."""
    foreign = any(found != record.marker for found in _FOREIGN_MARKER.findall(run.title))
    return (
        run.event == "workflow_dispatch"
        and run.head_branch == record.target.short_ref
        and run.id not in record.baseline_ids
        and (floor is None or run.created_at >= int(floor))
        and (record.actor is None or run.actor == record.actor)
        and run.id not in others_runs
        and not foreign
    )


def time_left(record: Record, settle: float, now: float, begun: float | None = None) -> float:
    """Seconds until looking may end; not positive: it may.

    :param now: the local wall clock.
    :param begun: GitHub's clock when the newest listing was asked for.
    """
    shortest = settle + LOOK_AFTER_SETTLING
    sent = record.sending_at or 0.0
    left = sent + max(record.timeout, shortest) - now
    # Another pod may first have watched for 90 s, or the 204 have come late: a look is worth as much then.
    if record.state is State.ACCEPTED_WITHOUT_ID and record.answered_date is not None and begun is not None:
        return max(left, record.answered_date + shortest - begun)
    return max(left, (sent if record.lost_at is None else record.lost_at) + shortest - now)


class Look:
    """One listing, and what it means for one record.

    :param record: in `accepted_without_id` or `unknown`.
    :param others: read after the listing: a step whose run it shows had written that to the ledger before. They need
        not be read where the look without them is none that `may_decide`.
    :param settle: S, seconds within which a run is surely created and listed.
    :param now: the local wall clock when the listing was begun.
    """

    def __init__(self, record: Record, listing: WorkflowRuns, others: Others, *, settle: float, now: float) -> None:
        self.record = record
        self.others = others
        since_sending = now - (record.sending_at or 0.0)
        self.floor = floor_of(record, listing, since_sending)
        fresh = [run for run in listing.runs if eligible(run, record, self.floor, others.runs)]
        self.seen = _union(record, record.seen, fresh, others.runs)
        self.left = time_left(record, settle, now, listing.begun)
        self.enough = record.listings + 1 >= MIN_LISTINGS
        self.settled = self.enough and (
            since_sending >= settle if record.state is State.UNKNOWN else _settled(record, listing, settle)
        )
        self.rivals_settled = all(
            other.state is State.ACCEPTED_WITHOUT_ID
            and other.listings >= MIN_LISTINGS
            and _settled(other, listing, settle)
            for other in others.rivals
        )

    @property
    def may_decide(self) -> bool:
        """Whether a rule may end it. What other keys' records say only takes candidates away, and never ends a look."""
        told = any(candidate.marked or candidate.named for candidate in self.seen)
        return told or self.settled or (self.enough and self.left <= 0)

    @property
    def waits(self) -> bool:
        """Whether open dispatches of other keys keep the candidates from being judged yet."""
        after_204 = self.record.state is State.ACCEPTED_WITHOUT_ID and self.record.marker is None
        return after_204 and bool(self.others.rivals)


def _settled(record: Record, listing: WorkflowRuns, settle: float) -> bool:
    """Whether S has surely passed since the 204, by GitHub's clock."""
    if listing.begun is None or record.answered_date is None:
        return False
    # Both times are cut to whole seconds: one second more makes sure that S has really passed.
    return listing.begun - record.answered_date >= settle + 1


# ---------------------------------------------------------------- the rules


def _by_marker(look: Look) -> Event | None:
    marked = tuple(candidate for candidate in look.seen if candidate.marked)
    if len(marked) > 1:
        return Indistinguishable(candidates=marked, reason="several runs show this step's marker")
    return FoundByMarker(run=_run(marked[0], "marker")) if marked else None


def _by_promotion_name(look: Look) -> Event | None:
    named = [candidate for candidate in look.seen if candidate.named]
    surely_exists = look.record.state is State.ACCEPTED_WITHOUT_ID
    if len(named) != 1 or not look.others.name_is_unique or not (surely_exists or look.settled):
        return None
    return FoundByName(run=_run(named[0], "promotion-name"))


def _by_only_candidate(look: Look) -> Event | None:
    """Not where another key's run exists that nobody has identified: this may be it, and ours be late."""
    if not look.settled or len(look.seen) != 1 or look.others.rivals or look.others.unidentified:
        return None
    return OnlyCandidate(run=_run(look.seen[0], "only-candidate"))


def _by_nothing(look: Look) -> Event | None:
    """Several candidates, and no open dispatch of another key whose end could take one of them away."""
    dispatches = 1 + len(look.others.rivals)
    if not look.settled or len(look.seen) < max(2, dispatches) or not look.rivals_settled:
        return None
    return Indistinguishable(candidates=look.seen, reason="several runs match this dispatch")


def _at_the_deadline(look: Look) -> Event | None:
    patience = WAIT_FOR_OTHERS if look.waits else 0.0
    if not look.enough or look.left + patience > 0:
        return None
    if look.seen:
        return Indistinguishable(candidates=look.seen, reason=_undecided(look.record))
    return NothingFound(reason=with_evidence(look.record, "no matching run appeared in time"))


class Rule(NamedTuple):
    """One line of `RULES`."""

    states: frozenset[State]  # in which it applies
    marker: frozenset[bool]  # whether with correlationInput, or without, or either way
    decide: Callable[[Look], Event | None]


_AFTER_204: Final = frozenset({State.ACCEPTED_WITHOUT_ID})
_WITH, _WITHOUT = frozenset({True}), frozenset({False})

# In this order: the first rule that returns an event wins.
RULES: Final = (
    #    applies in  correlationInput  decides
    Rule(LOOKING,    _WITH,            _by_marker),
    Rule(LOOKING,    _WITHOUT,         _by_promotion_name),
    Rule(_AFTER_204, _WITHOUT,         _by_only_candidate),
    Rule(_AFTER_204, _WITHOUT,         _by_nothing),
    Rule(LOOKING,    _WITH | _WITHOUT, _at_the_deadline),
)  # fmt: skip


def attribute(look: Look) -> Event:
    """What a look proves about its record."""
    record = look.record
    for rule in RULES:
        applies = record.state in rule.states and (record.marker is not None) in rule.marker
        if applies and (event := rule.decide(look)) is not None:
            return event
    return Looked(seen=look.seen, floor=look.floor)


def is_nothing_new(record: Record, event: Event) -> bool:
    """Whether a look has only added to how many there were, and neither this nor another key's decision needs that."""
    if not isinstance(event, Looked) or record.listings + 1 == MIN_LISTINGS:
        return False
    return event.seen == record.seen and (record.floor is not None or event.floor is None)


def find_marker(record: Record, listing: WorkflowRuns, others_runs: Collection[int] = ()) -> FoundByMarker | None:
    """The late look for the marker, of a record that ended without a run."""
    marked = marked_in(record, listing, others_runs)
    return FoundByMarker(run=_run(marked[0], "marker")) if len(marked) == 1 else None


def marked_in(record: Record, listing: WorkflowRuns, others_runs: Collection[int] = ()) -> list[Candidate]:
    """The runs that such a look may find."""
    fresh = [run for run in listing.runs if eligible(run, record, record.floor, others_runs)]
    known = _union(record, (*record.seen, *record.candidates), fresh, others_runs)
    return [candidate for candidate in known if candidate.marked]


def _union(
    record: Record, before: Iterable[Candidate], fresh: Iterable[WorkflowRun], others_runs: Collection[int]
) -> tuple[Candidate, ...]:
    """All candidates of all listings: one that a listing omits, as a lagging replica does, is not forgotten."""
    known = {candidate.id: candidate for candidate in before if candidate.id not in others_runs}
    for run in fresh:
        old = known.get(run.id)
        known[run.id] = Candidate(
            id=run.id,
            url=run.url,
            marked=(old is not None and old.marked) or (record.marker is not None and shows(record.marker, run.title)),
            named=(old is not None and old.named)
            or (record.names_promotion and shows_name(record.promotion, run.title)),
        )
    return tuple(known[run_id] for run_id in sorted(known))


def _undecided(record: Record) -> str:
    if record.marker is not None:
        return "no run shows this step's marker"
    if record.state is State.UNKNOWN:
        return with_evidence(record, "possibly none of these runs belongs to this step")
    return "these runs cannot be distinguished"


def with_evidence(record: Record, why: str) -> str:
    """Why a search ended without a run, after why it was needed, where the answer to the dispatch was lost."""
    return f"{record.reason}; {why}" if record.state is State.UNKNOWN and record.reason else why


def _run(run: Candidate, source: str) -> Run:
    return Run.model_validate({"id": run.id, "url": run.url, "source": source})
