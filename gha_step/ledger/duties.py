"""What a record still has to do after its end (a duty), and which parts of it may change. Data only.

A duty is written with the record's first write. One follower works on it from the ledger alone, in any state of the
record, and closes it once the other side has confirmed it. It never allows a dispatch, and changes neither state nor
run.
"""

from typing import Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

FIXED: Final = ("via", "kind", "id")
_CANCEL: Final = ("none", "asked", "forced")
LONGEST_ID: Final = 64
LONGEST_LABEL: Final = 64
LONGEST_REFERENCE: Final = 2048
NOT_DISPATCHED: Final = "aborted; nothing was dispatched"
Phase: TypeAlias = Literal["Succeeded", "Aborted", "Failed", "Errored", "deleted"]
Outcome: TypeAlias = Literal[
    "succeeded",  # the Promotion: the run is left alone
    "cancelled",
    "force-cancelled",
    "ended",  # the run had ended before
    "another-attempt",  # of the run has begun since: it is left alone
    "not-dispatched",
    "unknown-run",  # which run it is was never known exactly
    "given-up",
]


class Report(BaseModel):
    """A report to Port of one of its runs. Its parts only go from open to closed.

    ``wanted``: whether Port wants to hear how the workflow ended. ``ack``: of the claim; ``none``: it came otherwise.
    ``linked``, ``said``, ``label``: what Port has taken so far. ``cancel``: of the run, where a person withdrew it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    via: Literal["claims", "kafka"]
    kind: Literal["run", "node"]
    id: str = Field(min_length=1, max_length=LONGEST_ID)
    wanted: bool = True
    ack: Literal["open", "closed", "none"] = "open"
    linked: bool = False
    said: tuple[Literal["link", "end"], ...] = Field(default=(), max_length=2)
    label: str = Field(default="", max_length=LONGEST_LABEL)
    cancel: Literal["none", "asked", "forced"] = "none"
    closed: bool = False

    def may_become(self, other: "Report", *, sent: bool) -> bool:
        """Whether nothing is taken back. ``sent``: whether the record was: before, a run's new content is adopted."""
        if self == other:
            return True
        return (
            not self.closed
            and all(getattr(self, name) == getattr(other, name) for name in FIXED)
            and (self.wanted == other.wanted or not sent)
            and (self.ack == other.ack or (self.ack, other.ack) == ("open", "closed"))
            and self.linked <= other.linked
            and set(self.said) <= set(other.said)
            and _CANCEL.index(self.cancel) <= _CANCEL.index(other.cancel)
        )

    def adopting(self, newer: "Duty") -> "Report":
        """What it becomes where nothing was sent and a newer call owes ``newer``."""
        return self.model_copy(update={"wanted": newer.wanted}) if isinstance(newer, Report) else self


PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
_WANTED: Final = ("mode", "secret", "url", "insecure")  # what the step's config says
_ONCE: Final = ("end", "ended", "attempt", "asked")


class Cancellation(BaseModel):
    """The cancelling of a run whose Promotion ends without success. Its parts are written once each.

    ``secret``, ``url``, ``insecure``: where the credentials are, as the step's config names them; no token is kept.
    ``end``: of the Promotion, and ``ended`` when it was first seen, seconds since 1970. ``attempt``: of the run, that
    was current then. ``asked``: when GitHub took the cancel, where a force-cancel may follow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    mode: Literal["cancel", "force"]
    secret: str | None = Field(default=None, min_length=1, max_length=LONGEST_REFERENCE)
    url: str | None = Field(default=None, min_length=1, max_length=LONGEST_REFERENCE)
    insecure: bool = False
    end: Phase | None = None
    ended: float | None = None
    attempt: int | None = Field(default=None, ge=1)
    asked: float | None = None
    outcome: Outcome | None = None
    closed: bool = False

    @property
    def aborted(self) -> bool:
        """Whether the Promotion is known to have ended without success."""
        return self.end not in (None, "Succeeded")

    def may_become(self, other: "Cancellation", *, sent: bool) -> bool:
        """Whether nothing is taken back. ``sent``: whether the record was: before, a call's new config is adopted."""
        if self == other:
            return True
        return (
            not self.closed
            and (not sent or all(getattr(self, name) == getattr(other, name) for name in _WANTED))
            and all(getattr(self, name) in (None, getattr(other, name)) for name in _ONCE)
            and other.closed == (other.outcome is not None)
        )

    def adopting(self, newer: "Duty") -> "Cancellation":
        """What it becomes where nothing was sent and a newer call owes ``newer``."""
        if self.closed or not isinstance(newer, Cancellation):
            return self
        return self.model_copy(update={name: getattr(newer, name) for name in _WANTED})


def aborted(duty: Cancellation) -> str:
    """Why nothing is dispatched for a Promotion that has ended."""
    ended = "was deleted" if duty.end == "deleted" else f"is {duty.end}"
    return f"{NOT_DISPATCHED}: the Promotion {ended}"


Duty: TypeAlias = Report | Cancellation
