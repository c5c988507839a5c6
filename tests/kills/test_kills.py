"""A handful of rounds, all at once; `make soak` plays two hundred, and two hundred with two servers at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.cluster import Cluster

from .port import port_stream
from .replicas import replicas
from .rounds import AIMS, Count, lane


def test_whenever_the_server_is_killed_nothing_is_sent_twice_and_no_wrong_run_is_named(tmp_path: Path) -> None:
    def play(number: int) -> Count:
        with lane(tmp_path / str(number), old=number == 1, seed=1000 + number) as opened:
            opened.play(AIMS[number])
            return opened.count

    total = Count()
    with ThreadPoolExecutor(len(AIMS)) as pool:
        for count in pool.map(play, range(len(AIMS))):
            total.add(count)
    assert total.rounds == len(AIMS)
    assert sum(total.moments.values()) >= len(AIMS)
    assert (total.double, total.wrong) == (0, 0)


def test_port_s_runs_all_end_truly_whenever_the_server_is_killed(tmp_path: Path) -> None:
    with port_stream(tmp_path, seed=3000) as stream:
        stream.play(kills=4)
    assert stream.count.broken == []
    assert sum(stream.count.ends.values()) == stream.count.presses >= 4


@pytest.mark.cluster
def test_two_servers_on_one_ledger_make_one_dispatch_whichever_of_them_is_killed(
    tmp_path: Path, cluster: Cluster
) -> None:
    def play(number: int) -> Count:
        with replicas(cluster, tmp_path / str(number), old=number == 1, seed=2000 + number) as opened:
            for aim in AIMS[number::2]:
                opened.play(aim)
            return opened.count

    total = Count()
    with ThreadPoolExecutor(2) as pool:
        for count in pool.map(play, range(2)):
            total.add(count)
    assert total.rounds == len(AIMS)
    assert sum(total.moments.values()) >= len(AIMS)
    assert (total.double, total.wrong) == (0, 0)
