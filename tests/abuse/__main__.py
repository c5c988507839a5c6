"""`python -m tests.abuse [PART OF A NAME…]`: each attack beside a well-behaved project, and what it costs that one."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.abuse.attacks import ATTACKS, Attack
from tests.abuse.site import Measured, Site, site

QUIET: Final = 3.0  # seconds
UNDER: Final = 7.0  # seconds of the attack
MOST_MEMORY: Final = 200.0  # MiB
MOST_HEALTH: Final = 1.0  # seconds
MOST_SLOWER: Final = 3.0


def main(wanted: list[str]) -> int:
    """Run them. 1: a bound did not hold."""
    begun, bad = time.monotonic(), 0
    for attack in ATTACKS:
        if not wanted or any(part in attack.name for part in wanted):
            bad += _tell(attack)
    print(f"{time.monotonic() - begun:.0f} s; {bad or 'no'} attacks beyond their bounds")
    return 1 if bad else 0


def _tell(attack: Attack) -> bool:
    with (
        tempfile.TemporaryDirectory(prefix="gha-step-abuse-") as folder,
        site(Path(folder), **attack.environment) as at,
    ):
        at.watch(1.0)
        quiet = at.watch(QUIET)
        with attack.begin(at):
            time.sleep(0.5)
            under = at.watch(UNDER)
        return _judge(attack, at, quiet, under)


def _judge(attack: Attack, at: Site, quiet: Measured, under: Measured) -> bool:
    failed = {told: count for told, count in under.failures.items() if told.startswith("FAILED")}
    bad = (
        under.memory > MOST_MEMORY or under.health > MOST_HEALTH or under.p95 > MOST_SLOWER * quiet.p95 or bool(failed)
    )
    heard = {told: count for told, count in under.failures.items() if told not in failed}
    print(
        f"{'BAD ' if bad else 'ok  '} {attack.name:58} RSS {under.memory:5.0f} MiB  healthz {under.health:5.2f} s  "
        f"p95 {quiet.p95 * 1000:4.0f} → {under.p95 * 1000:5.0f} ms  attacker {dict(at.refusals)}"
        f"{f'  VICTIM {failed}' if failed else ''}{f'  victim {heard}' if heard else ''}",
        flush=True,
    )
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
