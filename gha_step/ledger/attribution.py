"""Which run is ours, where GitHub did not say: decided purely, from listings that others read.

A run carries none of its inputs, so two dispatches of one workflow by one identity look alike. Three rules may
name a run, each with its own proof; where none applies the answer is "cannot be told", never a guess.
Times are GitHub's (its ``Date`` and ``created_at``), because the local clock may be an hour off.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol

from gha_step.ledger.record import Candidate, Record, Run, State
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

_FOREIGN_MARKER: Final = re.compile(r"(?<![0-9A-Za-z])gs-[a-z2-7]{26}(?![0-9A-Za-z])")


class ListedRun(Protocol):
    """One run of the workflow as a listing shows it. ``created_at``: seconds since 1970, GitHub's clock."""

    @property
    def id(self) -> int: ...
    @property
    def url(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def head_branch(self) -> str: ...
    @property
    def created_at(self) -> float: ...
    @property
    def actor(self) -> str: ...
    @property
    def title(self) -> str: ...


class Listing(Protocol):
    """Runs of one workflow, as far back as was asked for.

    ``begun``: GitHub's clock when the listing was asked for (its Date less the time that it took), or ``None``
    if the answer bore no Date.
    """

    @property
    def begun(self) -> float | None: ...
    @property
    def runs(self) -> Sequence[ListedRun]: ...


def looking_ends(record: Record, settle: float) -> float:
    """When looking ends, in seconds after sending."""
    return max(record.timeout, settle + LOOK_AFTER_SETTLING)


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


def floor_of(record: Record, listing: Listing, since_sending: float) -> float | None:
    """GitHub's time before which our run was not created."""
    if record.floor is not None or listing.begun is None:
        return record.floor
    return listing.begun - since_sending - UNKNOWN_SLACK


def eligible(run: ListedRun, record: Record, floor: float | None, claimed: Collection[int]) -> bool:
    """Whether ``run`` may be the one that ``record`` started."""
    foreign = any(found != record.marker for found in _FOREIGN_MARKER.findall(run.title))
    return (
        run.event == "workflow_dispatch"
        and run.head_branch == record.target.short_ref
        and run.id not in record.baseline_ids
        and (floor is None or run.created_at >= int(floor))
        and (record.actor is None or run.actor == record.actor)
        and run.id not in claimed
        and not foreign
    )


def attribute(
    record: Record,
    listing: Listing,
    *,
    settle: float,
    since_sending: float,
    claimed: Collection[int] = (),
    name_is_unique: bool = True,
) -> Event:
    """What ``listing`` proves about a record that looks for its run.

    :param record: in `accepted_without_id` or `unknown`.
    :param settle: S, seconds within which a run is surely created and listed.
    :param since_sending: seconds since the POST, local clock, when the listing was begun.
    :param claimed: IDs on the same API base that belong to other keys.
    :param name_is_unique: whether every other dispatch of the same promotion and workflow that was sent is
        accepted or rejected, so that the promotion's name means this one.
    """
    floor = floor_of(record, listing, since_sending)
    fresh = [run for run in listing.runs if eligible(run, record, floor, claimed)]
    seen = _union(record, record.seen, fresh, claimed)
    looked = Looked(seen=seen, floor=floor)
    listings = record.listings + 1
    without_id = record.state is State.ACCEPTED_WITHOUT_ID
    settled = listings >= MIN_LISTINGS and _settled(record, listing, settle, since_sending)
    enough = listings >= MIN_LISTINGS or not without_id or record.marker is not None
    over = enough and since_sending >= looking_ends(record, settle)

    if record.marker is not None:
        marked = tuple(candidate for candidate in seen if candidate.marked)
        if len(marked) == 1:
            return FoundByMarker(run=_run(marked[0], "marker"))
        if len(marked) > 1:
            return Indistinguishable(candidates=marked, reason="several runs show this step's marker")
    else:
        named = [candidate for candidate in seen if candidate.named]
        if len(named) == 1 and name_is_unique and (without_id or settled):
            return FoundByName(run=_run(named[0], "promotion-name"))
        if without_id and settled:
            if len(seen) == 1:
                only = Run(id=seen[0].id, url=seen[0].url, source="only-candidate")
                return OnlyCandidate(run=only)
            if len(seen) > 1:
                return Indistinguishable(candidates=seen, reason="several runs may be this one")
    if not over:
        return looked
    if seen:
        return Indistinguishable(candidates=seen, reason=_undecided(record))
    return NothingFound(reason="no run was seen in time")


def find_marker(record: Record, listing: Listing, claimed: Collection[int] = ()) -> FoundByMarker | None:
    """The late look for the marker, of a record that ended without a run."""
    fresh = [run for run in listing.runs if eligible(run, record, record.floor, claimed)]
    known = _union(record, (*record.seen, *record.candidates), fresh, claimed)
    marked = [candidate for candidate in known if candidate.marked]
    return FoundByMarker(run=_run(marked[0], "marker")) if len(marked) == 1 else None


def _union(
    record: Record, before: Iterable[Candidate], fresh: Iterable[ListedRun], claimed: Collection[int]
) -> tuple[Candidate, ...]:
    """All candidates of all listings: one that a listing omits, as a lagging replica does, is not forgotten."""
    known = {candidate.id: candidate for candidate in before if candidate.id not in claimed}
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


def _settled(record: Record, listing: Listing, settle: float, since_sending: float) -> bool:
    if record.state is State.ACCEPTED_WITHOUT_ID:
        if listing.begun is None or record.answered_date is None:
            return False
        # Both times are cut to whole seconds: one second more makes sure that S has really passed.
        return listing.begun - record.answered_date >= settle + 1
    return since_sending >= settle


def _undecided(record: Record) -> str:
    if record.marker is not None:
        return "no run shows this step's marker"
    if record.state is State.UNKNOWN:
        return "the answer was lost, so that none of these runs need be this one"
    return "the runs cannot be told apart"


def _run(run: Candidate, source: str) -> Run:
    return Run.model_validate({"id": run.id, "url": run.url, "source": source})
