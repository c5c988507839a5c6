"""`python -m tests.abuse.table [OUTPUT]`: writes docs/security.md's table of measured figures from one run's output.

All figures are then of one build on one machine: ``make abuse | tee OUTPUT`` gives them. Without OUTPUT the columns are
left empty.
"""

import re
import sys
from pathlib import Path
from typing import Final

from tests.abuse.attacks import ATTACKS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "security.md"
PART: Final = re.compile(r"(<!-- measured by: make abuse -->\n).*?(<!-- end -->)", re.DOTALL)
ROW: Final = re.compile(
    r"^(?:ok  |BAD ) (?P<name>.+?) +RSS +(?P<memory>\S+) MiB +healthz +(?P<health>\S+) s +"
    r"p95 +(?P<quiet>\S+) → +(?P<under>\S+) ms",
    re.MULTILINE,
)


def table(output: str) -> str:
    """The table, one row for each attack. :raises ValueError: the run did not measure all of them, once each."""
    rows = [match.groupdict() for match in ROW.finditer(output)]
    measured = {row["name"]: row for row in rows}
    if output and (len(rows) != len(measured) or set(measured) != {attack.name for attack in ATTACKS}):
        raise ValueError("the output is not that of one whole run of `make abuse`, with the attacks in Kubernetes")
    lines = ["| Attack | Before its bound | Memory | `/healthz` | p95 |", "| --- | --- | --- | --- | --- |"]
    for attack in ATTACKS:
        row = measured.get(attack.name)
        figures = ("", "", "")
        if row is not None:
            figures = (f"{row['memory']} MiB", f"{row['health']} s", f"{row['quiet']} → {row['under']} ms")
        lines.append(
            f"| {' | '.join((attack.name.replace('[]', '`[]`'), attack.before, *figures))} |".replace("  ", " ")
        )
    return "\n".join(lines) + "\n"


def main(paths: list[str]) -> int:
    """Write it."""
    output = Path(paths[0]).read_text() if paths else ""
    try:
        made = table(output)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    PAGE.write_text(PART.sub(lambda part: part[1] + made + part[2], PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
