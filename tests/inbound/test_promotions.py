"""The UID of a Promotion by its name: from a stand-in that says what it is told, and from a real API server."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import Unavailable
from gha_step.credentials.kubernetes import KubernetesSecrets
from gha_step.emulator import EXAMPLE_TOKEN, GitHub, Hold
from gha_step.inbound.promotions import API, NoPromotion, Promotions
from tests.inbound.wire import PROJECT_TOKEN, put, put_to_the_end
from tests.support.api_server import ApiServer, Scripted, answer, as_secret, dripping, patience, reset, silent, status
from tests.support.calls import config
from tests.support.clock import LONG, VirtualClock, eventually
from tests.support.cluster import Cluster, api_at
from tests.support.core import Start
from tests.support.denials import told_at_last
from tests.support.ledger import FaultyStore
from tests.support.server import serving

NAME = "test.01abc.def5678"
PATH = f"{API}/namespaces/demo/promotions/{NAME}"
UID = "9a1d0e0f-0000-4000-8000-000000000001"
PROMOTION = {"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "Promotion", "metadata": {"name": NAME, "uid": UID}}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "promotions.kargo.akuity.io"},
    "spec": {
        "group": "kargo.akuity.io",
        "names": {"kind": "Promotion", "listKind": "PromotionList", "plural": "promotions", "singular": "promotion"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def promotions(server: ApiServer, tmp_path: Path, clock: VirtualClock) -> Promotions:
    return Promotions(api_at(server.url, tmp_path, clock=clock))


def test_a_uid_is_asked_for_anew(server: ApiServer, promotions: Promotions) -> None:
    server.objects[PATH] = PROMOTION
    assert promotions.uid("demo", NAME) == UID
    assert "PartialObjectMetadata;" in server.requests[0].headers["Accept"], "its spec and status may be large"
    server.objects[PATH] = {"metadata": {"name": NAME, "uid": "another"}}
    assert promotions.uid("demo", NAME) == "another"


def test_the_same_name_in_another_project_is_another_promotion(server: ApiServer, promotions: Promotions) -> None:
    server.objects[PATH] = PROMOTION
    promotions.uid("demo", NAME)
    with pytest.raises(NoPromotion):
        promotions.uid("other", NAME)


def test_a_promotion_that_is_not_there_is_looked_for_again(server: ApiServer, promotions: Promotions) -> None:
    with pytest.raises(NoPromotion, match=f"the project demo has no Promotion {NAME}"):
        promotions.uid("demo", NAME)
    server.objects[PATH] = PROMOTION
    assert promotions.uid("demo", NAME) == UID


def test_a_promotion_that_may_not_be_read_names_the_missing_rule(
    server: ApiServer, promotions: Promotions, clock: VirtualClock
) -> None:
    server.forbidden = lambda user, path: True
    said = str(told_at_last(lambda: promotions.uid("demo", NAME), clock, NoPromotion))
    assert "give system:anonymous a Role in the namespace demo" in said
    assert "{apiGroups: [kargo.akuity.io], resources: [promotions], verbs: [get]}" in said


def test_a_cluster_without_kargo_says_so(server: ApiServer, promotions: Promotions, clock: VirtualClock) -> None:
    server.scripted.extend([answer(404, b"404 page not found\n")] * 3)
    assert "is Kargo installed" in str(told_at_last(lambda: promotions.uid("demo", NAME), clock, NoPromotion))


@pytest.mark.parametrize(
    "trouble",
    [
        answer(503, status(503, "ServiceUnavailable", "later")),
        answer(401, status(401, "Unauthorized", "Unauthorized")),
        answer(200, {"metadata": {}}),
        answer(200, {"metadata": {"uid": ""}}),
        answer(200, {"metadata": {"uid": 5}}),
        answer(200, {"metadata": "x"}),
        reset,
        dripping(0.1),
    ],
    ids=lambda scripted: scripted.__name__,
)
def test_trouble_is_unavailable_and_nothing_is_remembered(server: ApiServer, trouble: Scripted, tmp_path: Path) -> None:
    # The machine's own clock: the answer that drips goes on until the time-out of the whole request.
    promotions = Promotions(api_at(server.url, tmp_path, timeout=patience(trouble)))
    server.objects[PATH] = PROMOTION
    server.scripted.append(trouble)
    with pytest.raises(Unavailable) as caught:
        promotions.uid("demo", NAME)
    assert NAME in str(caught.value)
    server.ending.set()
    server.ending.clear()
    eventually(lambda: uid(promotions) == UID)


def uid(promotions: Promotions) -> str | None:
    """If it can be had: on a busy machine it may take longer than those wait who know an answer that never ends."""
    try:
        return promotions.uid("demo", NAME)
    except Unavailable:
        return None


# ---------------------------------------------------------------- through the REST resource


@pytest.fixture
def live(server: ApiServer, promotions: Promotions, tmp_path: Path, process: Start, github_url: str) -> Iterator[str]:
    """A service whose Secrets and Promotions are those of the stand-in."""
    for name, data in (
        ("github", {"accessToken": EXAMPLE_TOKEN.encode(), "baseURL": github_url.encode()}),
        ("gha-step", {"token": PROJECT_TOKEN.encode()}),
    ):
        server.objects[f"/api/v1/namespaces/demo/secrets/{name}"] = as_secret(name, data)
    reader = KubernetesSecrets(api_at(server.url, tmp_path))
    with serving(process(secrets=reader), served=False, projects=True, promotions=promotions) as url:
        yield url


def asked(server: ApiServer) -> list[str]:
    return [request.path for request in server.requests if "promotions" in request.path]


def test_a_dispatch_is_recorded_with_the_promotions_uid(
    live: str, server: ApiServer, store: FaultyStore, github: GitHub
) -> None:
    server.objects[PATH] = PROMOTION
    held = Hold()
    github.faults.add(held, "dispatch")
    assert put(live, config(), promotion=NAME).json["status"] == "Running"
    held.release()
    answered = put_to_the_end(live, config(), promotion=NAME)
    assert answered["runID"] == str(github.runs[0].id)
    (record,) = store.records()
    assert (record.promotion, record.promotion_uid) == (NAME, UID)
    assert record.key_parts == ("demo", "caller", NAME, "dispatch::call")
    assert set(asked(server)) == {PATH}


def test_another_promotion_of_the_same_name_does_not_get_its_run(live: str, server: ApiServer, github: GitHub) -> None:
    server.objects[PATH] = PROMOTION
    assert put_to_the_end(live, config(), promotion=NAME)["status"] == "Succeeded"
    server.objects[PATH] = {"metadata": {"name": NAME, "uid": "another"}}
    answered = put(live, config(), promotion=NAME).json
    assert answered["status"] == "Failed"
    assert "runID" not in answered
    assert len(github.runs) == 1


def test_a_promotion_replaced_while_its_step_is_under_way_does_not_get_its_run(
    live: str, server: ApiServer, github: GitHub
) -> None:
    """`kubectl replace --force` takes a second; another replica may have given the first one's last answer."""
    server.objects[PATH] = PROMOTION
    held = Hold()
    github.faults.add(held, "dispatch")
    assert put(live, config(), promotion=NAME).json["status"] == "Running"
    server.objects[PATH] = {"metadata": {"name": NAME, "uid": "another"}}
    held.release()
    answered = put_to_the_end(live, config(), promotion=NAME)
    assert answered["status"] == "Failed"
    assert "another Promotion" in answered["message"]
    assert "runID" not in answered


