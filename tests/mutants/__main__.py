"""Run the mutants; see the package."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .catalogue import MUTANTS, PORT_SIMULATION, SIMULATION, Mutant

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 3000
PORT_SEEDS = 400
SAMPLE = 10  # a simulation without a mutation plays one schedule of so many
PATIENCE = 5  # times what the same tests take without a mutation, and then one that hangs is caught as well
LEAST_PATIENCE = 120.0  # seconds
LONGEST = 7200.0  # seconds for the tests without a mutation
_SEED = re.compile(rb"--seed (\d+)")


@dataclass(frozen=True)
class Verdict:
    """How the tests of one mutant ended: ``None`` where they passed, else by what they failed."""

    failed: str | None
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="only mutants whose name or file holds this")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name or options.only in mutant.file]
    limits: dict[str, float] = {}
    survivors = 0
    for mutant in chosen:
        for catcher in mutant.caught_by.split():
            if catcher not in limits:
                limits[catcher] = _limit(catcher)
        verdict = _judge(mutant, limits)
        survivors += verdict.failed is None
        told = f"caught by {verdict.failed}" if verdict.failed else "SURVIVES"
        print(f"{mutant.name:55} {told} ({verdict.seconds:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


def _limit(catcher: str) -> float:
    """How long a mutant may take. It is measured here and now, for machines are slow, or busy, to different degrees."""
    sample = SAMPLE if catcher in (SIMULATION, PORT_SIMULATION) else 1
    verdict = _judge(Mutant("none", "pyproject.toml", "", "", catcher), {catcher: LONGEST}, sample)
    if verdict.failed is not None:
        raise SystemExit(f"{verdict.failed} fails without any mutation; fix that first")
    return max(LEAST_PATIENCE, PATIENCE * sample * verdict.seconds)


def _judge(mutant: Mutant, limits: Mapping[str, float], sample: int = 1) -> Verdict:
    begun = time.monotonic()
    failed = None
    with tempfile.TemporaryDirectory(prefix="gha-step-mutant-") as folder:
        copy = Path(folder)
        for name in ("gha_step", "tests", "proto", "deploy", "docs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, copy)
        _apply(mutant, copy / mutant.file)
        for catcher in mutant.caught_by.split():
            failed = failed or _failure(catcher, copy, limits[catcher], sample)
    return Verdict(failed, time.monotonic() - begun)


def _apply(mutant: Mutant, path: Path) -> None:
    if not mutant.old:
        return
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: its source text occurs {text.count(mutant.old)} times in {mutant.file}; fix the catalogue"
        )
    path.write_text(text.replace(mutant.old, mutant.new))


def _failure(catcher: str, copy: Path, limit: float, sample: int) -> str | None:
    """By what the tests fail in ``copy``, at the first that does; ``None`` if they pass."""
    if catcher == SIMULATION:
        command = ["-m", "tests.simulation", "--seeds", str(SEEDS // sample)]
    elif catcher == PORT_SIMULATION:
        command = ["-m", "tests.simulation", "--port", "--seeds", str(PORT_SEEDS // sample)]
    else:
        command = ["-m", "pytest", "-x", "-n", "2", catcher]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # with all that the tests have started
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"{catcher}, which does not end within {limit:.0f} s"
    if process.returncode == 0:
        return None
    seed = _SEED.search(output)
    return f"{catcher}, seed {int(seed[1])}" if seed else catcher


if __name__ == "__main__":
    sys.exit(main())
