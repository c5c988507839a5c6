"""Play rounds by hand; see the package."""

import argparse
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.support.cluster import missing, running

from .replicas import replicas
from .rounds import Broken, Count, lane

LANES = 8  # most of a round is waiting
OLD_LANES = (3, 7)  # those on a server that names no runs


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the dice; moments are the machine's all the same")
    parser.add_argument(
        "--replicas", action="store_true", help="two servers at once on a ledger in Kubernetes (KUBEBUILDER_ASSETS)"
    )
    options = parser.parse_args()
    if options.replicas and (absent := missing(os.environ)):
        parser.error(absent)
    begun, total, lock, left = time.monotonic(), Count(), threading.Lock(), [options.rounds]
    broken: list[str] = []

    def play(number: int, folder: Path) -> None:
        old, seed = number in OLD_LANES, options.seed * LANES + number
        with replicas(cluster, folder, old=old, seed=seed) if cluster else lane(folder, old=old, seed=seed) as opened:
            try:
                while True:
                    with lock:
                        if left[0] <= 0 or broken:
                            return
                        left[0] -= 1
                    opened.play()
            except (Broken, AssertionError) as error:
                broken.append(str(error))
            finally:
                with lock:
                    total.add(opened.count)

    with ExitStack() as stack:
        assets = Path(os.environ["KUBEBUILDER_ASSETS"]) if options.replicas else None
        cluster = stack.enter_context(running(assets)) if assets else None
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gha-step-kills-"))
        pool = stack.enter_context(ThreadPoolExecutor(LANES))
        for future in [pool.submit(play, number, Path(folder) / str(number)) for number in range(LANES)]:
            future.result()
    report(total, time.monotonic() - begun)
    for problem in broken:
        print(f"BROKEN: {problem}")
    print(f"{total.rounds} passed, {len(broken)} failed")
    return 1 if broken or total.double or total.wrong else 0


def report(total: Count, seconds: float) -> None:
    """What was counted."""
    kills = sum(total.moments.values())
    print(f"{total.rounds} rounds, {kills} kills, {total.calls} calls of hosts ({total.crashed_calls} of them cut off)")
    print(f"in {seconds:.0f} s; kills that landed:")
    for moment, count in sorted(total.moments.items()):
        print(f"{count:8} {moment}")
    print("how rounds ended:")
    for end, count in total.ends.most_common():
        print(f"{count:8} {end}")
    print(f"{total.double:8} double dispatches\n{total.wrong:8} wrong run IDs")


if __name__ == "__main__":
    sys.exit(main())
