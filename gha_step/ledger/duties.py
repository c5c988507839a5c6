"""What a record owes somebody after its end. Data, and which parts of it may change.

A duty is written with the record's first write, is worked off by one follower from the ledger alone, in any state of
the record, and is closed once the other side has confirmed it. It licenses no send, and changes neither state nor run.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

FIXED: Final = ("via", "kind", "id")
_CANCEL: Final = ("none", "asked", "forced")
LONGEST_ID: Final = 64
LONGEST_LABEL: Final = 64


class Report(BaseModel):
    """A report to Port of one of its runs. Its parts only go from open to closed.

    ``wanted``: whether Port wants to hear how the workflow ended. ``ack``: of the claim; ``none``: it came otherwise.
    ``linked``, ``said``, ``label``: what Port has taken so far. ``cancel``: of the run, where a person withdrew it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
