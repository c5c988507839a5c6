"""Threads and clocks."""

import threading
import time
from concurrent.futures import Future
from functools import partial

import pytest

from gha_step.runtime import Holdings, SystemClock, ThreadWorkers, shortage
from tests.support.clock import LONG, eventually


def all_at_once(workers: ThreadWorkers, number: int) -> bool:
    """Whether so many pieces of work run at the same time."""
    together = threading.Barrier(number + 1)
    jobs = [workers.spawn(lambda: together.wait(LONG)) for _ in range(number)]
    try:
        together.wait(LONG)
    except threading.BrokenBarrierError:
        return False
    finally:
        for job in jobs:
            workers.join(job, LONG)
    return True


def test_as_much_work_runs_at_once_as_the_limit_allows() -> None:
    assert all_at_once(ThreadWorkers(8, "test"), 8)


def test_no_more_work_runs_at_once_than_the_limit_allows() -> None:
    workers, running, most = ThreadWorkers(3, "test"), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1

    jobs = [workers.spawn(work) for _ in range(20)]
    assert all(workers.join(job, LONG) for job in jobs)
    assert most[0] <= 3
    assert all_at_once(workers, 3)


def test_quick_work_before_does_not_make_later_work_wait_for_a_thread() -> None:
    for _ in range(30):
        workers = ThreadWorkers(4, "test")
        for _ in range(100):
            workers.spawn(lambda: None)
            if _ % 7 == 0:
                time.sleep(0)
        assert all_at_once(workers, 4)


def test_threads_are_kept_and_used_again() -> None:
    workers = ThreadWorkers(64, "kept")
    names = set()
    for _ in range(50):
        job = workers.spawn(lambda: threading.current_thread().name)
        names.add(job.result(LONG))
        time.sleep(0.001)
    assert len(names) < 50  # one, unless the thread came too late to the next piece of work


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(), KeyboardInterrupt()])
def test_what_work_raises_is_the_callers_and_ends_no_thread(error: BaseException) -> None:
    workers = ThreadWorkers(1, "test")

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        workers.spawn(fail).result(LONG)
    assert workers.spawn(lambda: 5).result(LONG) == 5


def test_work_that_no_thread_has_taken_can_be_withdrawn() -> None:
    workers, begun, free, done = ThreadWorkers(1, "test"), threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        free.wait(LONG)

    busy = workers.spawn(work)
    assert begun.wait(LONG)
    waiting = workers.spawn(lambda: done.append(1))
    assert waiting.cancel()
    assert not busy.cancel()
    free.set()
    assert workers.spawn(lambda: 5).result(LONG) == 5
    assert done == []


def test_what_follows_is_done_by_the_same_thread_once_the_first_result_is_there() -> None:
    calls, tasks, told = ThreadWorkers(1, "call"), ThreadWorkers(1, "task"), threading.Event()

    def call() -> tuple[int, Future[int]]:
        return threading.get_ident(), tasks.follow(task)

    def task() -> int:
        assert told.wait(LONG)
        return threading.get_ident()

    thread, following = calls.spawn(call).result(LONG)  # a result, while what follows goes on
    assert calls.spawn(lambda: 5).result(LONG) == 5  # and its place is another's meanwhile
    told.set()
    assert following.result(LONG) == thread


def test_what_follows_counts_among_its_own_set_and_waits_where_that_is_busy() -> None:
    calls, tasks = ThreadWorkers(8, "call"), ThreadWorkers(2, "task")
    together, free, running = threading.Barrier(3), threading.Event(), []

    def task() -> None:
        running.append(1)
        together.wait(LONG)
        free.wait(LONG)

    busy = [calls.spawn(lambda: tasks.follow(task)).result(LONG) for _ in range(2)]
    together.wait(LONG)
    waiting = calls.spawn(lambda: tasks.follow(lambda: 5)).result(LONG)
    withdrawn = calls.spawn(lambda: tasks.follow(lambda: 6)).result(LONG)
    assert all_at_once(calls, 8)  # those that are lent are missed by nobody
    assert not waiting.done()
    assert withdrawn.cancel()
    free.set()
    assert waiting.result(LONG) == 5
    assert all(tasks.join(job, LONG) for job in busy)
    assert all_at_once(tasks, 2)
    assert all_at_once(calls, 8)


