"""The examples of a page: what is to be run, in what surroundings, and what is to come of it.

A page holds blocks of YAML. One with `steps` is an example, named by the heading above it, and the next block with a
`status` says what comes of it; Secrets and workflows are there for all examples of the page.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
PAGES: Final = (
    DOCS / "gha-dispatch-workflow.md",
    DOCS / "gha-wait-for-workflow.md",
    Path(__file__).with_name("public_examples.md"),
)
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
_PART: Final = re.compile(r"^### (?P<heading>[^\n]+)$|^```yaml\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL)
_WORKFLOW: Final = re.compile(r"# \.github/workflows/(\S+)\n")


@dataclass(frozen=True)
class Example:
    """One example. ``steps`` and ``result`` as YAML gives them."""

    page: "Page"
    heading: str
    text: str
    steps: list[dict[str, Any]]
    result: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.page.file}: {self.heading}"


@dataclass
class Page:
    """``secrets``: as Kubernetes has them. ``workflows``: text by file name."""

    file: str
    secrets: list[dict[str, Any]]
    workflows: dict[str, str]
    examples: list[Example]


def read(path: Path) -> Page:
    """A page. :raises AssertionError: an example without a result, or a block that is none of these."""
    page = Page(path.name, [], {}, [])
    heading, steps = "", ""
    for part in _PART.finditer(path.read_text()):
        if part["heading"] is not None:
            heading = part["heading"]
            continue
        text = part["block"]
        if workflow := _WORKFLOW.match(text):
            page.workflows[workflow[1]] = text
            continue
        block = yaml.load(text, LOADER)
        if block.get("kind") == "Secret":
            page.secrets.append(block)
        elif "steps" in block:
            assert not steps, f"{heading}: an example without a result stands before it"
            steps = text
        else:
            assert steps, f"{heading}: the result of what?"
            page.examples.append(Example(page, heading, steps, yaml.load(steps, LOADER)["steps"], block))
            steps = ""
    assert not steps, f"{heading}: the result is missing"
    return page


EXAMPLES: Final = tuple(example for path in PAGES for example in read(path).examples)
