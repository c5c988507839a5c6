"""The shipped roles on a real API server: enough for every step, each rule needed, and nothing more allowed.

The real server runs as the ServiceAccount that it has in a cluster, with the settings that deploy/ gives it. Its GitHub
is one that names no run, so that it needs the gate and the other dispatches of the promotion as well.
"""

import copy
import itertools
import json
import math
import re
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import pytest

from gha_step.emulator import EXAMPLE_TOKEN, GitHub, serve
from gha_step.emulator.bodies import Links
from gha_step.emulator.webhook import delivery, post
from gha_step.kube import Forbidden, KubeApi
from gha_step.ledger.kubernetes import FINALIZER
from tests.deploy.clusters import apply, grant, kubectl_path, prepare, project_objects, revoke
from tests.deploy.manifests import DEPLOY, Manifest, manifest, pod_settings, rendered
from tests.deploy.step_plugin import container
from tests.ledger.clusters import await_runs
from tests.support.calls import BEARER
from tests.support.certificates import Authority
from tests.support.clock import eventually
from tests.support.cluster import Cluster
from tests.support.host import KargoHost, Promotion, Step
from tests.support.process import BY_A_CLOCK_AHEAD, Served, served
from tests.support.proxy import Proxy, proxy

pytestmark = pytest.mark.cluster

DOCS: Final = DEPLOY.parent / "docs"
HOST: Final = "ghes.example.com"
LINKS: Final = Links("http://localhost", "http://localhost")
PROJECT_TOKEN: Final = "a-token-of-this-project"
SHARED: Final = "kargo-shared-resources"
WORKFLOW: Final = """
name: Deploy
run-name: Deploy ${{ inputs.promotion }}
on: {workflow_dispatch: {inputs: {promotion: {}}}}
jobs: {}
"""
LONG_WORKFLOW: Final = """
name: Deploy
run-name: Deploy ${{ inputs.gha_step }}
on: {workflow_dispatch: {inputs: {gha_step: {}}}}
jobs: {}
"""
END_WITHIN: Final = 300.0  # seconds; it takes 2, and 15 at a gate that cannot be used
PAUSE: Final = 6  # seconds by which the server's clock is put forward after each call that hears a denial
DENIALS: Final = 3  # that a step bears before it ends (gha_step.kube)

_numbers = itertools.count(1)