def test_no_more_threads_stay_than_the_limit_allows_after_some_were_lent() -> None:
    calls, tasks, free = ThreadWorkers(2, "lender"), ThreadWorkers(8, "task"), threading.Event()
    lent = [calls.spawn(lambda: tasks.follow(lambda: free.wait(LONG))).result(LONG) for _ in range(6)]
    free.set()
    assert all(tasks.join(job, LONG) for job in lent)
    eventually(lambda: sum(thread.name == "lender" for thread in threading.enumerate()) <= 2)
    assert all_at_once(calls, 2)


def test_of_a_thread_that_is_nobodys_what_follows_is_spawned() -> None:
    assert ThreadWorkers(1, "task").follow(lambda: 5).result(LONG) == 5


def test_work_holds_up_no_exit() -> None:
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith(("test-", "kept-")))


def test_the_machines_clocks_go_forward() -> None:
    clock = SystemClock()
    before = (clock.now(), clock.monotonic(), clock.boottime())
    clock.sleep(0.001)
    assert clock.monotonic() > before[1]
    assert clock.boottime() > before[2]
    assert abs(clock.now() - time.time()) < 5


# ---------------------------------------------------------------- shares


class Held:
    """Work that goes on until it is let go."""

    def __init__(self, workers: ThreadWorkers, share: str, number: int) -> None:
        self._free = threading.Event()
        self.begun = [0]
        lock = threading.Lock()

        def work() -> None:
            with lock:
                self.begun[0] += 1
            self._free.wait(LONG)

        self.jobs = [workers.spawn(work, share) for _ in range(number)]

    def release(self) -> None:
        self._free.set()


def test_nobodys_work_takes_the_last_quarter_of_the_threads_beyond_its_own() -> None:
    workers = ThreadWorkers(16, "test")
    greedy = Held(workers, "greedy", 100)
    eventually(lambda: greedy.begun[0] == 12)
    other = Held(workers, "other", 4)
    eventually(lambda: other.begun[0] == 4)
    assert greedy.begun[0] == 12
    other.release()
    greedy.release()
    assert all(workers.join(job, LONG) for job in [*greedy.jobs, *other.jobs])


def test_bytes_are_held_as_long_as_what_takes_them_and_one_share_leaves_a_quarter_to_the_others() -> None:
    holdings = Holdings(100)
    held = [holdings.take("greedy", 50), holdings.take("greedy", 25)]
    assert None not in held
    assert holdings.take("greedy", 1) is None
    other = holdings.take("other", 25)
    assert other is not None
    assert holdings.take("other", 1) is None
    held.pop()
    assert holdings.take("greedy", 26) is None
    kept = holdings.take("third", 25)
    assert kept is not None
    assert holdings.take("fourth", 1) is None
    del other
    assert holdings.take("fourth", 25) is not None


def test_of_work_that_waits_each_share_has_its_turn() -> None:
    workers, order = ThreadWorkers(1, "test"), list[str]()
    first = Held(workers, "", 1)
    eventually(lambda: first.begun[0] == 1)
    jobs = [workers.spawn(partial(order.append, share), share) for share in "aaaabb"]
    first.release()
    assert all(workers.join(job, LONG) for job in jobs)
    assert "".join(order) == "ababaa"


def test_the_processs_own_work_may_have_every_thread() -> None:
    assert all_at_once(ThreadWorkers(8, "test"), 8)


def test_where_no_thread_can_be_started_work_waits_and_begins_once_one_can(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = ThreadWorkers(4, "test")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        waiting = workers.spawn(lambda: 1)
        withdrawn = workers.spawn(lambda: 2)
        assert withdrawn.cancel()
        assert shortage() == "no thread can be started"
    assert shortage() is None
    assert workers.spawn(lambda: 3).result(LONG) == 3
    assert waiting.result(LONG) == 1


def test_a_wall_clock_that_is_set_back_goes_on_as_it_was() -> None:
    class Corrected(SystemClock):
        hours = 0

        def _wall(self) -> float:
            return time.time() + 3600 * self.hours

    clock = Corrected()
    before = clock.now()
    Corrected.hours = -1
    assert 0 <= clock.now() - before < 5
    Corrected.hours = 2
    assert 7190 < clock.now() - before < 7210