def test_a_uid_that_came_too_late_serves_the_next_call_once(live: str, server: ApiServer, github: GitHub) -> None:
    free = threading.Event()

    def slow(handler: Any) -> None:
        free.wait(LONG)
        answer(200, PROMOTION)(handler)

    assert put(live, {}, promotion="another").status == 200  # so that the token is known
    server.scripted.append(slow)
    reply = put(live, config(), promotion=NAME)
    assert (reply.status, "takes too long" in reply.message) == (503, True)
    free.set()
    answered: list[Any] = []

    def is_there() -> bool:  # the answer that came too late; the API server itself has no such Promotion
        answered.append(put(live, config(), promotion=NAME).json.get("runID"))
        return answered[-1] is not None

    eventually(is_there)
    assert answered[-1] == str(github.runs[0].id)
    assert "has no Promotion" in put(live, config(), promotion=NAME).json["message"]


def test_without_its_promotion_a_dispatch_fails_and_nothing_is_sent(
    live: str, store: FaultyStore, github: GitHub
) -> None:
    reply = put(live, config(), promotion=NAME)
    assert (reply.status, reply.json["status"]) == (200, "Failed")
    assert f"nothing was dispatched or cancelled: the project demo has no Promotion {NAME}" in reply.json["message"]
    assert github.count() == 0
    assert list(store.records()) == []


def test_where_promotions_may_not_be_read_a_dispatch_fails_with_the_rule_once_that_lasts(
    live: str, server: ApiServer, github: GitHub, clock: VirtualClock
) -> None:
    server.forbidden = lambda user, path: "promotions" in path
    for _ in range(2):
        reply = put(live, config(), promotion=NAME)
        assert reply.status == 503
        assert "resources: [promotions], verbs: [get]" in reply.message
        clock.forward(8.0)
    reply = put(live, config(), promotion=NAME)
    assert (reply.status, reply.json["status"]) == (200, "Failed")
    assert "resources: [promotions], verbs: [get]" in reply.json["message"]
    assert github.count() == 0