@dataclass(frozen=True)
class World:
    """What all tests share."""

    cluster: Cluster
    github: GitHub
    environment: dict[str, str]
    folder: Path

    def project(self) -> str:
        """A namespace with the Secrets that a user makes, one more, and a Promotion."""
        name = self.cluster.namespace("project")
        secrets = {
            "github-credentials": {"accessToken": EXAMPLE_TOKEN, "baseURL": f"https://{HOST}"},
            "gha-step": {"token": PROJECT_TOKEN},
            "other": {"password": "secret"},
        }
        for secret, data in secrets.items():
            self.cluster.admin.create(
                f"/api/v1/namespaces/{name}/secrets", {"metadata": {"name": secret}, "stringData": data}
            )
        return name

    def promotion(self, project: str) -> Promotion:
        name = f"test.{next(_numbers):026d}.abcdef0"
        path = f"/apis/kargo.akuity.io/v1alpha1/namespaces/{project}/promotions"
        body = {"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "Promotion", "metadata": {"name": name}}
        uid = self.cluster.admin.create(path, body)["metadata"]["uid"]
        return Promotion(project, name=name, uid=uid)

    @contextmanager
    def server(self, settings: dict[str, str], token: str, namespace: str) -> Iterator[Served]:
        """The real server for the bearer of ``token``, with ``settings`` as deploy/ gives them."""
        folder = self.folder / uuid.uuid4().hex
        kubeconfig = {"KUBECONFIG": str(self.cluster.kubeconfig(token, namespace)), "GHA_STEP_SECRETS": "kubernetes"}
        listen = {"GHA_STEP_HTTP_LISTEN": "127.0.0.1:0"}
        with served(folder, BY_A_CLOCK_AHEAD, **(self.environment | settings | kubeconfig | listen)) as server:
            yield server


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    prepare(cluster)
    github = GitHub("ghes-3.19")
    repository = github.repository("myorg/my-app")
    repository.add_workflow("named.yml", WORKFLOW, queued_for=0, runs_for=0)
    repository.add_workflow("long.yml", LONG_WORKFLOW, queued_for=0, runs_for=1e6)
    authority = Authority(tmp_path_factory.mktemp("pki"))
    certificate = authority.issue("github", names=(HOST,))
    with ExitStack() as stack:
        through: Proxy = stack.enter_context(proxy())
        url = stack.enter_context(serve(github, tls=(certificate.certificate, certificate.key)))
        through.leads[f"{HOST}:443"] = int(url.rpartition(":")[2])
        environment = {
            "SSL_CERT_FILE": str(authority.certificate),
            "HTTPS_PROXY": through.url,
            "NO_PROXY": "127.0.0.1",
            "GHA_STEP_REPLY_WITHIN": "2s",
        }
        yield World(cluster, github, environment, tmp_path_factory.mktemp("servers"))


@dataclass(frozen=True)
class End:
    """How a step ended. ``denials``: how many calls before had heard that something is not allowed, and to go on."""

    status: str
    message: str
    run_id: str
    denials: int = 0


class Ask(Protocol):
    """One call: what it heard, and whether that is final."""

    server: Served

    def __call__(self, promotion: Promotion, step: Step) -> tuple[End, bool]: ...


def follow(ask: Ask, promotion: Promotion, step: Step, most: float = DENIALS + 2) -> End:
    """Call until the step is over, or has heard more than ``most`` denials, which should end it.

    What the API server denies is an end only once it lasts: time is put forward, but not while a run is looked for.
    """
    deadline = time.monotonic() + END_WITHIN
    denials = 0
    while True:
        end, final = ask(promotion, step)
        if final or denials > most:
            return replace(end, denials=denials)
        assert time.monotonic() < deadline, end
        denied = " may not " in end.message or end.status == "503"
        denials += denied
        if denied and not end.message.startswith("dispatched"):
            ask.server.forward(PAUSE)
        time.sleep(0.3)


def steps(promotion: Promotion) -> tuple[Step, Step]:
    """A dispatch and a wait; the wait's runID is filled in later."""
    where = {"credentials": {"secretName": "github-credentials"}, "owner": "myorg", "repo": "my-app"}
    dispatch = where | {
        "workflowFile": "named.yml",
        "ref": "main",
        "inputs": {"promotion": promotion.name},
        "timeout": "300",
    }
    return Step("dispatch", dispatch), Step("wait", where, kind="gha-wait-for-workflow")


def use(world: World, ask: Ask, project: str, most: float = DENIALS + 2) -> list[End]:
    """Two promotions, one after the other, each with a dispatch and a wait; ends with the first that fails."""
    ends: list[End] = []
    for _ in range(2):
        promotion = world.promotion(project)
        dispatch, wait = steps(promotion)
        ends.append(follow(ask, promotion, dispatch, most))
        if ends[-1].status != "Succeeded":
            break
        ends.append(follow(ask, promotion, Step("wait", wait.config | {"runID": ends[-1].run_id}, wait.kind)))
        if ends[-1].status != "Succeeded":
            break
    return ends


class ByHost:
    """As a Kargo with step plugins calls."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self._host = KargoHost(server.url, BEARER)

    def __call__(self, promotion: Promotion, step: Step) -> tuple[End, bool]:
        heard = self._host.call(promotion, step)
        return End(heard.status, heard.message, str(heard.run_id)), heard.final


class ByTask:
    """As the ``http`` step of stock Kargo calls."""

    def __init__(self, server: Served) -> None:
        self.server = server

    def __call__(self, promotion: Promotion, step: Step) -> tuple[End, bool]:
        resource = "dispatches" if step.kind == "gha-dispatch-workflow" else "waits"
        path = f"/api/v1/projects/{promotion.project}/{resource}/{promotion.name}/{step.alias}"
        status, body = self.server.ask("PUT", path, step.config, PROJECT_TOKEN)
        answer = json.loads(body or b"{}")
        end = End(answer.get("status", str(status)), answer.get("message", ""), str(answer.get("runID")))
        return end, end.status in ("Succeeded", "Failed") or 400 <= status < 500


# ---------------------------------------------------------------- the two ways to run

Objects = list[Manifest]
CLUSTER_WIDE: Final = [manifest(f"service/{name}.yaml") for name in ("clusterrole", "clusterrolebinding")]


@contextmanager
def sidecar(world: World, project: str, objects: Objects) -> Iterator[Ask]:
    """In a promotion's pod, as the project's own default ServiceAccount."""
    token = world.cluster.service_account(project)
    grant(world.cluster, *objects)
    settings = pod_settings(container(manifest("step-plugin/configmap.yaml")))
    with world.server(settings, token, project) as server:
        yield ByHost(server)


@contextmanager
def service(
    world: World,
    project: str,
    objects: Objects,
    account: str = "gha-step",
    more: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Ask]:
    """As the Deployment, for all projects."""
    token = world.cluster.service_account("gha-step", account)
    grant(world.cluster, *CLUSTER_WIDE, *objects)
    pod = manifest("service/deployment.yaml")["spec"]["template"]["spec"]
    settings = pod_settings(pod["containers"][0]) | {"GHA_STEP_TOKEN_FILE": "off"} | dict(more)
    with world.server(settings, token, "gha-step") as server:
        yield ByTask(server)


SIDES: Final[dict[str, Any]] = {"step-plugin": sidecar, "service": service}
ROLES: Final = {side: manifest(f"{side}/project/role.yaml")["rules"] for side in SIDES}


@pytest.mark.parametrize("side", SIDES)
def test_with_the_shipped_roles_every_step_ends_with_success(world: World, tmp_path: Path, side: str) -> None:
    project = world.project()
    before = len(world.github.runs)
    with SIDES[side](world, project, project_objects(tmp_path, side, project)) as ask:
        ends = use(world, ask, project)
    assert [end.status for end in ends] == ["Succeeded"] * 4, ends
    made = world.github.runs[before:]
    assert [end.run_id for end in ends[::2]] == [str(run.id) for run in made], "one run for each dispatch, and its ID"


def dropped(side: str) -> Iterator[tuple[str, int, str, str]]:
    """Every verb, and every named Secret, of a role."""
    for number, rule in enumerate(ROLES[side]):
        for part in ("verbs", "resourceNames"):
            for value in rule.get(part, ()) if len(rule.get(part, ())) > 1 or part == "verbs" else ():
                yield side, number, part, value


def without(objects: Objects, number: int, part: str, value: str) -> Objects:
    """The roles less one verb, or one name."""
    changed = copy.deepcopy(objects)
    (role,) = [found for found in changed if found["kind"] == "Role"]
    rule = role["rules"][number]
    rule[part].remove(value)
    if not rule[part]:
        del role["rules"][number]
    return changed


@pytest.mark.parametrize(
    ("side", "number", "part", "value"),
    [case for side in SIDES for case in dropped(side)],
    ids=str,
)
def test_less_any_one_verb_a_step_fails_once_the_denial_lasts_and_the_gate_only_delays(
    world: World, tmp_path: Path, side: str, number: int, part: str, value: str
) -> None:
    project = world.project()
    objects = without(project_objects(tmp_path, side, project), number, part, value)
    # What was heard at the gate is repeated while the run is looked for.
    most = math.inf if ROLES[side][number]["resources"] == ["leases"] else DENIALS + 2
    with SIDES[side](world, project, objects) as ask:
        last = use(world, ask, project, most)[-1]
    if side == "service" and number == 0 and value in ("get", "gha-step"):
        assert last.status == "401", "without the token's Secret nobody proves anything, and is told no more"
    elif ROLES[side][number]["resources"] == ["leases"]:
        assert last.status == "Succeeded", f"a gate that cannot be used only delays: {last}"
    else:
        # Who may not list cannot tell its run from others': it was sent, so that this ends once the right is given.
        assert last.status == ("Running" if value == "list" else "Failed")
        assert last.denials >= DENIALS - 1
        assert ROLES[side][number]["resources"][0].removesuffix("s") in last.message.lower(), last
        assert value in last.message, last


# ---------------------------------------------------------------- what must not be allowed

ROLE: Final = "/apis/rbac.authorization.k8s.io/v1/namespaces/{p}"
RECORDS: Final = "/apis/gha-step.dev/v1alpha1/namespaces/{p}/workflowdispatches"
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/{p}/leases"
PROMOTIONS: Final = "/apis/kargo.akuity.io/v1alpha1/namespaces/{p}/promotions"
REFUSED: Final = [
    ("GET", "/api/v1/namespaces/{p}/secrets/other"),
    ("GET", "/api/v1/namespaces/{p}/secrets"),
    ("GET", "/api/v1/secrets"),
    ("POST", "/api/v1/namespaces/{p}/secrets"),
    ("PUT", "/api/v1/namespaces/{p}/secrets/github-credentials"),
    ("DELETE", "/api/v1/namespaces/{p}/secrets/github-credentials"),
    ("GET", "/api/v1/namespaces/{other}/secrets/github-credentials"),
    ("GET", "/api/v1/namespaces/kargo-shared-resources/secrets"),
    ("GET", "/api/v1/namespaces/{p}/configmaps"),
    ("POST", "/api/v1/namespaces/{p}/configmaps"),
    ("PUT", "/api/v1/namespaces/{p}/configmaps/any"),
    ("POST", "/api/v1/namespaces/kargo-system-resources/configmaps"),
    ("POST", "/api/v1/namespaces/{p}/pods"),
    ("GET", "/api/v1/namespaces/{p}/pods"),
    ("POST", "/api/v1/namespaces/{p}/serviceaccounts/default/token"),
    ("POST", f"{ROLE}/roles"),
    ("POST", f"{ROLE}/rolebindings"),
    ("DELETE", f"{RECORDS}/any"),
    ("DELETE", RECORDS),
    ("PATCH", f"{RECORDS}/any"),
    ("GET", RECORDS.replace("{p}", "{other}") + "/any"),
    ("POST", RECORDS.replace("{p}", "{other}")),
    ("GET", LEASES),
    ("DELETE", f"{LEASES}/any"),
    ("PATCH", f"{LEASES}/any"),
    ("POST", LEASES.replace("{p}", "{other}")),
    ("GET", PROMOTIONS),
    ("POST", PROMOTIONS),
    ("PUT", f"{PROMOTIONS}/any"),
    ("PATCH", f"{PROMOTIONS}/any"),
    ("GET", PROMOTIONS.replace("{p}", "{other}") + "/any"),
    ("GET", "/api/v1/namespaces"),
    ("GET", "/api/v1/nodes"),
]


@pytest.fixture(scope="module", params=SIDES)
def tried(
    request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory
) -> tuple[KubeApi, str, str]:
    """The identity of one side, its project, and a project that it has no role in."""
    side = str(request.param)
    project, other = world.project(), world.project()
    home, account = (project, "default") if side == "step-plugin" else ("gha-step", "gha-step")
    token = world.cluster.service_account(home, account)
    objects = project_objects(tmp_path_factory.mktemp("overlay"), side, project)
    grant(world.cluster, *CLUSTER_WIDE, *objects)
    return world.cluster.api(token), project, other


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_what_no_step_needs_is_refused(tried: tuple[KubeApi, str, str], method: str, path: str) -> None:
    api, project, other = tried
    with pytest.raises(Forbidden):
        api._request(method, path.format(p=project, other=other), None, None if method in ("GET", "DELETE") else {})


def test_what_is_refused_is_refused_for_want_of_a_right(tried: tuple[KubeApi, str, str]) -> None:
    api, project, _ = tried
    assert api.get(f"/api/v1/namespaces/{project}/secrets/github-credentials")["kind"] == "Secret"


# ---------------------------------------------------------------- components


def dispatched_by_url(
    world: World, project: str, side: str, objects: Objects, *, kept_in: str, more: Objects | None = None
) -> End:
    """A dispatch by ``repoURL``, whose credentials are a Secret of the namespace ``kept_in``."""
    credentials = {
        "metadata": {"name": f"git-{project}", "labels": {"kargo.akuity.io/cred-type": "git"}},
        "stringData": {"repoURL": f"https://{HOST}/myorg/my-app", "username": "kargo", "password": EXAMPLE_TOKEN},
    }
    world.cluster.admin.create(f"/api/v1/namespaces/{kept_in}/secrets", credentials)
    with granted(world.cluster, more or []), SIDES[side](world, project, objects) as ask:
        promotion = world.promotion(project)
        by_secret = steps(promotion)[0].config
        config = {name: by_secret[name] for name in by_secret if name not in ("credentials", "owner", "repo")}
        return follow(ask, promotion, Step("dispatch", config | {"repoURL": f"https://{HOST}/myorg/my-app"}))


@contextmanager
def granted(cluster: Cluster, objects: Objects) -> Iterator[None]:
    """With these roles, and afterwards without them: other tests see the same namespace."""
    if not objects:
        yield
        return
    grant(cluster, *objects)
    try:
        yield
    finally:
        revoke(cluster, *objects)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("allowed", [True, False], ids=["with the component", "without"])
def test_repo_url_needs_the_component_that_lists_secrets(
    world: World, tmp_path: Path, side: str, *, allowed: bool
) -> None:
    project = world.project()
    objects = project_objects(tmp_path, side, project, *(["git-credentials"] if allowed else []))
    end = dispatched_by_url(world, project, side, objects, kept_in=project)
    assert end.status == ("Succeeded" if allowed else "Failed"), end
    if not allowed:
        assert "may not be listed" in end.message
        assert "verbs: [list]" in end.message


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("allowed", [False, True], ids=["without", "with the folder"])
def test_shared_credentials_need_the_folder_that_lists_them(
    world: World, tmp_path: Path, side: str, *, allowed: bool
) -> None:
    project = world.project()
    folder = DEPLOY / side / "shared-credentials"
    shared = json.loads(json.dumps(rendered(folder, kubectl_path())).replace(":my-project:", f":{project}:"))
    objects = project_objects(tmp_path, side, project, "git-credentials")
    end = dispatched_by_url(world, project, side, objects, kept_in=SHARED, more=shared if allowed else [])
    assert end.status == ("Succeeded" if allowed else "Failed"), end
    if not allowed:
        assert f"the Secrets of the namespace {SHARED} may not be listed" in end.message
        assert f"deploy/{side}/shared-credentials" in end.message


@pytest.mark.parametrize("allowed", [True, False], ids=["with the component", "without"])
def test_a_replica_that_took_no_call_refreshes_the_promotion_that_waits(
    world: World, tmp_path: Path, *, allowed: bool
) -> None:
    project = world.project()
    objects = project_objects(tmp_path, "service", project, *(["refresh"] if allowed else []))
    secret = tmp_path / "secret"
    secret.write_text("of the webhook")
    listens = {"GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE": str(secret), "GHA_STEP_KARGO_REFRESH": "on"}
    waiting, ended = world.promotion(project), world.promotion(project)
    path = f"/apis/kargo.akuity.io/v1alpha1/namespaces/{project}/promotions"
    for promotion, phase in ((waiting, "Running"), (ended, "Succeeded")):
        world.cluster.admin.merge(f"{path}/{promotion.name}", {"status": {"phase": phase, "currentStep": 0}})
    with service(world, project, objects) as ask:
        runs = [follow(ask, promotion, steps(promotion)[0]).run_id for promotion in (waiting, ended)]
    await_runs(world.cluster, project, *runs)
    with service(world, project, objects, more=listens) as ask:
        for run in runs:
            (found,) = [one for one in world.github.runs if str(one.id) == run]
            assert (
                post(f"{ask.server.url}/github/webhook", delivery("completed", found, secret.read_text(), LINKS)) == 202
            )
        result = "done" if allowed else "failed"
        wanted = f'gha_step_promotion_refreshes_total{{result="{result}"}} 1'.encode()
        eventually(lambda: wanted in ask.server.ask(path="/metrics")[1])
        log = ask.server.log.read_text()
    annotations = [
        world.cluster.admin.get(f"{path}/{promotion.name}")["metadata"].get("annotations", {})
        for promotion in (waiting, ended)
    ]
    assert ["kargo.akuity.io/refresh" in found for found in annotations] == [allowed, False]
    assert ("deploy/service/refresh" in log) == (not allowed)


def test_the_service_lists_dispatches_by_its_cluster_role_also_to_count_them(world: World, tmp_path: Path) -> None:
    project = world.project()
    with service(world, project, project_objects(tmp_path, "service", project)) as ask:
        assert use(world, ask, project)[-1].status == "Succeeded"
        eventually(lambda: b'gha_step_ledger_records{state="accepted"}' in ask.server.ask(path="/metrics")[1])


def test_less_its_cluster_role_the_services_steps_name_it_and_do_not_end(world: World, tmp_path: Path) -> None:
    project = world.project()
    objects = project_objects(tmp_path, "service", project)
    for found in objects:
        for subject in found.get("subjects", ()):
            subject["name"] = "another"
    with service(world, project, objects, "another") as ask:
        last = use(world, ask, project)[-1]
    assert last.status == "Running"
    assert "may not list workflowdispatches" in last.message


# ---------------------------------------------------------------- cancelOnAbort

FOLLOWER: Final = "gha-step-follower"
ENDS: Final = ("Aborted", "Failed", "Errored", "deleted", "Succeeded", "Running")


def follower_objects(folder: Path, project: str) -> Objects:
    """What deploy/cancel-on-abort installs, but for its Deployment, and what it may do in one project."""
    whole = rendered(DEPLOY / "cancel-on-abort", kubectl_path())
    return [one for one in whole if one["kind"] != "Deployment"] + project_objects(folder, "cancel-on-abort", project)


@contextmanager
def follower(world: World, objects: Objects) -> Iterator[Served]:
    """The Deployment of deploy/cancel-on-abort, as its ServiceAccount."""
    pod = manifest("cancel-on-abort/deployment.yaml")["spec"]["template"]["spec"]
    apply(world.cluster, *(one for one in objects if one["kind"] == "Namespace"))
    grant(world.cluster, *objects)
    token = world.cluster.service_account(FOLLOWER, pod["serviceAccountName"])
    with world.server(pod_settings(pod["containers"][0]), token, FOLLOWER) as server:
        yield server


def begin_long(world: World, ask: Ask, project: str) -> tuple[Promotion, End]:
    """A dispatch of a workflow that runs for long, and is to be cancelled on abort."""
    promotion = world.promotion(project)
    config = steps(promotion)[0].config | {"workflowFile": "long.yml", "inputs": {}, "timeout": "60"}
    step = Step("dispatch", config | {"correlationInput": "gha_step", "cancelOnAbort": True})
    end = follow(ask, promotion, step)
    assert end.status == "Succeeded", end
    return promotion, end


def records_of(world: World, project: str) -> dict[str, dict[str, Any]]:
    """The records by their Promotions."""
    found = world.cluster.admin.get(RECORDS.format(p=project))["items"]
    return {one["step"]["promotion"]: one for one in found}


def ends(world: World, promotion: Promotion, phase: str) -> None:
    """As Kargo's controller writes it, or as a person and then the garbage collector delete it."""
    path = f"{PROMOTIONS.format(p=promotion.project)}/{promotion.name}"
    if phase != "deleted":
        found = world.cluster.admin.get(path)
        world.cluster.admin.replace(path, found | {"status": {"phase": phase}})
        return
    where = ("--namespace", promotion.project)
    world.cluster.kubectl("delete", "promotions.kargo.akuity.io", promotion.name, *where)
    record = records_of(world, promotion.project)[promotion.name]["metadata"]["name"]
    world.cluster.kubectl("delete", "workflowdispatch", record, *where, "--wait=false")


def test_the_follower_cancels_with_just_its_roles_also_what_was_deleted(world: World, tmp_path: Path) -> None:
    project = world.project()
    objects = project_objects(tmp_path, "step-plugin", project)
    with sidecar(world, project, objects) as ask, follower(world, follower_objects(tmp_path, project)):
        begun = {phase: begin_long(world, ask, project) for phase in ENDS}
        eventually(
            lambda: all(one["metadata"].get("finalizers") == [FINALIZER] for one in records_of(world, project).values())
        )
        for phase, (promotion, _) in begun.items():
            ends(world, promotion, phase)
        runs = {str(run.id): run for run in world.github.runs}
        status = {phase: (lambda run=runs[end.run_id]: run.status) for phase, (_, end) in begun.items()}
        eventually(lambda: all(status[phase]() == "completed" for phase in ENDS[:4]))
        assert [status[phase]() for phase in ENDS[4:]] == ["in_progress"] * 2
        of = {phase: promotion.name for phase, (promotion, _) in begun.items()}
        eventually(lambda: of["deleted"] not in records_of(world, project))

        def kept() -> set[str]:
            return {name for name, one in records_of(world, project).items() if one["metadata"].get("finalizers")}

        eventually(lambda: kept() == {of["Running"]})
        outcomes = {
            phase: records_of(world, project)[of[phase]]["abort"].get("outcome") for phase in ENDS if phase != "deleted"
        }
        assert outcomes == {**dict.fromkeys(ENDS[:3], "cancelled"), "Succeeded": "succeeded", "Running": None}


def test_the_sidecar_alone_cancels_the_run_of_its_promotion_while_its_pod_lives(world: World, tmp_path: Path) -> None:
    project = world.project()
    objects = project_objects(tmp_path, "step-plugin", project, "cancel-on-abort")
    with sidecar(world, project, objects) as ask:
        promotion, end = begin_long(world, ask, project)
        ends(world, promotion, "Aborted")
        (run,) = [one for one in world.github.runs if str(one.id) == end.run_id]
        eventually(lambda: run.status == "completed")
        assert "finalizers" not in records_of(world, project)[promotion.name]["metadata"]


def test_the_service_with_its_component_cancels_whichever_replica_dispatched(world: World, tmp_path: Path) -> None:
    """The second process has served no call of the step."""
    project = world.project()
    component = [
        manifest(f"service/cancel-on-abort/{name}.yaml")
        for name in ("clusterrole", "clusterrolebinding", "role", "rolebinding")
    ]
    objects = project_objects(tmp_path, "service", project)
    with service(world, project, objects) as ask:
        promotion, end = begin_long(world, ask, project)
    token = world.cluster.service_account("gha-step", "gha-step")
    settings = {
        "GHA_STEP_CANCEL_ON_ABORT": "all",
        "GHA_STEP_PROJECT_API": "on",
        "GHA_STEP_TOKEN_FILE": "off",
        "GHA_STEP_LEDGER": "kubernetes",
    }
    with granted(world.cluster, component), world.server(settings, token, "gha-step"):
        ends(world, promotion, "Aborted")
        (run,) = [one for one in world.github.runs if str(one.id) == end.run_id]
        eventually(lambda: run.status == "completed")
        eventually(lambda: records_of(world, project)[promotion.name]["abort"].get("outcome") == "cancelled")


def test_what_the_docs_say_of_uninstalling_frees_the_records(world: World, tmp_path: Path) -> None:
    project = world.project()
    objects = project_objects(tmp_path, "step-plugin", project)
    with sidecar(world, project, objects) as ask, follower(world, follower_objects(tmp_path, project)):
        promotion, _ = begin_long(world, ask, project)
        eventually(lambda: records_of(world, project)[promotion.name]["metadata"].get("finalizers") == [FINALIZER])
    ends(world, promotion, "deleted")
    assert promotion.name in records_of(world, project), "nobody is left who would take the finalizer off"
    (block,) = re.findall(
        r"```sh\n(kubectl delete validatingadmissionpolicybinding.*?)```", (DOCS / "install.md").read_text(), re.DOTALL
    )
    script = "".join(
        line + "\n" for line in block.splitlines() if not line.startswith(("kubectl delete", "kubectl apply"))
    )
    environ = {
        "PATH": f"{kubectl_path().parent}:/usr/bin:/bin",
        "KUBECONFIG": str(world.cluster.admin_kubeconfig),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(["sh", "-ec", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert promotion.name not in records_of(world, project)
