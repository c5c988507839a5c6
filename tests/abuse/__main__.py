"""`python -m tests.abuse [PART OF A NAME…]`: each attack beside a well-behaved project, and what it costs that one."""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.abuse.attacks import ATTACKS, Attack
from tests.abuse.in_kubernetes import prepare
from tests.abuse.site import Site, site
from tests.abuse.victim import Measured
from tests.support.cluster import Cluster, missing, running

QUIET: Final = 3.0  # seconds
UNDER: Final = 6.0  # seconds of the attack
MOST_MEMORY: Final = 200.0  # MiB
MOST_HEALTH: Final = 1.0  # seconds
MOST_SLOWER: Final = 3.0


def main(wanted: list[str]) -> int:
    """Run them. 1: a bound did not hold."""
    begun, bad = time.monotonic(), 0
    chosen = [attack for attack in ATTACKS if not wanted or any(part in attack.name for part in wanted)]
    for attack in chosen:
        if not attack.kubernetes:
            bad += _tell(attack, None)
    if in_cluster := [attack for attack in chosen if attack.kubernetes]:
        if absent := missing(os.environ):
            print(f"SKIPPED: {len(in_cluster)} attacks beside the ledger in Kubernetes: {absent}")
        else:
            with running(Path(os.environ["KUBEBUILDER_ASSETS"])) as cluster:
                prepare(cluster)
                for attack in in_cluster:
                    bad += _tell(attack, cluster)
    print(f"{time.monotonic() - begun:.0f} s; {bad or 'no'} attacks beyond their bounds")
    return 1 if bad else 0


def _tell(attack: Attack, cluster: Cluster | None) -> bool:
    with (
        tempfile.TemporaryDirectory(prefix="gha-step-abuse-") as folder,
        site(Path(folder), tls=attack.tls, cluster=cluster, **attack.environment) as at,
    ):
        at.watch(1.0)
        quiet = at.watch(QUIET)
        with attack.begin(at):
            time.sleep(0.5)
            under = at.watch(UNDER)
        return _judge(attack, at, quiet, under)


def _judge(attack: Attack, at: Site, quiet: Measured, under: Measured) -> bool:
    failed = {told: count for told, count in under.failures.items() if told.startswith("FAILED")}
    memory = at.memory()
    bad = memory > MOST_MEMORY or under.health > MOST_HEALTH or under.p95 > MOST_SLOWER * quiet.p95 or bool(failed)
    heard = {told: count for told, count in under.failures.items() if told not in failed}
    print(
        f"{'BAD ' if bad else 'ok  '} {attack.name:58} RSS {memory:5.0f} MiB  healthz {under.health:5.2f} s  "
        f"p95 {quiet.p95 * 1000:4.0f} → {under.p95 * 1000:5.0f} ms  attacker {dict(at.refusals)}"
        f"{f'  VICTIM {failed}' if failed else ''}{f'  victim {heard}' if heard else ''}",
        flush=True,
    )
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
