"""Which runs of its concurrency group block a pending run, from GitHub's responses. Pure.

Source: https://docs.github.com/en/rest/actions/concurrency-groups.
"""

from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from gha_step.github.errors import Unclear
from gha_step.github.messages import Answer, entries, own_link, positive_id, text
from gha_step.github.runs import RunReference

LONGEST_GROUP: Final = 1_000  # characters; a longer name is not asked for
_MOST_MEMBERS: Final = 1_000  # of a group


@dataclass(frozen=True)
class Ahead:
    """Whom a pending run waits for. ``run_id`` and ``url``: of the run that holds the group, or else comes first.

    ``more``: how many wait between the two.
    """

    group: str
    run_id: int
    url: str
    more: int = 0

    def __str__(self) -> str:
        more = f", and {self.more} more" if self.more else ""
        return f"behind run {self.run_id}{more} of its concurrency group {self.group!r} ({self.url})"


def group_of(answer: Answer, run: RunReference) -> str | None:
    """The name of the group in which the run waits, in a 200; ``None``: in none.

    :raises Unclear: the answer does not tell.
    """
    try:
        for group in entries(answer.json()["concurrency_groups"]):
            name = group["group_name"]
            if isinstance(name, str) and 0 < len(name) <= LONGEST_GROUP and _waits(_members(group), run):
                return name
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with the run's concurrency groups") from None
    return None


def _members(group: dict[str, Any]) -> list[dict[str, Any]]:
    return entries(group["group_members"], _MOST_MEMBERS)


def _waits(members: list[dict[str, Any]], run: RunReference) -> bool:
    return any(one["run_id"] == run.run_id and one["status"] == "pending" for one in members)


def group_path(name: str) -> str:
    """Path of a group below its repository's."""
    return f"/actions/concurrency_groups/{quote(name, safe='')}"


def ahead_of(answer: Answer, run: RunReference, group: str) -> Ahead | None:
    """Who goes before ``run``, in a 200; ``None``: nobody any more.

    :raises Unclear: the answer does not tell.
    """
    try:
        members = {positive_id(one["run_id"]): one for one in reversed(_members(answer.json()))}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with the members of a concurrency group") from None
    before = list(reversed(members))
    before = before[: before.index(run.run_id)] if run.run_id in members else before
    if not before:
        return None
    first = next((one for one in before if members[one].get("status") == "in_progress"), before[0])
    other = replace(run, run_id=first)
    url = own_link(members[first].get("run_html_url"), run.endpoint) or other.page
    return Ahead(text(group), first, url, len(before) - 1)
