"""Run schedules by hand; see the package."""

import argparse
import collections
import logging
import sys
import time

from .schedule import Broken, Schedule, describe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this schedule and print it")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many schedules (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    options = parser.parse_args()
    logging.getLogger("gha_step").setLevel(logging.ERROR)
    if options.seed is not None:
        schedule = Schedule(options.seed)
        try:
            schedule.run()
        except Broken as error:
            print(describe(schedule))
            print(f"BROKEN: {error}")
            return 1
        print(describe(schedule))
        return 0
    begun = time.monotonic()
    ends: collections.Counter[str] = collections.Counter()
    for seed in range(options.first, options.first + options.seeds):
        schedule = Schedule(seed)
        try:
            schedule.run()
        except Broken as error:
            print(describe(schedule))
            print(f"BROKEN: {error}\nreplay: python -m tests.simulation --seed {seed}")
            return 1
        for promotion in schedule.promotions:
            assert promotion.ended is not None
            source = getattr(promotion.ended.output, "run_id_source", None)
            ends[f"{promotion.ended.status} {source or ''}".strip()] += 1
    print(f"{options.seeds} schedules, {sum(ends.values())} promotions, in {time.monotonic() - begun:.0f} s:")
    for end, count in ends.most_common():
        print(f"{count:8} {end}")
    print(f"{options.seeds} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
