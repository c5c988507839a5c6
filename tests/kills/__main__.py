"""Play rounds by hand; see the package."""

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .rounds import Broken, Count, lane

LANES = 8  # most of a round is waiting
OLD_LANES = (3, 7)  # those on a server that names no runs


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the dice; moments are the machine's all the same")
    options = parser.parse_args()
    begun, total, lock, left = time.monotonic(), Count(), threading.Lock(), [options.rounds]
    broken: list[str] = []

    def play(number: int, folder: Path) -> None:
        with lane(folder, old=number in OLD_LANES, seed=options.seed * LANES + number) as opened:
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

    with tempfile.TemporaryDirectory(prefix="gha-step-kills-") as folder, ThreadPoolExecutor(LANES) as pool:
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
