"""The real process as a service for stock Kargo, beside a GitHub on an address that is not loopback.

What sends the requests does what the `http` step does with each answer (facts: stock-kargo), at a quicker pace.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, Delay, GitHub, Hold, serve
from tests.github.test_bounds import own_address
from tests.support.clock import LONG, eventually, soon
from tests.support.process import Served, served
from tests.support.secrets import write_secret

TOKEN = "token-of-the-project-shop"
GITHUB_TOKEN = "ghp_of_the_project_shop"
CONFIG = {
    "credentials": {"secretName": "github-credentials"},
    "owner": "myorg",
    "repo": "my-app",
    "workflowFile": "deploy.yml",
    "ref": "main",
    "inputs": {"environment": "prod", "image_tag": "1.10"},
    "timeout": "60",
}


@dataclass
class HttpStep:
    """One `http` step of one Promotion. ``errors``: calls that reached nobody; ``requests``: those that did."""

    service: "Service"
    resource: str = "dispatches"
    promotion: str = "prod.01jb7xq.abc1234"
    alias: str = "dispatch::call"
    project: str = "shop"
    token: str | None = TOKEN
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    requests: int = 0
    errors: int = 0

    def poll(self) -> dict[str, Any] | None:
        """One reconciliation; ``None``: ask again."""
        path = f"/api/v1/projects/{self.project}/{self.resource}/{self.promotion}/{self.alias}"
        status, body = self.service.server.ask("PUT", path, self.config, self.token)
        self.service.heard.append(body)
        if status == 0:
            self.errors += 1
            return None
        self.requests += 1
        if status == 429 or status >= 500:
            return None
        answer: dict[str, Any] = json.loads(body)
        if status >= 400:
            return {"status": "Failed", "message": f"HTTP {status}: {answer['message']}"}
        return answer if answer["status"] in ("Succeeded", "Failed") else None

    def follow(self, within: float = 2 * LONG) -> dict[str, Any]:
        deadline = time.monotonic() + within
        while (answer := self.poll()) is None:
            assert time.monotonic() < deadline, "the step did not end"
            time.sleep(0.1)
        return answer


class Service:
    """One project, its GitHub, and one service after the other on one ledger."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.heard: list[bytes] = []
        self.github = GitHub()
        self.github.remove_token(EXAMPLE_TOKEN)
        self.github.add_token(GITHUB_TOKEN)
        self.github_url = stack.enter_context(serve(self.github, own_address()))
        self.secrets = folder / "secrets"
        write_secret(self.secrets, "shop", "github-credentials", accessToken=GITHUB_TOKEN, baseURL=self.github_url)
        write_secret(self.secrets, "shop", "gha-step", token=f"{TOKEN}\n")
        self.server = self.start()

    def start(self, **environment: str) -> Served:
        """The service, at the same address if there was one before."""
        again = {"GHA_STEP_HTTP_LISTEN": self.server.url.removeprefix("http://")} if hasattr(self, "server") else {}
        settings = {
            "GHA_STEP_PROJECT_API": "on",
            "GHA_STEP_TOKEN_FILE": "off",
            "GHA_STEP_ALLOW_HTTP": "true",
            **again,
            **environment,
        }
        self.server = self._stack.enter_context(served(self._folder, **settings))
        return self.server

    def assert_no_token_was_written(self) -> None:
        written = self.server.written() | {"answers": b"".join(self.heard)}
        for name, content in written.items():
            for token in (TOKEN, GITHUB_TOKEN):
                assert token.encode() not in content, name


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with ExitStack() as stack:
        made = Service(tmp_path, stack)
        yield made
        made.assert_no_token_was_written()


def test_a_dispatch_and_its_wait(service: Service) -> None:
    dispatched = HttpStep(service).follow()
    (run,) = service.github.runs
    assert (dispatched["status"], dispatched["runID"]) == ("Succeeded", str(run.id))
    wait = HttpStep(service, "waits", alias="wait::call")
    wait.config = {name: CONFIG[name] for name in ("credentials", "owner", "repo")} | {"runID": dispatched["runID"]}
    wait.config["outputs"] = '{"artifact": "kargo-outputs"}'
    assert wait.poll() is None
    run.upload({"url": "https://my-app.example.com"})
    run.finish()
    waited = wait.follow()
    assert (waited["status"], waited["conclusion"]) == ("Succeeded", "success")
    assert waited["outputs"] == {"url": "https://my-app.example.com"}


