"""`gha-step run` killed at random moments and repeated with its key: never two runs, and never a wrong one."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from gha_step.emulator import Delay
from tests.support.clock import LONG

from .commands import Shell, dispatching, dispatching_marked, shell, values


def _round(machine: Shell, tag: str, dice: random.Random, *, marked: bool) -> str:
    """One command, killed and repeated until it ends by itself: what came of it."""
    delay = dice.uniform(0.0, 0.6)
    machine.github.faults.add(
        Delay(delay, dice.choice(("before", "after"))), "dispatch", where=lambda request: tag.encode() in request.body
    )
    arguments = [*(dispatching_marked if marked else dispatching)(tag), "--key", tag, "--timeout", "1"]
    for _ in range(dice.choice((1, 1, 2))):
        process = machine.start(*arguments)
        if dice.random() < 0.7:  # around the POST; else at any moment of the start
            deadline = time.monotonic() + 20
            while not _posts(machine, tag) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(dice.uniform(0.0, delay + 0.05))
        else:
            time.sleep(dice.uniform(0.0, 2.0))
        process.kill()
        process.communicate(timeout=4 * LONG)
    last = machine.run(*arguments)
    end = _judged(machine, tag, last.stdout, last.stderr, marked=marked)
    assert last.returncode == (0 if end == "run" else 3), last.stderr
    return end


def _posts(machine: Shell, tag: str) -> int:
    return sum(entry.operation == "dispatch" and tag in str(entry.body) for entry in list(machine.github.log))


def _judged(machine: Shell, tag: str, out: str, err: str, *, marked: bool) -> str:
    time.sleep(1.0)  # a request that a killed command had sent is processed all the same
    runs = [run for run in machine.github.runs if run.inputs.get("image_tag") == tag]
    assert len(runs) <= 1, f"{tag}: {runs}"
    found = values(out).get("runID")
    if found is not None:
        assert [str(run.id) for run in runs] == [found], err
        return "run"
    assert "may have been dispatched" in err, err
    assert not (marked and runs), err
    return "no run" if not runs else "evidence"


def _rounds(folder: Path, seed: int, rounds: int) -> Counter[str]:
    dice = random.Random(seed)
    ends: Counter[str] = Counter()
    with shell(folder) as machine:
        for number in range(rounds):
            ends[_round(machine, f"tag-{seed}-{number}-", dice, marked=number % 4 != 3)] += 1
    return ends


def test_whenever_it_is_killed_the_same_key_never_makes_a_second_run(tmp_path: Path) -> None:
    assert sum(_rounds(tmp_path, 1, 2).values()) == 2


@pytest.mark.soak
def test_fifty_commands_killed_at_random_moments_never_make_a_second_run(tmp_path: Path) -> None:
    ends = _rounds(tmp_path, 50, 50)
    print(dict(ends))
    assert ends["run"] > 25
