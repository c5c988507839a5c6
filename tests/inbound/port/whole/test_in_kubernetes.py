"""Two processes on one ledger in Kubernetes: both claim, one of them reports, and the other goes on when it is gone."""

from collections.abc import Callable

import pytest

from gha_step.emulator import GitHub
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Port
from gha_step.ledger.leader import LeaseLeader
from gha_step.ledger.record import State
from gha_step.runtime import SystemClock
from tests.ledger.clusters import Granted, await_definition, granted
from tests.support.clock import eventually
from tests.support.cluster import Cluster
from tests.support.port import PROJECT, TIMES, PortProcess

from .conftest import Begin

pytestmark = pytest.mark.cluster
INPUTS = {"environment": "prod", "image_tag": "1.10"}


@pytest.fixture
def place(cluster: Cluster) -> Granted:
    return granted(cluster, PROJECT)


class Patient(SystemClock):
    """A Lease is renewed as often as by the other clock, and stands as long as it really does on a busy machine."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / TIMES)


@pytest.fixture
def replica(begin: Begin, place: Granted) -> Callable[[str], PortProcess]:
    def start(name: str) -> PortProcess:
        return begin(store=place.store, leader=LeaseLeader(place.api, PROJECT, name, Patient()))

    return start


def test_one_of_two_follows_and_the_other_goes_on_when_it_stops(
    replica: Callable[[str], PortProcess], port: Port, github: GitHub
) -> None:
    first = replica("a")
    eventually(lambda: first.parts.duties.leads)
    second = replica("b")
    pressed = [port.press("deploy", INPUTS) for _ in range(4)]
    eventually(lambda: all(run.link for run in pressed))
    assert not second.parts.duties.leads
    first.stop()
    for run in list(github.runs):
        run.finish("success")
    eventually(lambda: second.parts.duties.leads)
    eventually(lambda: all(run.status == "SUCCESS" for run in pressed))
    assert len(github.runs) == 4
    assert [run.patches_by(EXAMPLE_CLIENT_ID) for run in pressed] == [2] * 4
    eventually(lambda: not any(record.owes for record in second.store.owed()))


def test_a_definition_that_knows_no_reports_dispatches_nothing(
    replica: Callable[[str], PortProcess], place: Granted, port: Port, github: GitHub
) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workflowdispatches.gha-step.dev"
    admin = place.cluster.admin
    whole = admin.get(path)
    old = admin.get(path)
    schema = old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["report"]
    schema["x-kubernetes-validations"] = [
        one for one in schema["x-kubernetes-validations"] if "report" not in one["rule"]
    ]
    old["spec"]["versions"][0]["additionalPrinterColumns"] = [
        one for one in old["spec"]["versions"][0]["additionalPrinterColumns"] if "report" not in one["jsonPath"]
    ]
    try:
        admin.replace(path, old)
        await_definition(place.cluster)
        process = replica("a")
        port.press("deploy", INPUTS)
        eventually(lambda: process.parts.refused)
        assert github.count("dispatch") == 0
    finally:
        whole["metadata"]["resourceVersion"] = admin.get(path)["metadata"]["resourceVersion"]
        admin.replace(path, whole)
        await_definition(place.cluster)
    eventually(lambda: len(github.runs) == 1)
    eventually(lambda: [record.state for record in process.records()] == [State.ACCEPTED])
    assert not process.parts.refused