def test_a_github_that_takes_long_blocks_no_worker_of_kargo(service: Service) -> None:
    held = Hold()
    service.github.faults.add(held, "dispatch", times=12)

    def promote(number: int) -> str:
        return str(HttpStep(service, promotion=f"prod.{number}").follow()["runID"])

    with soon(), ThreadPoolExecutor(4) as workers:  # as many as Kargo has
        for number in range(12):
            workers.submit(HttpStep(service, promotion=f"prod.{number}").poll)
    held.release()
    with ThreadPoolExecutor(12) as workers:
        assert len(set(workers.map(promote, range(12)))) == 12
    assert service.github.count("dispatch") == 12


def test_a_service_killed_in_the_middle_of_a_post_sends_nothing_again(service: Service) -> None:
    service.github.faults.add(Delay(1.0, "after"), "dispatch")
    step = HttpStep(service)
    step.config |= {"timeout": "2", "inputs": {"environment": "prod", "image_tag": step.promotion}}
    eventually(lambda: step.poll() is None and service.github.count("dispatch"))
    service.server.kill()
    assert step.poll() is None
    assert step.errors == 1
    service.start()
    ended = step.follow()
    assert ended["status"] in ("Succeeded", "Failed")
    if ended["status"] == "Succeeded":
        assert ended["runID"] == str(service.github.runs[0].id)
    assert service.github.count("dispatch") == 1


def test_a_controller_that_starts_again_at_step_0_gets_the_same_run(service: Service) -> None:
    first = HttpStep(service).follow()
    service.server.stop()
    service.start()
    again = HttpStep(service, config=CONFIG | {"inputs": {"environment": "prod", "image_tag": "of another minute"}})
    answer = again.follow()
    assert (answer["runID"], answer["inputsChanged"]) == (first["runID"], True)
    assert service.github.count("dispatch") == 1


def test_a_token_is_rotated_in_the_middle_of_a_promotion(service: Service) -> None:
    held = Hold()
    service.github.faults.add(held, "dispatch")
    step = HttpStep(service)
    eventually(lambda: step.poll() is None and service.github.count("dispatch"))
    write_secret(service.secrets, "shop", "gha-step", token="the-next-one")
    step.token = "the-next-one"
    held.release()
    assert step.follow()["runID"] == str(service.github.runs[0].id)
    step.token = TOKEN
    assert "HTTP 401" in step.follow()["message"]


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:{port}",
        "http://localhost:{port}",
        "https://kubernetes.default.svc",
        "http://169.254.169.254",
    ],
)
def test_the_service_is_no_way_into_its_own_cluster(service: Service, base_url: str) -> None:
    with serve(GitHub(), "0.0.0.0") as url:
        base_url = base_url.format(port=url.rpartition(":")[2])
        write_secret(service.secrets, "shop", "github-credentials", accessToken=GITHUB_TOKEN, baseURL=base_url)
        ended = HttpStep(service).follow()
    assert ended["status"] == "Failed"
    assert "the key baseURL of the Secret github-credentials in project shop leads to" in ended["message"]
    assert "outside the cluster" in ended["message"]


def test_the_api_servers_address_is_refused(service: Service) -> None:
    service.server.stop()
    service.start(KUBERNETES_SERVICE_HOST=own_address(), GHA_STEP_LEDGER=f"sqlite:{service.server.ledger}?lifetime=pod")
    ended = HttpStep(service).follow()
    assert "which has the address of the Kubernetes API server" in ended["message"]
    assert service.github.count() == 0


def test_the_operator_names_the_githubs(service: Service) -> None:
    service.server.stop()
    service.start(GHA_STEP_GITHUB_HOSTS="github.com")
    assert "GHA_STEP_GITHUB_HOSTS allows only github.com" in HttpStep(service).follow()["message"]
    assert service.github.count() == 0


def test_on_sigterm_calls_in_flight_are_answered_and_new_ones_asked_to_come_again(service: Service) -> None:
    held = Hold()
    service.github.faults.add(held, "dispatch")
    step = HttpStep(service)
    eventually(lambda: step.poll() is None and service.github.count("dispatch"))
    service.server.terminate()
    path = f"/api/v1/projects/shop/dispatches/{step.promotion}/{step.alias}"
    while (answer := service.server.ask("PUT", path, step.config, TOKEN))[0] in (0, 200):
        assert service.server.process.poll() is None
        time.sleep(0.05)
    assert (answer[0], json.loads(answer[1])) == (503, {"message": "this server is stopping; call again"})
    held.release()
    assert service.server.process.wait(2 * LONG) == 0
    service.start()
    assert step.follow()["runID"] == str(service.github.runs[0].id)
    assert service.github.count("dispatch") == 1
