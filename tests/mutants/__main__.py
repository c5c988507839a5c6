"""Run the mutants; see the package."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .catalogue import MUTANTS, SIMULATION, Mutant

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 3000
TIME_LIMIT = 400  # seconds for one mutant: one that hangs is caught as well


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="only mutants whose name holds this")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    for needed in sorted({word for mutant in chosen for word in mutant.caught_by.split()}):
        if _catch(Mutant("none", "pyproject.toml", "", "", needed)) is not None:
            raise SystemExit(f"{needed} fails without any mutation; fix that first")
    survivors = 0
    for mutant in chosen:
        begun = time.monotonic()
        catcher = _catch(mutant)
        survivors += catcher is None
        verdict = f"caught by {catcher}" if catcher else "SURVIVES"
        print(f"{mutant.name:55} {verdict} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


def _catch(mutant: Mutant) -> str | None:
    """What catches the mutant, or ``None``."""
    with tempfile.TemporaryDirectory(prefix="gha-step-mutant-") as folder:
        copy = Path(folder)
        for name in ("gha_step", "tests", "proto", "deploy", "docs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, copy)
        _apply(mutant, copy / mutant.file)
        for catcher in mutant.caught_by.split():
            if not _passes(catcher, copy):
                return catcher
    return None


def _apply(mutant: Mutant, path: Path) -> None:
    if not mutant.old:
        return
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: its source text occurs {text.count(mutant.old)} times in {mutant.file}; fix the catalogue"
        )
    path.write_text(text.replace(mutant.old, mutant.new))


def _passes(catcher: str, copy: Path) -> bool:
    if catcher == SIMULATION:
        command = ["-m", "tests.simulation", "--seeds", str(SEEDS)]
    else:
        command = ["-m", "pytest", "-x", "-n", "2", catcher]
    try:
        finished = subprocess.run(
            [sys.executable, *command],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return finished.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
