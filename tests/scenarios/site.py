"""One emulated GitHub, one real server in this process that can be restarted on its ledger, and hosts that call it."""

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Run, serve
from gha_step.ledger.keys import step_key
from gha_step.ledger.record import Record
from gha_step.settings import Settings
from gha_step.wiring.server import build
from tests.support.clock import LONG
from tests.support.github import PLAIN, WORKFLOW
from tests.support.host import Heard, KargoHost, Promotion, Step

PROJECT: Final = "demo"
PATIENT: Final = 20.0  # seconds for an answer: where nothing is slow, a busy machine makes no call come too early
MARKED_BY: Final = "gha_step"

Wait = Callable[[Heard], float]
_numbers = itertools.count(1)


def as_told(heard: Heard) -> float:
    """A host that honours retryAfter."""
    assert heard.retry_after is not None
    return heard.retry_after


def every_ten_seconds(heard: Heard) -> float:
    """A host that never asks more often."""
    return max(10.0, as_told(heard))


@dataclass
class Followed:
    """How one promotion step went, as its host saw it."""

    site: "Site"
    promotion: Promotion
    step: Step
    heard: list[Heard]
    seconds: float

    @property
    def end(self) -> Heard:
        return self.heard[-1]

    @property
    def tag(self) -> str:
        return str(self.step.config["inputs"]["image_tag"])

    @property
    def source(self) -> object:
        return (self.end.output or {}).get("runIDSource")


