"""Reads that are shared: never one that began before it was asked for."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gha_step.shared_reads import SharedReads
from tests.support.clock import LONG, eventually


def test_who_comes_while_a_read_goes_on_gets_the_next_one_and_shares_it() -> None:
    reads: SharedReads[int] = SharedReads()
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> int:
        made.append(len(made) + 1)
        begun.set()
        assert go_on.wait(LONG)
        return made[-1]

    with ThreadPoolExecutor(21) as threads:
        first = threads.submit(reads.read, "a", make)
        assert begun.wait(LONG)
        later = [threads.submit(reads.read, "a", make) for _ in range(20)]
        eventually(lambda: threads._work_queue.empty() and "a" in reads._next)
        assert reads.read("b", lambda: 7) == 7
        go_on.set()
        assert first.result(LONG) == 1
        assert 1 not in {one.result(LONG) for one in later}
    assert len(made) < 10
    assert not reads._next
    assert not reads._underway


def test_what_goes_wrong_is_told_to_all_who_asked_and_the_next_may_do_better() -> None:
    reads: SharedReads[int] = SharedReads()

    def fail() -> int:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        reads.read("a", fail)
    assert reads.read("a", lambda: 1) == 1
