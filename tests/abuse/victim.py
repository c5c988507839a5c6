"""The well-behaved project. A program: ``victim ADDRESS GRPC AUTHORITY [rest]``.

For each line with a number it makes promotions for so many seconds, and prints what it measured as JSON. In a process
of its own, so that attackers in others' threads cost it nothing but what they cost the server.
"""

import http.client
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.abuse.caller import PROJECT_TOKEN, Caller

VICTIM: Final = "victim"
THREADS: Final = 4


@dataclass
class Measured:
    """What it and a probe saw. Times in seconds."""

    times: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    health: float = 0.0

    @property
    def p95(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.95)] if self.times else float("inf")


class Victim:
    """``rest``: it calls over REST, with the token of its project."""

    def __init__(self, caller: Caller, *, rest: bool) -> None:
        self._caller = caller
        self._rest = rest

    def watch(self, seconds: float) -> Measured:
        """One promotion after the other, for so long."""
        seen = Measured()
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._act, args=(seen, until)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            begun = time.monotonic()
            try:
                ok = self._caller.ask("GET", "/healthz", timeout=20) == 200
            except (OSError, http.client.HTTPException):
                ok = False
            seen.health = max(seen.health, time.monotonic() - begun if ok else float("inf"))
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        return seen

    def _prove(self) -> tuple[str, str]:
        """Over REST, whose GitHub may not be on loopback: a call that is let in and fails for its config."""
        answer = self._caller.ask("PUT", f"/api/v1/projects/{VICTIM}/waits/p/a", {}, PROJECT_TOKEN)
        told = str(answer["status"] if isinstance(answer, dict) else answer)
        return told, f"heard {told}"

    def _promote(self, body: dict[str, object]) -> tuple[str, str]:
        answer = self._caller.execute(body)
        if not isinstance(answer, dict):
            return str(answer), f"heard {answer}"
        return answer["status"], f"heard: {answer['message'][:60]}"

    def _act(self, seen: Measured, until: float) -> None:
        """One promotion after the other, each asked for until it ends; what is heard meanwhile is counted."""
        good, ends = ("Failed", {"Failed"}) if self._rest else ("Succeeded", {"Succeeded", "Failed"})
        while time.monotonic() < until:
            body = {} if self._rest else self._caller.body(VICTIM)
            begun = time.monotonic()
            told = "?"
            while time.monotonic() - begun < 60:
                try:
                    told, heard = self._prove() if self._rest else self._promote(body)
                except (OSError, http.client.HTTPException) as error:
                    told = type(error).__name__
                    heard = f"heard {told}"
                if told in ends:
                    break
                seen.failures[heard] += 1
                time.sleep(0.5)
            if told == good:
                seen.times.append(time.monotonic() - begun)
            else:
                seen.failures[f"FAILED: {told}"] += 1
            time.sleep(0.02)


def main() -> None:
    """Measure as often as is asked for."""
    address, grpc, authority, *rest = sys.argv[1:]
    victim = Victim(
        Caller(address, grpc, Path(authority) if authority else None, f"victim-{os.getpid()}-"), rest=bool(rest)
    )
    for line in sys.stdin:
        print(json.dumps(vars(victim.watch(float(line)))), flush=True)


if __name__ == "__main__":
    main()
