"""Run schedules by hand; see the package."""

import argparse
import collections
import logging
import sys
import time
from collections.abc import Iterator

from . import port_schedule, schedule
from .abort_schedule import AbortSchedule
from .port_schedule import PortSchedule
from .schedule import Broken, Schedule


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this schedule and print it")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many schedules (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--port", action="store_true", help="with Port as the host")
    parser.add_argument("--abort", action="store_true", help="with cancelOnAbort")
    options = parser.parse_args()
    logging.getLogger("gha_step").setLevel(logging.CRITICAL)
    kind = PortSchedule if options.port else AbortSchedule if options.abort else Schedule
    begun = time.monotonic()
    ends: collections.Counter[str] = collections.Counter()
    alone = options.seed is not None
    for seed in [options.seed] if alone else range(options.first, options.first + options.seeds):
        one = kind(seed)
        try:
            one.run()
        except Broken as error:
            print(_described(one))
            flags = "--port " * options.port + "--abort " * options.abort
            again = "" if alone else f"\nreplay: python -m tests.simulation {flags}--seed {seed}"
            print(f"BROKEN: {error}{again}")
            return 1
        ends.update(_ends(one))
        if alone:
            print(_described(one))
            return 0
    print(f"{options.seeds} schedules, {sum(ends.values())} ends, in {time.monotonic() - begun:.0f} s:")
    for end, count in ends.most_common():
        print(f"{count:8} {end}")
    print(f"{options.seeds} passed, 0 failed")
    return 0


def _described(one: Schedule | PortSchedule) -> str:
    return port_schedule.describe(one) if isinstance(one, PortSchedule) else schedule.describe(one)


def _ends(one: Schedule | PortSchedule) -> Iterator[str]:
    if isinstance(one, PortSchedule | AbortSchedule):
        yield from one.ends()
        return
    for promotion in one.promotions:
        assert promotion.ended is not None
        source = getattr(promotion.ended.output, "run_id_source", None)
        yield f"{promotion.ended.status} {source or ''}".strip()


if __name__ == "__main__":
    sys.exit(main())