@pytest.mark.parametrize("trouble", [answer(500), reset, silent], ids=lambda scripted: scripted.__name__)
def test_where_the_api_server_is_away_a_dispatch_is_503_and_the_next_call_goes_on(
    live: str, server: ApiServer, github: GitHub, trouble: Scripted
) -> None:
    server.objects[PATH] = PROMOTION
    assert put(live, {}, promotion="another").status == 200  # so that the token is known
    server.scripted.append(trouble)
    reply = put(live, config(), promotion=NAME)
    assert (reply.status, reply.closed) == (503, False)
    assert "call again" in reply.message
    assert github.count() == 0
    assert put_to_the_end(live, config(), promotion=NAME)["runID"] == str(github.runs[0].id)


def test_a_wait_asks_for_no_promotion(live: str, server: ApiServer) -> None:
    wait = {"credentials": {"secretName": "github"}, "owner": "myorg", "repo": "my-app", "runID": 1}
    assert put(live, wait, promotion=NAME, resource="waits").status == 200
    assert asked(server) == []


def test_without_a_proof_no_promotion_is_asked_for(live: str, server: ApiServer) -> None:
    server.objects[PATH] = PROMOTION
    assert put(live, config(), promotion=NAME, token="wrong").status == 401
    assert asked(server) == []


# ---------------------------------------------------------------- a real API server


@pytest.fixture
def kargo(cluster: Cluster) -> Cluster:
    """With Promotions, as far as we read them."""
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(CRD))
    cluster.told("promotions.kargo.akuity.io")
    return cluster


def allowed(cluster: Cluster, namespace: str, account: str, **rules: Any) -> None:
    for resource, rule in rules.items():
        cluster.allow(namespace, [{"resources": [resource], "verbs": ["get"]} | rule], account=account, name=resource)


@pytest.mark.cluster
def test_on_a_real_api_server_a_dispatch_needs_its_promotion_and_the_right_to_read_it(
    kargo: Cluster, process: Start, store: FaultyStore, github_url: str, github: GitHub
) -> None:
    demo, other = kargo.namespace("demo"), kargo.namespace("other")
    account, api = f"{demo}:default", kargo.api(kargo.service_account(demo))
    for namespace in (demo, other):
        for secret, data in (
            ("github", [f"--from-literal=accessToken={EXAMPLE_TOKEN}", f"--from-literal=baseURL={github_url}"]),
            ("gha-step", [f"--from-literal=token=of-{namespace}"]),
        ):
            kargo.kubectl("create", "secret", "generic", secret, *data, "--namespace", namespace)
        allowed(kargo, namespace, account, secrets={"apiGroups": [""], "resourceNames": ["github", "gha-step"]})
    with serving(
        process(secrets=KubernetesSecrets(api)), served=False, projects=True, promotions=Promotions(api)
    ) as url:

        def call(project: str, token: str) -> Any:
            """The first answer that is none of an API server that takes long."""
            while (reply := put(url, config(), project=project, token=token, promotion=NAME)).status == 503:
                pass
            return reply

        assert "resources: [promotions]" in call(demo, f"of-{demo}").json["message"]
        allowed(kargo, demo, account, promotions={"apiGroups": ["kargo.akuity.io"]})
        assert "has no Promotion" in call(demo, f"of-{demo}").json["message"]
        promotion = {"apiVersion": "kargo.akuity.io/v1alpha1", "kind": "Promotion", "metadata": {"name": NAME}}
        created = kargo.admin.create(f"{API}/namespaces/{demo}/promotions", promotion)
        assert github.count() == 0
        ended = put_to_the_end(url, config(), project=demo, token=f"of-{demo}", promotion=NAME)
        assert ended["runID"] == str(github.runs[0].id)
        assert [record.promotion_uid for record in store.records()] == [created["metadata"]["uid"]]
        for project, token in ((other, f"of-{demo}"), (demo, f"of-{other}"), ("nowhere", f"of-{demo}")):
            assert call(project, token).status == 401
        kargo.kubectl(
            "patch", "secret", "gha-step", "--namespace", demo, "-p", json.dumps({"stringData": {"token": "new"}})
        )
        assert call(demo, "new").json["status"] == "Succeeded"
        assert call(demo, f"of-{demo}").status == 401
        with kargo.away():
            assert put(url, config(), project=demo, token="unknown-while-away", promotion=NAME).status == 503
    assert len(github.runs) == 1
