"""Play rounds by hand; see the package."""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path

from tests.support.cluster import missing, running
from tests.support.kafka import Topic
from tests.support.real_kafka import missing as no_kafka
from tests.support.real_kafka import real_kafka

from .port import PortCount, port_stream
from .replicas import replicas
from .rounds import Broken, Count, lane

LANES = 8  # most of a round is waiting
PORT_LANES = 3
OLD_LANES = (3, 7)  # those on a server that names no runs


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the dice; moments are the machine's all the same")
    parser.add_argument(
        "--replicas", action="store_true", help="two servers at once on a ledger in Kubernetes (KUBEBUILDER_ASSETS)"
    )
    parser.add_argument("--port", action="store_true", help="runs that an emulated Port gives, in one stream")
    parser.add_argument("--waking", action="store_true", help="with --port: GitHub's webhook brings looks forward")
    parser.add_argument("--kafka", action="store_true", help="with --port: over a real Kafka (KAFKA_JARS, java)")
    options = parser.parse_args()
    if options.kafka and (absent := no_kafka(os.environ)):
        parser.error(absent)
    if options.port:
        return play_port(options.rounds, options.seed, kafka=options.kafka, waking=options.waking)
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


def play_port(kills: int, seed: int, *, kafka: bool, waking: bool) -> int:
    """So many kills, in lanes at once."""
    begun, lanes = time.monotonic(), min(PORT_LANES, kills)

    def play(number: int) -> PortCount:
        share = kills // lanes + (number < kills % lanes)
        topic = None if login is None else Topic(login, topic=topics[number])
        with port_stream(Path(folder) / str(number), seed * lanes + number, topic, waking=waking) as stream:
            stream.play(share)
            return stream.count

    topics = [f"org_emulated.lane{number}" for number in range(lanes)]
    with (
        tempfile.TemporaryDirectory(prefix="gha-step-kills-") as folder,
        real_kafka(Path(folder) / "kafka", *topics) if kafka else nullcontext() as login,
        ThreadPoolExecutor(lanes) as pool,
    ):
        counts = list(pool.map(play, range(lanes)))
    presses = sum(count.presses for count in counts)
    print(f"{sum(count.kills for count in counts)} kills, {presses} presses in {time.monotonic() - begun:.0f} s")
    for title, tables in (
        ("kills landed, as the newest press stood:", [count.moments for count in counts]),
        ("how Port's runs ended:", [count.ends for count in counts]),
    ):
        print(title)
        for what, times in sum(tables, Counter[str]()).most_common():
            print(f"{times:8} {what}")
    for name in ("double", "stranded", "untrue"):
        found = [one for count in counts for one in getattr(count, name)]
        print(f"{len(found):8} {name}")
        for one in found:
            print(f"BROKEN ({name}): {one}")
    return 1 if any(count.broken for count in counts) else 0


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