class Site:
    """All that one scenario needs. ``settle``: S in seconds."""

    def __init__(self, folder: Path, github: GitHub, url: str, *, settle: float, reply_within: float) -> None:
        self.folder = folder
        self.github = github
        self.ledger = folder / "ledger.db"
        self._environment = {
            "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
            "GHA_STEP_TOKEN_FILE": "none",
            "GHA_STEP_SECRETS": f"dir:{folder / 'secrets'}",
            "GHA_STEP_LEDGER": f"sqlite:{self.ledger}",
            "GHA_STEP_SETTLE": f"{settle}s",
        }
        secret = folder / "secrets" / PROJECT / "github"
        secret.mkdir(parents=True)
        (secret / "accessToken").write_text(EXAMPLE_TOKEN)
        (secret / "baseURL").write_text(url)
        self.start(reply_within)

    # ---------------------------------------------------------------- the server

    def start(self, reply_within: float = PATIENT) -> None:
        """A new server on the same ledger, with nothing in its memory."""
        settings = Settings.parse(self._environment | {"GHA_STEP_REPLY_WITHIN": f"{reply_within}s"})
        self._server = build(settings, {})
        self._thread = threading.Thread(target=lambda: self._server.run(signals=False), name="scenario-server")
        self._thread.start()
        self.host = KargoHost(self._server.url, None)

    def stop(self) -> None:
        """As SIGTERM does; a POST on the wire is awaited."""
        self._server.stop()
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        self._server.close()  # a process would end here, and its lock on the ledger with it

    # ---------------------------------------------------------------- GitHub

    def workflow(self, file: str, title: str = PLAIN) -> str:
        """Adds a workflow to myorg/my-app; its name."""
        self.github.repository("myorg/my-app").add_workflow(file, WORKFLOW.format(title=title))
        return file

    def runs(self, tag: str) -> list[Run]:
        """What was really dispatched with this image tag."""
        return [run for run in self.github.runs if run.inputs.get("image_tag") == tag]

    def stranger(self, file: str, **options: Any) -> Run:
        """Somebody starts the same workflow, with the same token unless told otherwise."""
        fields = {"actor": "kargo-bot", "inputs": {"image_tag": "by-hand"}} | options
        return self.github.start_run(workflow=file, **fields)

    # ---------------------------------------------------------------- promotions

    def promotion(self, number: int | None = None) -> Promotion:
        number = next(_numbers) if number is None else number
        return Promotion(PROJECT, name=f"test.01abc{number:03}.def5678", uid=f"uid-{number}")

    def step(self, promotion: Promotion, file: str, *, alias: str = "dispatch", **changes: Any) -> Step:
        """The step's config; its image tag tells its runs to the judge, though to nobody else."""
        inputs = {"image_tag": f"{promotion.uid}-{alias}"} | changes.pop("inputs", {})
        config: dict[str, Any] = {
            "credentials": {"secretName": "github"},
            "owner": "myorg",
            "repo": "my-app",
            "workflowFile": file,
            "ref": "main",
            "inputs": inputs,
            "timeout": "1",
        }
        return Step(alias, config | changes)

    def named(self, promotion: Promotion, file: str, **changes: Any) -> Step:
        """Passes the promotion's name, as Kargo's example does."""
        return self.step(promotion, file, inputs={"promotion": promotion.name}, **changes)

    def follow(self, promotion: Promotion, step: Step, *, wait: Wait = as_told, within: float = 240.0) -> Followed:
        """Call until the step is over. :raises AssertionError: it is not, in so many seconds, or a rule is broken."""
        begun = time.monotonic()
        heard: list[Heard] = []
        while True:
            heard.append(self.host.call(promotion, step))
            took = time.monotonic() - begun
            if heard[-1].final:
                break
            assert took < within, f"the step did not end within {within} s: {heard[-1]}"
            self.pause(heard[-1], wait)
        followed = Followed(self, promotion, step, heard, took)
        self.judge(followed)
        return followed

    def pause(self, heard: Heard, wait: Wait = as_told) -> None:
        """What a host waits before it asks again."""
        time.sleep(wait(heard))

    def follow_all(
        self, steps: Mapping[str, Step], promotions: Mapping[str, Promotion], **options: Any
    ) -> dict[str, Followed]:
        """All of them at once."""
        with ThreadPoolExecutor(len(steps)) as pool:
            under_way: dict[str, Future[Followed]] = {
                name: pool.submit(self.follow, promotions[name], step, **options) for name, step in steps.items()
            }
            return {name: future.result() for name, future in under_way.items()}

    def judge(self, followed: Followed) -> None:
        """What must hold of every end: at most one run, and its ID or none."""
        runs = self.runs(followed.tag)
        assert len(runs) <= 1, f"{len(runs)} dispatches for one step"
        end = followed.end
        assert end.status in ("Succeeded", "Failed"), end
        if end.status == "Succeeded":
            assert [end.run_id] == [run.id for run in runs], f"a wrong run: {end}"
        else:
            assert end.run_id is None
            assert not (runs and end.message.startswith("nothing was dispatched")), end

    # ---------------------------------------------------------------- the ledger

    def key(self, promotion: Promotion, step: Step) -> str:
        return step_key(promotion.project, promotion.uid, step.alias)

    def record(self, promotion: Promotion, step: Step) -> Record | None:
        """As it stands on the disk."""
        with sqlite3.connect(self.ledger) as connection:
            row = connection.execute(
                "SELECT record FROM records WHERE key = ?", (self.key(promotion, step),)
            ).fetchone()
        connection.close()
        return None if row is None else Record.model_validate_json(row[0])

    def delete_record(self, promotion: Promotion, step: Step) -> None:
        """An operator's hand, or a restored backup."""
        with sqlite3.connect(self.ledger) as connection:
            deleted = connection.execute("DELETE FROM records WHERE key = ?", (self.key(promotion, step),)).rowcount
        connection.close()
        assert deleted == 1

    def begin(self, promotion: Promotion, step: Step) -> None:
        """Call until its POST is on its way; a busy machine may put the first call off."""
        while self.record(promotion, step) is None:
            self.host.call(promotion, step)
        self.await_state(promotion, step, "sending")

    def await_state(self, promotion: Promotion, step: Step, state: str, within: float = LONG) -> None:
        """Until the record stands so."""
        deadline = time.monotonic() + within
        while (record := self.record(promotion, step)) is None or record.state != state:
            assert time.monotonic() < deadline, record
            time.sleep(0.02)


@contextmanager
def site(
    folder: Path, generation: str = "github.com", *, settle: float = 0.0, reply_within: float = 1.0, **github: Any
) -> Iterator[Site]:
    """A site for one scenario. The ``github`` options are `GitHub`'s lags."""
    emulated = GitHub(generation, **github)
    with serve(emulated) as url:
        made = Site(folder, emulated, url, settle=settle, reply_within=reply_within)
        try:
            yield made
        finally:
            made.stop()
