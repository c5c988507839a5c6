"""The blocks of the docs that are marked `run-in-test-cluster`, as they stand, page by page, on a real API server.

The cluster has no controllers: what they would do between two commands is done here.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gha_step.contract.request import Caller
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.runs import RunReference
from gha_step.ledger.keys import step_key
from gha_step.ledger.kubernetes import KubernetesStore
from gha_step.ledger.record import State
from gha_step.steps.cancel.record import new_record
from tests.deploy.clusters import apply, stand_in_for_hosts
from tests.ledger.clusters import NAME, install
from tests.ledger.records import record
from tests.support.clock import eventually
from tests.support.cluster import Cluster, running_or_skipped

from .test_blocks import ALL, ROOT, Block

pytestmark = pytest.mark.cluster

# One cluster for all: the pages with records before those after which nobody but gha_step may write any.
PAGES: Final = ("docs/ledger.md", "docs/scaling.md", "docs/port.md", "docs/install.md")
PROJECT: Final = "my-project"  # as the docs call it
PROMISED: Final = {
    "docs/install.md": (
        "customresourcedefinition.apiextensions.k8s.io/workflowdispatches.gha-step.dev serverside-applied",
        "yes",
        "validatingadmissionpolicy.admissionregistration.k8s.io/gha-step-writers serverside-applied",
        "configmap/gha-step-step-plugin serverside-applied",
        "deployment.apps/gha-step serverside-applied",
        "secret/gha-step labeled",
        'configmap "gha-step-step-plugin" deleted',
        'customresourcedefinition.apiextensions.k8s.io "workflowdispatches.gha-step.dev" deleted',
    ),
    "docs/ledger.md": ("NAME", "accepted", "gha-cancel-workflow", "https://github.com/myorg/my-app/actions/runs/7"),
    "docs/port.md": ("deployment.apps/gha-step-port serverside-applied",),
    "docs/scaling.md": ("NAMESPACE", "accepted"),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One for this module alone: its last block deletes the ledger's definition."""
    with running_or_skipped() as started:
        stand_in_for_hosts(started)
        apply(started, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROJECT}})
        started.service_account(PROJECT)  # as a controller makes it in every namespace
        yield started


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_as_they_stand(cluster: Cluster, tmp_path: Path, page: str) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    if page in ("docs/ledger.md", "docs/scaling.md"):
        install(cluster)
        dispatched(cluster, page)
    elif page == "docs/install.md":  # it begins with nothing
        for base in ("crd", "admission"):
            cluster.kubectl("delete", "--ignore-not-found", "-k", str(ROOT / "deploy" / base))
        cluster.told(NAME, gone=True)
    said = "".join(
        ran(cluster, tmp_path, block) for block in ALL if block.page == page and block.mark == "run-in-test-cluster"
    )
    for words in PROMISED[page]:
        assert words in said, f"{words!r} is not in what it said: {said}"


def ran(cluster: Cluster, folder: Path, block: Block) -> str:
    """What it prints."""
    environment = {
        "PATH": f"{os.environ['KUBEBUILDER_ASSETS']}:{os.environ['PATH']}",
        "HOME": str(folder),
        "KUBECONFIG": str(cluster.admin_kubeconfig),
    }
    *before, last = block.text.strip().splitlines()
    asks = "kubectl auth can-i " in last
    script = "\n".join(before) if asks else block.text
    done = bash(script, folder, environment)
    assert done.returncode == 0, f"{block.page}: {block.text}{done.stdout}"
    aggregate(cluster)
    if "deploy/crd" in block.text and "delete" not in block.text:
        cluster.told(NAME)
    said = done.stdout
    if asks:  # the authorizer learns of a binding a moment later
        eventually(lambda: bash(last, folder, environment).returncode == 0)
        said += bash(last, folder, environment).stdout
    return said


def bash(script: str, folder: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def aggregate(cluster: Cluster) -> None:
    """As the controller of ClusterRoles does it: `view` has the rules of those that are labelled for it."""
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    found = cluster.admin.get(roles)["items"]
    labelled = [
        role
        for role in found
        if role["metadata"].get("labels", {}).get("rbac.authorization.k8s.io/aggregate-to-view") == "true"
    ]
    (view,) = [role for role in found if role["metadata"]["name"] == "view"]
    view["rules"] = [rule for role in labelled for rule in role["rules"]]
    cluster.admin.replace(f"{roles}/view", view)


def dispatched(cluster: Cluster, alias: str) -> None:
    """A record in the project of the docs, and that of a step which has cancelled its run."""
    parts = (PROJECT, "uid-1", alias)
    accepted = record(State.ACCEPTED, key=step_key(*parts), key_parts=parts, version=0)
    store = KubernetesStore(cluster.admin, None)
    store.write(accepted)
    run = RunReference(resolve_endpoint(None, allow_http=False), "myorg", "my-app", 7)
    store.write(new_record(Caller((PROJECT, "uid-1", f"cancel-{alias}")), run, 1, accepted.created_at))


def test_every_page_with_such_blocks_is_run() -> None:
    assert {block.page for block in ALL if block.mark == "run-in-test-cluster"} == set(PAGES) == set(PROMISED)
