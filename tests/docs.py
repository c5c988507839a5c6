"""The generated parts of the documentation: tables made from the models, so that they cannot lie.

    python -m tests.docs --check   says which file is not current (exit 1)
    python -m tests.docs --write   writes them

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from gha_step.contract.dispatch_workflow import DispatchOutput, DispatchWorkflowConfig
from gha_step.contract.repository import Credentials
from gha_step.contract.wait_for_workflow import FailedJob, WaitForWorkflowConfig, WaitForWorkflowOutput
from gha_step.settings import described

ROOT: Final = Path(__file__).resolve().parents[1]
PART: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def config_table() -> str:
    """The step's config, field by field."""
    return _table(("Field", "Required", "Default", "Meaning"), [*_fields(DispatchWorkflowConfig)])


def output_table() -> str:
    """What the step leaves in ``output``."""
    rows = [(f"`{info.alias}`", info.description or "") for info in DispatchOutput.model_fields.values()]
    return _table(("Key", "Meaning"), rows)


def wait_config_table() -> str:
    """The waiting step's config, field by field."""
    return _table(("Field", "Required", "Default", "Meaning"), [*_fields(WaitForWorkflowConfig)])


def wait_output_table() -> str:
    """What the waiting step leaves in ``output``."""
    rows = [(f"`{info.alias}`", info.description or "") for info in WaitForWorkflowOutput.model_fields.values()]
    rows += [(f"`failedJobs[].{info.alias}`", info.description or "") for info in FailedJob.model_fields.values()]
    return _table(("Key", "Meaning"), rows)


def settings_table() -> str:
    """Every setting of ``gha-step serve``."""
    rows = [(f"`{s.variable}`", f"`{s.default}`" if s.default else "", s.description) for s in described()]
    return _table(("Variable", "Default", "Meaning"), rows)


def messages_table() -> str:
    """What users are told of each mistake, by making it."""
    from .messages.cases import CASES, tell  # starts an emulated GitHub for each

    return _table(("Mistake", "What the step says"), [(case.mistake, tell(case)) for case in CASES])


PARTS: Final[dict[str, Callable[[], str]]] = {
    "config": config_table,
    "output": output_table,
    "wait-config": wait_config_table,
    "wait-output": wait_output_table,
    "settings": settings_table,
    "messages": messages_table,
}


def _fields(model: type[BaseModel], prefix: str = "") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for info in model.model_fields.values():
        if info.annotation == Credentials | None:
            nested = _fields(Credentials, f"{info.alias}.")
            rows += [(name, "no", default, meaning) for name, _, default, meaning in nested]
            continue
        default = (
            "" if info.default is None or info.is_required() else f"`{info.get_default(call_default_factory=True)}`"
        )
        rows.append((f"`{prefix}{info.alias}`", "yes" if info.is_required() else "no", default, info.description or ""))
    return rows


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.docs", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write instead of checking")
    parser.add_argument("--check", action="store_true", help="check (the default)")
    options = parser.parse_args()
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        current = PART.sub(lambda part: part[1] + PARTS[part[2]]() + part[3], text)
        if current != text:
            stale.append(path.name)
            if options.write:
                path.write_text(current)
    if stale and not options.write:
        print(f"not current: {', '.join(stale)}; run `make fix`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
