"""The error annotations of a failed job in GitHub's response: bounded, each on one line. Pure.

Source: https://docs.github.com/en/rest/checks/runs#list-check-run-annotations; a job's ID is that of its check run.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from gha_step.github.errors import Unclear
from gha_step.github.messages import Answer, entries, shown, text

ON_A_PAGE: Final = "30"
KEPT: Final = 3  # of one job
LONGEST: Final = 300  # characters of what one says
_NO_FILE: Final = ".github"  # what GitHub writes for an annotation of the job itself
_MOST_LINES: Final = 10_000_000
# What the runner adds to every failed `run:`, which says nothing that the failed step does not.
_EXIT_CODE: Final = re.compile(r"Process completed with exit code [0-9]{1,10}\.?")


@dataclass(frozen=True)
class Annotation:
    """One error. ``title`` and ``file`` may be empty; ``line``: 0 where there is none."""

    text: str
    title: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        title = "" if self.title in self.text else self.title
        return ": ".join(part for part in (place, title, self.text) if part)


def error_annotations(answer: Answer) -> tuple[Annotation, ...]:
    """The first errors in a 200; those that say nothing but an exit code only where there is no other.

    :raises Unclear: it is no list of annotations.
    """
    try:
        found = [_annotation(entry) for entry in entries(answer.json()) if entry["annotation_level"] == "failure"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unclear("GitHub answered 200, but not with a job's annotations") from None
    said = [one for one in found if one.text or one.title]
    telling = [one for one in said if not _EXIT_CODE.fullmatch(one.text)]
    return tuple(dict.fromkeys(telling or said))[:KEPT]


def _annotation(entry: dict[str, Any]) -> Annotation:
    message, path, line = entry.get("message"), text(entry.get("path")), entry.get("start_line")
    file = "" if path == _NO_FILE else path
    return Annotation(
        text=shown(message, LONGEST) if isinstance(message, str) else "",
        title=text(entry.get("title")),
        file=file,
        line=line if file and isinstance(line, int) and 0 < line <= _MOST_LINES else 0,
    )
