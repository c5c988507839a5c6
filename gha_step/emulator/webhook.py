"""GitHub's webhook: signed `workflow_run` deliveries of what happens to the emulated GitHub's runs.

As GitHub does, it sends each delivery once, whatever is answered.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from . import bodies
from .bodies import Links
from .github import GitHub
from .state import Run
from .wire import Json

EVERY = 0.05  # seconds between two looks at what has happened
GIVES_UP = 10.0  # seconds: GitHub waits no longer for an answer
_ACTIONS = {"queued": "requested", "requested": "requested", "in_progress": "in_progress", "completed": "completed"}


class Delivery(NamedTuple):
    """One delivery; ``headers`` but for those of HTTP itself."""

    headers: dict[str, str]
    body: bytes


def delivery(action: str, run: Run, secret: str, links: Links) -> Delivery:
    """A `workflow_run` delivery, signed as GitHub signs it."""
    content: dict[str, Json] = {
        "action": action,
        "workflow_run": bodies.workflow_run(run, links),
        "workflow": bodies.workflow(run.workflow, run.repository, links),
        "repository": bodies.full_repository(run.repository, links, writable=True),
        "sender": bodies.user(run.triggering_actor, links),
    }
    return signed(json.dumps(content).encode(), secret)


def signed(body: bytes, secret: str, event: str = "workflow_run") -> Delivery:
    """Any body as a delivery."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/0000000",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "1",
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    return Delivery(headers, body)


@contextlib.contextmanager
def delivering(github: GitHub, to: str, secret: str, *, at: str = "http://localhost") -> Iterator[list[int | None]]:
    """While the block runs, each change of a run is sent to the URL ``to``; gives the answers' statuses as they come.

    :param at: GitHub's own URL, for the links in the deliveries.
    """
    answers: list[int | None] = []
    stop = threading.Event()

    def send() -> None:
        told: dict[int, tuple[int, str]] = {}
        while not stop.wait(EVERY):
            for run in github.runs:
                now = (run.attempt, run.status)
                if told.get(run.id) != now and run.created_at <= github.clock():
                    told[run.id] = now
                    if (action := _ACTIONS.get(run.status)) is not None:
                        answers.append(post(to, delivery(action, run, secret, Links(at, at))))

    thread = threading.Thread(target=send, name="emulator-webhook", daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join(GIVES_UP + 1)


def post(to: str, one: Delivery) -> int | None:
    """Send it; the answer's status, or None."""
    request = urllib.request.Request(to, one.body, one.headers, method="POST")  # noqa: S310  who emulates names it
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=GIVES_UP) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
