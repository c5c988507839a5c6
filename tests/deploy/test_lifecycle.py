"""Upgrading, going back and uninstalling with promotions in flight, on a real API server: never a second dispatch.

Each on a cluster of its own: they delete what other tests need. The older version is this one under the definition that
0.1.0 has left; that its records are read is shown in `tests.ledger.stored`.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gha_step.kube import NotFound
from tests.deploy.clusters import grant, kubectl_path, project_objects
from tests.deploy.manifests import DEPLOY, Manifest, rendered
from tests.deploy.test_permissions import SIDES, Ask, End, World, follow, steps, world
from tests.ledger.clusters import define
from tests.ledger.stored import FOLDER, VERSIONS
from tests.support.cluster import Cluster, running_or_skipped
from tests.support.host import Promotion, Step

pytestmark = pytest.mark.cluster

LAG = 4.0  # seconds, in which the run of a dispatch is not listed
__all__ = ["world"]  # a fixture


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One for this module alone."""
    with running_or_skipped() as started:
        yield started


def installed(folder: Path, side: str, project: str) -> list[Manifest]:
    """A user's whole installation of one host: the example with the project's namespace."""
    text = json.dumps(rendered(DEPLOY / "examples" / side, kubectl_path()))
    found: list[Manifest] = json.loads(text.replace(chr(34) + "my-project" + chr(34), json.dumps(project)))
    return found


def begun(world: World, ask: Ask, project: str) -> tuple[Promotion, Step]:
    """A promotion in flight: its dispatch was sent, and its run is not yet known."""
    before = len(world.github.runs)
    promotion = world.promotion(project)
    dispatch, _ = steps(promotion)
    end, final = ask(promotion, dispatch)
    assert not final, end
    deadline = time.monotonic() + 300
    while len(world.github.runs) == before:
        assert time.monotonic() < deadline, end
        time.sleep(0.1)
        ask(promotion, dispatch)
    return promotion, dispatch


@pytest.fixture
def slow_listings(world: World) -> Iterator[None]:
    world.github.listing_lag = LAG
    yield
    world.github.listing_lag = 0.0


def succeeded(world: World, before: int, *ends: End) -> None:
    """Every end is a success, with a run of its own, and nothing else was dispatched."""
    assert [end.status for end in ends] == ["Succeeded"] * len(ends), ends
    assert sorted(end.run_id for end in ends) == sorted(str(run.id) for run in world.github.runs[before:])


@pytest.mark.usefixtures("slow_listings")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("side", SIDES)
def test_a_promotion_in_flight_outlives_an_upgrade_and_the_way_back(
    world: World, tmp_path: Path, side: str, version: str
) -> None:
    old = str(FOLDER / version / "definition.yaml")
    project = world.project()
    objects = project_objects(tmp_path, side, project)
    before = len(world.github.runs)
    define(world.cluster, "-f", old)
    with SIDES[side](world, project, objects) as older:
        first = begun(world, older, project)
        define(world.cluster, "-k", str(DEPLOY / "crd"))
        with SIDES[side](world, project, objects) as newer:  # a rollout: both run, and then the older one is ended
            older.server.stop()
            ended = follow(newer, *first)
            second = begun(world, newer, project)
            define(world.cluster, "-f", old)
            newer.server.stop()
    with SIDES[side](world, project, objects) as older:
        succeeded(world, before, ended, follow(older, *second))
        assert follow(older, *first) == ended, "what was answered is answered again"
    define(world.cluster, "-k", str(DEPLOY / "crd"))


@pytest.mark.usefixtures("slow_listings")
@pytest.mark.parametrize(("kept", "removed"), [("step-plugin", "service"), ("service", "step-plugin")])
def test_uninstalling_one_host_leaves_the_others_promotions_alone(
    world: World, tmp_path: Path, kept: str, removed: str
) -> None:
    project = world.project()
    before = len(world.github.runs)
    whole = installed(tmp_path, removed, project)
    grant(world.cluster, *whole)
    with SIDES[kept](world, project, project_objects(tmp_path, kept, project)) as ask:
        ended = begun(world, ask, project)
        end = follow(ask, *ended)
        flying = begun(world, ask, project)
        delete(world.cluster, whole)
        last = follow(ask, *flying)
        promotion, dispatch = ended
        promotion.lose_pod()  # all steps again, from the first
        assert follow(ask, promotion, dispatch) == end
        succeeded(world, before, end, last)


def delete(cluster: Cluster, objects: list[Manifest]) -> None:
    """As `kubectl delete -k` of a user's folder, but for what both hosts share here: the service's namespace."""
    doomed = [found for found in objects if found["kind"] != "Namespace"]
    cluster.kubectl("delete", "--wait=false", "-f", "-", stdin="\n---\n".join(json.dumps(found) for found in doomed))
    for found in doomed:
        with pytest.raises(NotFound):
            cluster.admin.get(path_of(found))


def path_of(found: Manifest) -> str:
    """Of an object in the API server."""
    group, _, version = found["apiVersion"].rpartition("/")
    metadata: dict[str, Any] = found["metadata"]
    plural = "networkpolicies" if found["kind"] == "NetworkPolicy" else f"{found['kind'].lower()}s"
    where = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"/{f'apis/{group}' if group else 'api'}/{version}{where}/{plural}/{metadata['name']}"
