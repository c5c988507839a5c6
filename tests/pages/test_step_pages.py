"""Each example of the steps' pages comes to what the page says, as a Kargo host runs it, against an emulated GitHub."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from gha_step.contract.values import ConfigModel
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Job, serve
from gha_step.steps.cancel.config import CancelWorkflowConfig
from gha_step.steps.dispatch.config import DispatchWorkflowConfig
from gha_step.steps.wait.config import OutputsConfig, WaitForWorkflowConfig
from tests.support.app_keys import rsa_key
from tests.support.calls import BEARER
from tests.support.certificates import Authority, Issued
from tests.support.host import KargoHost, Promotion, Step
from tests.support.process import Served, served
from tests.support.proxy import Proxy, proxy
from tests.support.secrets import write_secret

from .examples import EXAMPLES, Example
from .expressions import evaluated, image_from, quote

ANYTHING: Final = "…"
STANDS_FOR: Final = {"<GitHub token>": EXAMPLE_TOKEN, "<private key>": rsa_key().private}
GENERATIONS: Final = {
    "api.github.com": "github.com",
    "ghe.example.com": "ghes-3.20",
    "ghe.lab.example.com": "ghes-3.21",
}
STORAGE: Final = "productionresultssa7.blob.core.windows.net"  # GitHub's own
UNTRUSTED: Final = "ghe.lab.example.com"


def _fails(github: GitHub) -> None:
    workflow = github.repository("myorg/my-app").workflow("deploy.yml")
    assert workflow is not None
    workflow.conclusion = "failure"
    workflow.jobs = (Job("deploy", ("Set up job", "Run ./deploy.sh"), "Run ./deploy.sh"),)


def _somebody_starts_one(github: GitHub) -> None:
    _fails(github)
    github.start_run("myorg/my-app", "deploy.yml", actor="octocat", inputs={"environment": "test"})


def _uploads(github: GitHub) -> None:
    workflow = github.repository("myorg/my-app").workflow("deploy-with-outputs.yml")
    assert workflow is not None
    workflow.uploads = {"url": "https://my-app.example.com", "healthy": True, "pods": 3}


# What is so in an example besides what its page holds: by its heading.
BESIDES: Final[dict[str, Callable[[GitHub], None]]] = {
    "Looking more often, and going on with whatever comes (v1.10 and above)": _fails,
    "Using what the workflow has computed": _uploads,
    "A run that does not end as expected (v1.9 and above)": _somebody_starts_one,
}


@dataclass(frozen=True)
class World:
    """The server process, and how names lead to emulated GitHubs."""

    server: Served
    proxy: Proxy
    certificates: dict[str, Issued]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    trusted = Authority(tmp_path_factory.mktemp("pki"))
    unknown = Authority(tmp_path_factory.mktemp("unknown"))
    certificates = {
        name: (unknown if name == UNTRUSTED else trusted).issue(name, names=(name, STORAGE)) for name in GENERATIONS
    }
    with (
        proxy() as through,
        served(
            tmp_path_factory.mktemp("server"),
            SSL_CERT_FILE=str(trusted.certificate),
            HTTPS_PROXY=through.url,
        ) as server,
    ):
        yield World(server, through, certificates)


@pytest.fixture
def githubs(world: World) -> Iterator[dict[str, GitHub]]:
    with ExitStack() as stack:
        made = {}
        for name, generation in GENERATIONS.items():
            certificate = world.certificates[name]
            made[name] = GitHub(generation, example=False)
            made[name].add_token(EXAMPLE_TOKEN)
            made[name].add_installation(made[name].add_app(rsa_key().public))
            url = stack.enter_context(serve(made[name], tls=(certificate.certificate, certificate.key)))
            world.proxy.leads[f"{name}:443"] = int(url.rpartition(":")[2])
            if made[name].generation.enterprise is None:
                world.proxy.leads[f"{STORAGE}:443"] = world.proxy.leads[f"{name}:443"]
                made[name].storage_url = f"https://{STORAGE}"
        yield made


@dataclass
class Run:
    """One promotion by an example."""

    example: Example
    tag: str
    promotion: Promotion
    status: str = "Succeeded"
    message: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)

    def go(self, host: KargoHost) -> None:
        """All steps, until one does not succeed."""
        names = {
            "ctx": {"stage": self.promotion.stage, "promotion": self.promotion.name},
            "vars": {"imageRepo": "registry.example.com/my-app"},
            "outputs": self.outputs,
            "imageFrom": image_from(self.tag),
            "quote": quote,
        }
        for number, written in enumerate(self.example.steps, 1):
            alias = written.get("as", f"step-{number}")
            config = evaluated(written["config"], names)
            if written["uses"] == "compose-output":  # one of Kargo's own steps
                self.outputs[alias] = config
                continue
            heard = host.run(self.promotion, Step(alias, config, written["uses"]))
            self.status, self.message, self.outputs[alias] = heard.status, heard.message, heard.output
            if heard.status != "Succeeded":
                return


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_comes_to_what_its_page_says(
    example: Example, world: World, githubs: dict[str, GitHub], tmp_path: Path
) -> None:
    project = f"kargo-{tmp_path.name[-30:]}".replace("_", "-").strip("-").lower()
    for secret in example.page.secrets:
        data = {key: STANDS_FOR.get(value, value) for key, value in secret["stringData"].items()}
        write_secret(world.server.secrets, project, secret["metadata"]["name"], **data)
    for github in githubs.values():
        for name in _repositories(example):
            repository = github.add_repository(name, branches=["master"])
            for file, text in example.page.workflows.items():
                repository.add_workflow(file, text, queued_for=0.02, runs_for=0.02)
        if example.heading in BESIDES:
            BESIDES[example.heading](github)
    # As the words around the examples have it: a tag such as 1.10 needs quote().
    run = Run(example, "1.10" if "quote(imageFrom" in example.text else "v1.2.0", Promotion(project, uid=project))
    run.go(KargoHost(world.server.url, BEARER, pace=0.01))
    expected = example.result
    assert run.status == expected["status"], run.message
    if "message" in expected:
        assert run.message == expected["message"]
    assert _shown(run.outputs, expected["outputs"]) == expected["outputs"]
    (dispatches,) = {step["uses"] == "gha-dispatch-workflow" for step in example.steps[:1]}
    runs = [run for github in githubs.values() for run in github.runs if run.actor != "octocat"]
    assert len(runs) == (dispatches and expected["status"] == "Succeeded")
    for sent in (made.inputs for made in runs):
        assert {sent[name] for name in ("image_tag", "version") if name in sent} <= {run.tag}


def test_every_version_of_both_steps_has_its_example() -> None:
    for page, *versions in (
        ("gha-dispatch-workflow.md", "(v1.8)", "(v1.9 and above)"),
        ("gha-wait-for-workflow.md", "(v1.8)", "(v1.9 and above)", "(v1.10 and above)"),
    ):
        headings = "".join(example.heading for example in EXAMPLES if example.page.file == page)
        assert all(version in headings for version in versions)
    assert set(BESIDES) <= {example.heading for example in EXAMPLES}


@pytest.mark.parametrize("model", [DispatchWorkflowConfig, WaitForWorkflowConfig, OutputsConfig, CancelWorkflowConfig])
def test_every_default_that_the_docs_and_schemas_show_may_be_written(model: type[ConfigModel]) -> None:
    known = {"repoURL": "https://github.com/myorg/my-app", "workflowFile": "deploy.yml", "ref": "main", "runID": "1"}
    fields = model.model_json_schema()["properties"]
    shown = {name: field["default"] for name, field in fields.items() if field.get("default") is not None}
    assert shown
    model.model_validate({name: value for name, value in known.items() if name in fields} | shown)


def _repositories(example: Example) -> set[str]:
    configs = [step["config"] for step in example.steps if "workflow" in step["uses"]]
    return {
        urlsplit(config["repoURL"]).path.strip("/").removesuffix(".git")
        if "repoURL" in config
        else f"{config['owner']}/{config['repo']}"
        for config in configs
    }


def _shown(found: Any, expected: Any) -> Any:
    """What was found, with … where the page shows that."""
    if expected == ANYTHING:
        return ANYTHING if found else found
    if isinstance(found, dict) and isinstance(expected, dict):
        return {key: _shown(value, expected.get(key)) for key, value in found.items()}
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return [_shown(one, wanted) for one, wanted in zip(found, expected, strict=True)]
    return found
