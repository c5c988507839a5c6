"""A host, the real server process and an emulated GitHub; what none of them may write down is looked for at the end."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, Generation, GitHub, serve
from tests.support.calls import BEARER
from tests.support.certificates import Authority, Issued
from tests.support.host import KargoHost, Promotion, Step
from tests.support.process import Served, served
from tests.support.proxy import Proxy, proxy
from tests.support.secrets import write_secret

PACE = 0.1  # a tenth of every wait is really waited
_projects = itertools.count(1)


@dataclass(frozen=True)
class Surroundings:
    """What one server process shares among tests."""

    server: Served
    proxy: Proxy
    certificate: Issued


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """One server for all tests of a module. https goes through a proxy, so that names may lead to loopback."""
    authority = Authority(tmp_path_factory.mktemp("pki"))
    certificate = authority.issue("github", names=("api.github.com", "api.acme.ghe.com"))
    with (
        proxy() as through,
        served(
            tmp_path_factory.mktemp("server"),
            GHA_STEP_REPLY_WITHIN="2s",
            SSL_CERT_FILE=str(authority.certificate),
            HTTPS_PROXY=through.url,
        ) as server,
    ):
        yield Surroundings(server, through, certificate)


class Scene:
    """One project on one server, with one GitHub and a token of its own."""

    def __init__(self, server: Served, github: GitHub, base_url: str | None) -> None:
        self.server = server
        self.github = github
        self.token = f"ghp_{uuid.uuid4().hex}"
        github.remove_token(EXAMPLE_TOKEN)
        github.add_token(self.token)
        self.promotion = Promotion(f"project-{next(_projects)}", uid=str(uuid.uuid4()))
        self.base_url = base_url
        self.proxy: Proxy | None = None
        self.hosts: list[KargoHost] = []
        self.host = self.another_host()
        self.write_secret()

    def another_host(self, **changes: Any) -> KargoHost:
        self.hosts.append(KargoHost(self.server.url, BEARER, **({"pace": PACE} | changes)))
        return self.hosts[-1]

    def write_secret(self, **data: str | bytes) -> None:
        """The Secret `github` of the project; by default as it should be."""
        whole: dict[str, Any] = {"accessToken": self.token}
        if self.base_url is not None:
            whole["baseURL"] = self.base_url
        write_secret(self.server.secrets, self.promotion.project, **(data or whole))

    def assert_no_token_was_written(self) -> None:
        """No answer, no line of the log and no file of the ledger holds the token or the bearer."""
        written = self.server.written() | {"answers": b"".join(b"".join(host.received) for host in self.hosts)}
        for name, content in written.items():
            assert self.token.encode() not in content, name
            assert BEARER.encode() not in content, name


def step(alias: str = "dispatch", **changes: Any) -> Step:
    """Kargo's example, with changes; a value of ``...`` leaves the key out."""
    config: dict[str, Any] = {
        "credentials": {"secretName": "github"},
        "owner": "myorg",
        "repo": "my-app",
        "workflowFile": "deploy.yml",
        "ref": "main",
        "inputs": {"environment": "prod", "image_tag": "1.10"},
        "timeout": "1",
    }
    config.update(changes)
    return Step(alias, {name: value for name, value in config.items() if value is not ...})


MakeScene = Callable[..., Scene]


@pytest.fixture
def scene_of(surroundings: Surroundings) -> Iterator[MakeScene]:
    """Makes scenes: of a generation, at a name of GitHub's own (by https) or on loopback."""
    scenes: list[Scene] = []
    with ExitStack() as stack:

        def make(generation: str | Generation = "github.com", *, name: str | None = None, **options: Any) -> Scene:
            github = GitHub(generation, **options)
            if name is None:
                base_url: str | None = stack.enter_context(serve(github))
            else:
                certificate = surroundings.certificate
                url = stack.enter_context(serve(github, tls=(certificate.certificate, certificate.key)))
                surroundings.proxy.leads[f"{name}:443"] = int(url.rpartition(":")[2])
                base_url = None if name == "api.github.com" else f"https://{name}"
            scenes.append(Scene(surroundings.server, github, base_url))
            scenes[-1].proxy = surroundings.proxy
            return scenes[-1]

        yield make
        for scene in scenes:
            scene.assert_no_token_was_written()


@pytest.fixture
def scene(scene_of: MakeScene) -> Scene:
    """github.com's generation, on loopback."""
    return scene_of()
