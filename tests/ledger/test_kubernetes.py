"""What only the ledger in Kubernetes can do: rules in the API server, owners, permissions."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias

import pytest

from gha_step import kube
from gha_step.contract.errors import LedgerError, LedgerUnavailable
from gha_step.kube import Invalid, KubeApi
from gha_step.ledger.duties import Duty
from gha_step.ledger.kubernetes import (
    FINALIZER,
    GATES,
    MOST_LEASE,
    RECORDS,
    RUN_LABEL,
    STATE_LABEL,
    WORKFLOW_LABEL,
    KubernetesStore,
    Resource,
)
from gha_step.ledger.lease import Lease
from gha_step.ledger.record import FINAL, Record, Run, State
from gha_step.ledger.store import Conflict
from gha_step.ledger.transitions import ExactId, FoundByMarker, IllegalMove, Send, advance
from gha_step.steps.dispatch.journal import refuse_deleted
from tests.deploy.manifests import manifest
from tests.ledger.clusters import LEDGER_RULES, Granted, await_runs, granted
from tests.ledger.records import ABORT, CANDIDATE, DUTIES, REPORT, TARGET, events, owing, run
from tests.ledger.store_contract import fresh
from tests.support.clock import eventually
from tests.support.cluster import Cluster

pytestmark = pytest.mark.cluster

Object: TypeAlias = dict[str, Any]
Cheat: TypeAlias = Callable[[Object], Any]


@pytest.fixture
def place(cluster: Cluster) -> Granted:
    """Namespaces of its own for each test."""
    return granted(cluster, "demo", "other")


@pytest.fixture
def store(place: Granted) -> KubernetesStore:
    return place.store


def stands(place: Granted, made: Record) -> Object:
    """The object as the administrator sees it."""
    return place.cluster.admin.get(place.path(RECORDS, made.project, made.key))


def again(place: Granted, made: Record) -> Record:
    """The record as the ledger reads it now."""
    found = place.store.read(made.project, made.key)
    assert found is not None
    return found


def spoil(place: Granted, made: Record, change: Cheat) -> Object:
    """Somebody writes this into the object; gives what was sent."""
    change(body := stands(place, made))
    place.cluster.admin.replace(place.path(RECORDS, made.project, made.key), body)
    return body


def delete_kept(place: Granted, made: Record) -> None:
    """Somebody deletes it while another's finalizer keeps it."""
    spoil(place, made, put("metadata.finalizers", ["example.com/keep"]))
    place.cluster.kubectl("delete", "wfd", made.key, "--namespace", place.namespaces["demo"], "--wait=false")


# ---------------------------------------------------------------- rules of the API server


def whole(state: State, **changes: Any) -> Record:
    """A new record in a state, with all that a CustomResourceDefinition may ask of it."""
    return fresh(state=state, **changes)


RUNS: dict[str, Run] = {source: run(source) for source in ("response", "marker", "only-candidate", "host")}


def _starts() -> Iterator[Record]:
    """A record in each state, and in `accepted` one for each way to know the run."""
    for state in State:
        if state is not State.ACCEPTED:
            yield whole(state)
    for found in RUNS.values():
        yield whole(State.ACCEPTED, run=found)


STARTS: Final = tuple(_starts())


def named(made: Record) -> str:
    return f"{made.state}-{made.run.source}" if made.run else str(made.state)


def may_become(old: Record, new: Record) -> bool:
    """Rule 7, said a second time."""
    if old.state is State.REJECTED:
        return False
    if old.state is State.ACCEPTED:
        assert old.run is not None
        return new.run is not None and old.run.source != "response" and new.run.source == "response"
    if old.state in FINAL:
        return new.state is State.ACCEPTED
    if old.state is State.ACCEPTED_WITHOUT_ID:
        return new.state in {old.state, State.ACCEPTED, State.AMBIGUOUS, State.UNRESOLVED}
    return True


@pytest.mark.parametrize("old", STARTS, ids=named)
def test_the_api_server_itself_keeps_what_is_final(store: KubernetesStore, old: Record) -> None:
    for number, other in enumerate(STARTS):
        mine = fresh(f"step-{number}")
        key = {"key": mine.key, "key_parts": mine.key_parts}
        before = store.write(old.model_copy(update=key))
        new = other.model_copy(
            update=key | {"version": before.version, "listings": 9 if old.state != "accepted" else 0}
        )
        if new == before:
            continue
        if may_become(before, new):
            after = store.write(new)
            assert store.read("demo", mine.key) == after
        else:
            with pytest.raises(LedgerUnavailable, match="does not take this"):
                store.write(new)
            assert store.read("demo", mine.key) == before


@pytest.mark.parametrize("old", [made for made in STARTS if made.state is not State.RESERVED], ids=named)
def test_every_legal_move_is_taken(store: KubernetesStore, old: Record) -> None:
    for number, event in enumerate(events().values()):
        mine = fresh(f"step-{number}")
        start = old.model_copy(update={"key": mine.key, "key_parts": mine.key_parts})
        stored = store.write(start)
        with suppress(IllegalMove):
            moved = store.write(advance(stored, event))
            assert store.read("demo", mine.key) == moved


def put(path: str, value: Any) -> Cheat:
    """Set the field at ``path``; ``...``: take it out."""

    def change(found: Object) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            found = found[parent]
        if value is ...:
            del found[last]
        else:
            found[last] = value

    return change


CHEATS: dict[str, tuple[State, Cheat]] = {
    "another key": (State.RESERVED, put("step.key", "0" * 64)),
    "other parts of the key": (State.RESERVED, put("step.keyParts", ["demo", "uid-2", "dispatch"])),
    "another promotion": (State.RESERVED, put("step.promotion", "test.02")),
    "another owner": (State.RESERVED, put("step.promotionUid", "uid-2")),
    "no key": (State.RESERVED, put("step.key", ...)),
    "no step": (State.RESERVED, put("step", ...)),
    "nothing left": (
        State.ACCEPTED,
        lambda found: [found.pop(part) for part in ("step", "request", "progress", "run")],
    ),
    "another ref after sending": (State.SENDING, put("request.target.ref", "evil")),
    "another repository of what is known": (State.ACCEPTED, put("request.target.repo", "evil/app")),
    "no target": (State.UNKNOWN, put("request.target", ...)),
    "no request": (State.UNKNOWN, put("request", ...)),
    "other inputs after sending": (State.SENDING, put("request.inputsHash", "1" * 64)),
    "a marker after sending": (State.UNKNOWN, put("request.marker", "gs-" + "b" * 26)),
    "rejected made reserved": (State.REJECTED, put("progress.state", "reserved")),
    "another reason for a rejection": (State.REJECTED, put("progress.reason", "other")),
    "no reason for a rejection": (State.REJECTED, put("progress.reason", ...)),
    "a rejection without progress": (State.REJECTED, put("progress", ...)),
    "a rejection without a state": (State.REJECTED, put("progress.state", ...)),
    "a rejection with a run": (State.REJECTED, put("run", {"id": 1, "url": "u", "source": "response"})),
    "accepted made reserved": (State.ACCEPTED, put("progress.state", "reserved")),
    "another run of GitHub's own answer": (State.ACCEPTED, put("run.id", 99)),
    "another source of the same run": (State.ACCEPTED, put("run.source", "marker")),
    "no run": (State.ACCEPTED, put("run", ...)),
    "a run without its source": (State.ACCEPTED, put("run.source", ...)),
    "another nonce of what was accepted": (State.ACCEPTED, put("progress.nonce", "m")),
    "no nonce of what was accepted": (State.ACCEPTED, put("progress.nonce", ...)),
    "unresolved made reserved": (State.UNRESOLVED, put("progress.state", "reserved")),
    "unresolved made ambiguous": (State.UNRESOLVED, put("progress.state", "ambiguous")),
    "ambiguous made rejected": (State.AMBIGUOUS, put("progress.state", "rejected")),
    "fewer candidates": (State.AMBIGUOUS, put("progress.candidates", [])),
    "accepted without a run": (State.UNKNOWN, put("progress.state", "accepted")),
    "sending without a nonce": (State.SENDING, put("progress.nonce", ...)),
    "sending without an owner": (State.SENDING, put("progress.owner", ...)),
    "a state of one's own": (State.UNKNOWN, put("progress.state", "done")),
    "no schema": (State.UNKNOWN, put("schemaVersion", ...)),
    "another schema of a rejection": (State.REJECTED, put("schemaVersion", 2)),
    "another schema of what was accepted": (State.ACCEPTED, put("schemaVersion", 2)),
    "what GitHub accepted made reserved": (State.ACCEPTED_WITHOUT_ID, put("progress.state", "reserved")),
}


REPORT_CHEATS: dict[str, Cheat] = {
    "no report": put("report", ...),
    "no report and the schema before": lambda found: (found.pop("report"), found.update(schemaVersion=1)),
    "opened again": put("report.closed", False),
    "another run": put("report.id", "r_2"),
    "another kind": put("report.kind", "node"),
    "another way": put("report.via", "kafka"),
    "no longer wanted": put("report.wanted", False),
    "its ack open again": put("report.ack", "open"),
    "its link untold": put("report.linked", False),
    "a line unsaid": put("report.said", ["link"]),
    "not asked to cancel": put("report.cancel", "none"),
    "without a part": put("report.ack", ...),
}


ABORT_CHEATS: dict[str, Cheat] = {
    "no abort": put("abort", ...),
    "no abort and the schema before": lambda found: (found.pop("abort"), found.update(schemaVersion=1)),
    "opened again": put("abort.closed", False),
    "another mode": put("abort.mode", "force"),
    "another Secret": put("abort.secret", "other"),
    "no Secret": put("abort.secret", ...),
    "a URL as well": put("abort.url", "https://github.com/myorg/my-app"),
    "an unchecked certificate": put("abort.insecure", True),
    "another end": put("abort.end", "Failed"),
    "no end": put("abort.end", ...),
    "another time": put("abort.ended", 2.0),
    "another attempt": put("abort.attempt", 4),
    "no attempt": put("abort.attempt", ...),
    "asked at another time": put("abort.asked", 9.0),
    "not asked": put("abort.asked", ...),
    "an outcome of what is open": put("abort.outcome", "ended"),
    "a mode of one's own": put("abort.mode", "kill"),
    "without a part": put("abort.insecure", ...),
}


@pytest.mark.parametrize(
    ("duty", "case"), [*((REPORT, case) for case in REPORT_CHEATS), *((ABORT, case) for case in ABORT_CHEATS)]
)
@pytest.mark.parametrize("closed", [True, False])
def test_nobody_can_take_a_duty_back(place: Granted, duty: Duty, case: str, closed: bool) -> None:
    if case == ("an outcome of what is open" if closed else "opened again"):
        return
    said: dict[str, Any] = {"ack": "closed", "linked": True, "said": ("link", "end"), "cancel": "asked"}
    if duty is ABORT:
        outcome = "cancelled" if closed else None
        said = {"end": "Aborted", "ended": 1.0, "attempt": 3, "asked": 4.0, "outcome": outcome}
    made = place.store.write(owing(whole(State.ACCEPTED), duty, closed=closed, **said))
    refused(place, made, (REPORT_CHEATS if duty is REPORT else ABORT_CHEATS)[case])


def refused(place: Granted, made: Record, cheat: Cheat) -> None:
    """The API server does not take it, and the object stays as it was."""
    before = stands(place, made)
    with pytest.raises(Invalid):
        assert spoil(place, made, cheat) == before
    assert stands(place, made) == before


def test_a_finalizer_keeps_a_record_until_its_cancellation_is_closed(place: Granted) -> None:
    """A writer that follows no duty leaves what is there, the follower adds and removes it; others' finalizers stay."""
    follower = KubernetesStore(place.store._api, frozenset({"demo"}), holds=True)
    made = place.store.write(owing(fresh(), ABORT))
    assert (made.held, "finalizers" in stands(place, made)["metadata"]) == (False, False)
    spoil(place, made, put("metadata.finalizers", ["example.com/keep"]))
    found = follower.read("demo", made.key)
    assert found is not None
    assert follower.write(found).held
    assert set(stands(place, made)["metadata"]["finalizers"]) == {"example.com/keep", FINALIZER}
    found = again(place, made)
    sending = place.store.write(advance(found, events()[Send]))
    assert sending.held
    place.cluster.kubectl("delete", "wfd", made.key, "--namespace", place.namespaces["demo"], "--wait=false")
    going = follower.read("demo", made.key)
    assert going is not None
    assert (going.held, going.deletion is not None) == (True, True)
    assert [one.key for one in follower.owed()] == [made.key]
    assert going.abort is not None
    follower.write(going.owing(going.abort.model_copy(update={"closed": True, "outcome": "given-up"})))
    assert stands(place, made)["metadata"]["finalizers"] == ["example.com/keep"]
    spoil(place, made, put("metadata.finalizers", []))
    assert follower.read("demo", made.key) is None


def test_a_record_that_is_being_deleted_gets_no_finalizer(place: Granted) -> None:
    """The API server would refuse the whole write, and with it the evidence."""
    follower = KubernetesStore(place.store._api, frozenset({"demo"}), holds=True)
    made = place.store.write(owing(fresh(state=State.SENDING), ABORT))
    delete_kept(place, made)
    going = follower.read("demo", made.key)
    assert going is not None
    assert follower.write(advance(going, events()[ExactId])).held is False


@pytest.mark.parametrize("duty", DUTIES)
def test_a_duty_cannot_be_added_to_what_was_sent(place: Granted, duty: Duty) -> None:
    made = place.store.write(whole(State.ACCEPTED))
    with pytest.raises(LedgerUnavailable, match="does not take this"):
        place.store.write(owing(made, duty))


@pytest.mark.parametrize(("duty", "part"), [*zip(DUTIES, ("report", "abort"), strict=True)])
def test_a_duty_that_the_api_server_drops_is_no_success(place: Granted, duty: Duty, part: str) -> None:
    """As an older CustomResourceDefinition would, where field validation is switched off."""
    dropping = place.store._put

    def put_without(*arguments: Any) -> Any:
        return {key: value for key, value in dropping(*arguments).items() if key != part}

    place.store._put = put_without  # type: ignore[method-assign,assignment]  # an API server of another mind
    with pytest.raises(LedgerUnavailable, match=f"the {part} of .*kubectl apply -k deploy/crd"):
        place.store.write(owing(fresh(), duty))


@pytest.mark.parametrize("case", CHEATS)
def test_nobody_can_cheat_by_hand(place: Granted, case: str) -> None:
    state, cheat = CHEATS[case]
    refused(place, place.store.write(whole(state)), cheat)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--type=merge", '-p={"run":null,"progress":{"state":"reserved"}}'),
        ("--type=json", '-p=[{"op":"remove","path":"/progress"}]'),
        ("--type=json", '-p=[{"op":"remove","path":"/progress/state"}]'),
        ("--type=json", '-p=[{"op":"replace","path":"/request/target/ref","value":"evil"}]'),
    ],
    ids=["merge", "remove progress", "remove state", "replace ref"],
)
def test_kubectl_is_refused_as_well(place: Granted, arguments: tuple[str, ...]) -> None:
    made = place.store.write(whole(State.ACCEPTED))
    with pytest.raises(AssertionError, match="is invalid"):
        place.cluster.kubectl("patch", "wfd", made.key, "--namespace", place.namespaces["demo"], *arguments)
    assert place.store.read("demo", made.key) == made


def test_two_objects_cannot_be_of_one_key(place: Granted) -> None:
    made = place.store.write(fresh())
    twin = stands(place, made) | {"metadata": {"name": "twin"}}
    with pytest.raises(Invalid, match="the object's name is its step's key"):
        place.cluster.admin.create(place.path(RECORDS, "demo"), twin)


def test_what_the_definition_does_not_know_is_refused_and_not_dropped(place: Granted) -> None:
    made = place.store.write(fresh())
    body = stands(place, made)
    body["progress"]["news"] = "of a later version"
    with pytest.raises(LedgerUnavailable, match=r"unknown field.*progress\.news") as caught:
        place.store._put(RECORDS, "demo", made.key, body, made.version)
    assert "kubectl apply -k deploy/crd" in str(caught.value)


# ---------------------------------------------------------------- what an object looks like


@pytest.mark.parametrize("asked", ["wfd", "gha-step"], ids=["short name", "category"])
def test_kubectl_shows_whose_dispatch_it_is_and_where_it_stands(place: Granted, asked: str) -> None:
    made = place.store.write(whole(State.ACCEPTED, key_parts=("demo", "caller", "test.01abc", "deploy::call")))
    shown = place.cluster.kubectl("get", asked, "--namespace", place.namespaces["demo"]).splitlines()
    assert shown[0].split() == [
        "NAME",
        "STATE",
        "PROMOTION",
        "ALIAS",
        "RUN",
        "REPO",
        "WORKFLOW",
        "REF",
        "AGE",
        "REASON",
    ]
    assert shown[1].split()[:8] == [
        made.key, "accepted", "test.01abc", "deploy::call", "7", "myorg/my-app", "deploy.yml", "main",
    ]  # fmt: skip


def test_kubectl_shows_what_a_cancel_step_cancels(place: Granted) -> None:
    reason = "this step cancels attempt 1 of run 17000000001"
    place.store.write(fresh(state=State.REJECTED, reason=reason))
    (_, row) = place.cluster.kubectl("get", "wfd", "--namespace", place.namespaces["demo"]).splitlines()
    assert row.rstrip().endswith(reason)


def test_the_promotion_owns_its_record(place: Granted) -> None:
    made = place.store.write(fresh(promotion_uid="uid-1"))
    for _ in range(2):
        assert stands(place, made)["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "kargo.akuity.io/v1alpha1",
                "kind": "Promotion",
                "name": "test.01abc",
                "uid": "uid-1",
            }
        ]
        made = place.store.write(made.model_copy(update={"timeout": 9}))


@pytest.mark.parametrize("unknown", [{"promotion": ""}, {"promotion_uid": ""}])
def test_without_name_and_uid_of_the_promotion_nobody_owns_the_record(place: Granted, unknown: dict[str, str]) -> None:
    made = place.store.write(fresh("dispatch", State.RESERVED, **({"promotion_uid": "uid-1"} | unknown)))
    assert "ownerReferences" not in stands(place, made)["metadata"]


@pytest.mark.parametrize("promotion", ["x" * 64, "a b", "-x", "täst", ""])
def test_others_of_one_promotion_are_found_whatever_it_is_called(store: KubernetesStore, promotion: str) -> None:
    mine, same = (store.write(fresh(alias, promotion=promotion)) for alias in ("mine", "same"))
    store.write(fresh("other", promotion=promotion + "y"))
    assert store.others(mine, ()) == [same]


def test_the_dispatch_that_made_a_run_is_found_by_its_id_and_labels_alone_say_nothing(place: Granted) -> None:
    store = place.store
    made = store.write(whole(State.ACCEPTED, run=run(run_id=4711)))
    other = store.write(whole(State.ACCEPTED, run=run(run_id=4712), alias="other"))
    eventually(lambda: list(store.of_run(4711)) == [made])  # the API server's cache comes after the write
    path = place.path(RECORDS, other.project, other.key)
    place.cluster.admin.merge(path, {"metadata": {"labels": {RUN_LABEL: "4711"}}})
    await_runs(place.cluster, place.namespaces["demo"], 4711, records=2)
    assert [one.alias for one in store.of_run(4711)] == [made.alias]
    assert list(store.of_run(1)) == []
    stop = TARGET.model_copy(update={"workflow": "gha-cancel-workflow", "ref": "-"})
    reason = "this step cancels attempt 1 of run 4711"
    store.write(fresh("stop", State.REJECTED, target=stop, reason=reason))
    eventually(lambda: sorted(one.alias for one in store.of_run(4711)) == sorted([made.alias, "stop"]))


def test_records_of_0_1_0_which_bear_no_label_of_their_workflow_are_found_within_bounds(
    place: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, labelled = place.store.write(fresh("mine")), place.store.write(fresh("labelled"))
    older = [place.store.write(fresh(alias)) for alias in ("old", "older")]
    stranger = fresh("stranger", State.SENDING, target=TARGET.model_copy(update={"workflow": "x.yml"}))
    for made in (*older, place.store.write(stranger)):
        spoil(place, made, lambda body: body["metadata"]["labels"].pop(WORKFLOW_LABEL))
    assert {found.alias for found in place.store.others(mine, ())} == {"labelled", "old", "older"}
    monkeypatch.setattr("gha_step.ledger.kubernetes.MOST_OLDER", 0)
    assert [found.alias for found in place.store.others(mine, ())] == [labelled.alias]


@pytest.mark.parametrize("forgotten", [False, True])
def test_what_others_wrote_beside_it_survives_our_writes(place: Granted, forgotten: bool) -> None:
    made = place.store.write(fresh(promotion_uid="uid-1"))
    body = stands(place, made)
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}
    body["metadata"]["labels"]["team"] = "a"
    body["metadata"]["annotations"] = {"note": "looked at"}
    body["metadata"]["finalizers"] = ["example.com/keep"]
    body["metadata"]["ownerReferences"].append(theirs)
    place.cluster.admin.replace(place.path(RECORDS, "demo", made.key), body)
    with pytest.raises(Conflict):
        place.store.write(made.model_copy(update={"timeout": 8}))
    found = again(place, made)
    for timeout in (9, 10):
        if forgotten:
            place.store._others.clear()
        found = place.store.write(found.model_copy(update={"timeout": timeout}))
    after = stands(place, made)["metadata"]
    assert after["labels"] == body["metadata"]["labels"]
    assert after["annotations"] == {"note": "looked at"}
    assert after["finalizers"] == ["example.com/keep"]
    assert [owner["kind"] for owner in after["ownerReferences"]] == ["Promotion", "ConfigMap"]
    assert len(place.store._others) == 1  # one version of it


def test_a_large_record_is_taken(store: KubernetesStore) -> None:
    many = tuple(
        CANDIDATE.model_copy(update={"id": number, "url": "https://x/" + "y" * 200}) for number in range(1_000)
    )
    made = fresh(state=State.UNKNOWN, seen=many, baseline_ids=tuple(range(10**12, 10**12 + 3_000)), reason="r" * 5_000)
    assert store.read("demo", store.write(made).key) is not None


def test_a_gate_is_a_lease_that_its_holder_names(place: Granted) -> None:
    entered = place.store.write_lease(place.store.read_lease("demo", TARGET).entered("a" * 64))
    (lease,) = place.cluster.admin.items(place.path(GATES, "demo"))
    assert lease["spec"]["holderIdentity"] == "a" * 64
    assert json.loads(lease["metadata"]["annotations"]["gha-step.dev/target"]) == TARGET.model_dump()
    assert place.store.read_lease("demo", TARGET) == entered


@pytest.mark.parametrize(
    "change",
    [
        put("metadata.annotations", {}),
        put("metadata.annotations", {"gha-step.dev/target": "{"}),
        put("metadata.annotations", {"gha-step.dev/target": "{}"}),
        put("spec.holderIdentity", "../../other/workflowdispatches/x"),
        put("spec.holderIdentity", ...),
    ],
    ids=["no annotations", "no JSON", "another target", "a holder that is no key", "no holder"],
)
def test_a_lease_that_somebody_else_wrote_is_free_and_can_be_taken(place: Granted, change: Cheat) -> None:
    place.store.write_lease(Lease(project="demo", target=TARGET).entered("a"))
    (lease,) = place.cluster.admin.items(place.path(GATES, "demo"))
    change(lease)
    place.cluster.admin.replace(place.path(GATES, "demo", lease["metadata"]["name"]), lease)
    free = place.store.read_lease("demo", TARGET)
    assert free.holder is None
    assert place.store.write_lease(free.entered("b")) == place.store.read_lease("demo", TARGET)


def test_a_lease_into_which_somebody_writes_much_is_not_read_to_its_end(place: Granted) -> None:
    place.store.write_lease(Lease(project="demo", target=TARGET).entered("a"))
    (lease,) = place.cluster.admin.items(place.path(GATES, "demo"))
    lease["metadata"]["annotations"]["x"] = "x" * MOST_LEASE
    place.cluster.admin.replace(place.path(GATES, "demo", lease["metadata"]["name"]), lease)
    with pytest.raises(LedgerUnavailable, match=f"more than {MOST_LEASE} bytes"):
        place.store.read_lease("demo", TARGET)
    with pytest.raises(LedgerUnavailable, match="an object beside it was too long"):
        place.store.read_lease("demo", TARGET.model_copy(update={"workflow": "another.yml"}))
    assert place.store.read_lease("other", TARGET).holder is None


# ---------------------------------------------------------------- records that are not ours to use


def test_the_api_server_takes_no_record_of_a_schema_to_come(place: Granted) -> None:
    """What reads one under a newer definition is tried with stored records."""
    made = place.store.write(fresh())
    with pytest.raises(kube.Invalid):
        place.cluster.admin.replace(place.path(RECORDS, "demo", made.key), stands(place, made) | {"schemaVersion": 3})
    assert place.store.read("demo", made.key) == made


def test_a_record_that_was_copied_from_another_project_is_refused(place: Granted) -> None:
    made = place.store.write(fresh())
    copied = stands(place, made) | {"metadata": {"name": made.key}}
    place.cluster.admin.create(place.path(RECORDS, "other"), copied)
    with pytest.raises(LedgerError, match="that of another step"):
        place.store.read("other", made.key)


@pytest.mark.parametrize("project", ["", "a/b", "..", "demo/secrets", "DEMO", "x" * 64, "a b", "a%2fb"])
def test_what_is_no_namespace_is_never_asked_for(store: KubernetesStore, project: str) -> None:
    made = fresh(key_parts=(project, "uid-1", "dispatch"))
    for use in (
        lambda: store.read(project, made.key),
        lambda: store.write(made),
        lambda: store.others(made, ()),
        lambda: store.read_lease(project, TARGET),
        lambda: store.write_lease(Lease(project=project, target=TARGET)),
    ):
        with pytest.raises(LedgerError, match="not the name of a namespace"):
            use()


def test_a_record_that_is_being_deleted_lets_nothing_be_sent_and_keeps_what_was(place: Granted) -> None:
    waiting, sent = place.store.write(fresh("waiting")), place.store.write(fresh("sent", state=State.SENDING))
    for made in (waiting, sent):
        delete_kept(place, made)
    with pytest.raises(Conflict):  # the mark has made another version of it
        place.store.write(advance(waiting, events()[Send]))
    going = again(place, waiting)
    assert going.deletion is not None
    assert abs(going.deletion - time.time()) < 60
    with pytest.raises(LedgerUnavailable, match="is being deleted"):
        refuse_deleted(going)
    found = again(place, sent)
    assert place.store.write(advance(found, events()[ExactId])).state is State.ACCEPTED


def test_a_record_that_was_deleted_and_made_again_is_another_one(place: Granted) -> None:
    made = place.store.write(fresh())
    place.cluster.kubectl("delete", "wfd", made.key, "--namespace", place.namespaces["demo"])
    with pytest.raises(Conflict):
        place.store.write(made.model_copy(update={"timeout": 9}))
    again = place.store.write(fresh())
    assert again.version != made.version
    with pytest.raises(Conflict):
        place.store.write(made.model_copy(update={"timeout": 9}))
    assert place.store.read("demo", made.key) == again


# ---------------------------------------------------------------- what must be there, and allowed


USES: dict[tuple[Resource, str], Callable[[KubernetesStore, Record], object]] = {
    (RECORDS, "get"): lambda store, made: store.read("demo", made.key),
    (RECORDS, "list"): lambda store, made: store.others(made, ()),
    (RECORDS, "create"): lambda store, made: store.write(fresh("another")),
    (RECORDS, "update"): lambda store, made: store.write(made.model_copy(update={"timeout": 9})),
    (GATES, "get"): lambda store, made: store.read_lease("demo", TARGET),
    (GATES, "create"): lambda store, made: store.write_lease(Lease(project="demo", target=TARGET).entered("a")),
    (GATES, "update"): lambda store, made: store.write_lease(store.read_lease("demo", TARGET).entered("b")),
}


def test_there_is_a_use_for_every_right() -> None:
    assert set(USES) == {(resource, verb) for resource in (RECORDS, GATES) for verb in resource.verbs}


@pytest.mark.parametrize(("resource", "verb"), USES, ids=lambda value: getattr(value, "plural", value))
def test_a_right_that_is_missing_is_named(place: Granted, resource: Resource, verb: str) -> None:
    made = place.store.write(fresh())
    place.store.write_lease(Lease(project="demo", target=TARGET).entered("a"))
    home = place.cluster.namespace("poor")
    token = place.cluster.service_account(home)
    rules = [
        rule | {"verbs": [each for each in rule["verbs"] if (rule["resources"], each) != ([resource.plural], verb)]}
        for rule in LEDGER_RULES
    ]
    place.cluster.allow(place.namespaces["demo"], rules, account=f"{home}:default", name="poor")
    poor = KubernetesStore(place.elsewhere(place.cluster.api(token)), frozenset({"demo"}))
    for (other, each), use in USES.items():
        if (other, each) == (resource, verb):
            with pytest.raises(LedgerUnavailable) as caught:
                use(poor, made)
            for words in (f"system:serviceaccount:{home}:default may not {verb} {resource.plural}", resource.rule()):
                assert words in str(caught.value)


class Watched(KubeApi):
    """A real API server's answers, weighed."""

    def __init__(self, real: KubeApi) -> None:
        self._real = real
        self.heard: list[int] = []

    def _request(self, method: str, path: str, *rest: Any) -> dict[str, Any]:
        found = self._real._request(method, path, *rest)
        self.heard.append(len(json.dumps(found)))
        return found


def test_records_that_are_over_are_counted_without_reading_them(place: Granted) -> None:
    large = whole(State.UNRESOLVED, baseline_ids=tuple(range(5_000)))
    for number in range(3):
        mine = fresh(f"step-{number}")
        place.store.write(large.model_copy(update={"key": mine.key, "key_parts": mine.key_parts}))
    api = Watched(place.cluster.admin)
    store = KubernetesStore(api, frozenset({place.namespaces["demo"]}))
    assert store.census()[State.UNRESOLVED].records == 3
    assert max(api.heard) < 10_000


def test_records_without_the_label_of_their_state_are_counted_by_their_content(place: Granted) -> None:
    made = place.store.write(whole(State.ACCEPTED))
    spoil(place, made, lambda body: body["metadata"]["labels"].pop(STATE_LABEL))
    assert place.store.census()[State.ACCEPTED].records == 1
    assert place.store.others(fresh("mine", State.SENDING), [made.run.id if made.run else 0]) != []


@pytest.mark.parametrize("labelled", [State.SENDING, State.UNKNOWN, State.AMBIGUOUS])
def test_labels_that_an_older_replica_left_as_they_were_hide_no_run_and_are_put_right_by_the_next_count_or_write(
    place: Granted, labelled: State
) -> None:
    """It keeps labels that it does not know as it keeps those of others: here those of the state and the run."""
    made = place.store.write(whole(State.ACCEPTED, run=run(run_id=4711)))

    def left(body: Object) -> None:
        body["metadata"]["labels"][STATE_LABEL] = labelled
        del body["metadata"]["labels"][RUN_LABEL]

    spoil(place, made, left)
    mine = fresh("mine", State.SENDING)
    assert [other.run for other in place.store.others(mine, [4711])] == [made.run]
    counted = {state for state, standing in place.store.census().items() if standing.records}
    assert counted == {State.ACCEPTED if labelled not in FINAL else labelled}  # of those that are over by their label
    if labelled in FINAL:  # of which a count reads no more than that
        place.store.write(again(place, made))
    labels = stands(place, made)["metadata"]["labels"]
    assert (labels[STATE_LABEL], labels[RUN_LABEL]) == (State.ACCEPTED, "4711")
    eventually(lambda: list(place.store.of_run(4711)))  # the API server's cache comes after the write
    assert {state for state, standing in place.store.census().items() if standing.records} == {State.ACCEPTED}


def test_a_look_does_not_read_what_its_promotion_has_finished(place: Granted) -> None:
    def written(number: int) -> Record:
        state = State.ACCEPTED if number % 2 else State.REJECTED
        more: dict[str, Any] = {"run": run("response", 100 + number)} if number % 2 else {}
        return place.store.write(fresh(f"step-{number}", state, reason="x" * 1000, **more))

    made = [written(number) for number in range(40)]
    mine = place.store.write(fresh("mine", State.UNKNOWN))
    api = Watched(place.api)
    store = KubernetesStore(api, frozenset({"demo"}))
    assert {other.key for other in store.others(mine, [101, 139, *range(10_000, 10_400)])} == {
        made[1].key,
        made[39].key,
    }
    assert sum(api.heard) < 15_000, "of 42 records three are asked for"


def test_without_the_definition_the_message_says_how_to_install_it(cluster: Cluster) -> None:
    class Uninstalled(KubeApi):
        """A real API server's answers about a group that it does not know."""

        def __init__(self) -> None:
            pass

        def _request(self, method: str, path: str, *rest: Any) -> dict[str, Any]:
            return cluster.admin._request(method, path.replace("/gha-step.dev/", "/gha-step.example/"), *rest)

    store = KubernetesStore(Uninstalled(), frozenset({cluster.namespace()}))
    for use in (
        lambda: store.read("default", fresh().key),
        lambda: store.write(fresh(key_parts=("default", "uid", "alias"))),
        lambda: store.others(fresh(key_parts=("default", "uid", "alias")), ()),
        store.census,
    ):
        with pytest.raises(LedgerUnavailable, match=r"knows no workflowdispatches\.gha-step\.dev.*kubectl apply -k"):
            use()


def test_a_namespace_that_is_not_there_is_named(place: Granted) -> None:
    store = KubernetesStore(place.cluster.admin, None)
    with pytest.raises(LedgerUnavailable, match='namespaces "nowhere" not found'):
        store.write(fresh(key_parts=("nowhere", "uid-1", "dispatch")))


def test_an_api_server_that_is_away_is_unavailable_and_never_an_empty_ledger(cluster: Cluster) -> None:
    place = granted(cluster, "demo")
    made = place.store.write(fresh())
    with cluster.away(), place.impatient():
        for use in (
            lambda: place.store.read("demo", made.key),
            lambda: place.store.write(made.model_copy(update={"timeout": 9})),
            lambda: place.store.others(made, ()),
            lambda: place.store.read_lease("demo", TARGET),
        ):
            with pytest.raises(LedgerUnavailable, match="no answer within"):
                use()
    found = again(place, made)
    assert found.timeout in (made.timeout, 9)


def test_the_ledger_needs_no_more_than_its_rules(place: Granted) -> None:
    """Delete above all: rule 7 in the API server does not stop a record from being deleted and made anew."""
    api = place.cluster.api(place.token)

    def allowed(verb: str, group: str, resource: str) -> bool:
        asked = {"namespace": place.namespaces["demo"], "verb": verb, "group": group, "resource": resource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        answer = api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    for resource in (RECORDS, GATES):
        granted_verbs = tuple(verb for verb in verbs if allowed(verb, resource.group, resource.plural))
        assert set(granted_verbs) == set(resource.verbs)
    assert not any(allowed(verb, "", resource) for verb in verbs for resource in ("secrets", "configmaps"))


# ---------------------------------------------------------------- pruning

PRUNING_RULE: Final = {
    "apiGroups": [RECORDS.group],
    "resources": [RECORDS.plural],
    "verbs": ["list", "delete"],
}


@pytest.fixture
def pruner(place: Granted) -> KubernetesStore:
    """With the rights of the CronJob of deploy/port, and no others."""
    home = place.cluster.namespace("pruner")
    token = place.cluster.service_account(home)
    rules = manifest("port/prune/role.yaml")["rules"]
    assert rules == [PRUNING_RULE]
    place.cluster.allow(place.namespaces["demo"], rules, account=f"{home}:default", name="pruner")
    return KubernetesStore(place.elsewhere(place.cluster.api(token)), frozenset({"demo"}))


def test_only_records_that_owe_nothing_and_are_unneeded_are_deleted(place: Granted, pruner: KubernetesStore) -> None:
    kept = place.store.write(fresh("kept", state=State.REJECTED))
    place.store.write(owing(fresh("open", state=State.REJECTED)))
    over = place.store.write(owing(fresh("over", state=State.REJECTED), closed=True))
    assert pruner.prune(lambda record: record.report is not None) == (1, [])
    assert place.store.read("demo", over.key) is None
    assert place.store.read("demo", kept.key) == kept
    assert [record.alias for record in place.store.owed()] == ["open"]
    assert pruner.prune(lambda record: record.report is not None) == (0, [])


def test_a_record_that_changes_between_the_listing_and_its_deletion_stays(
    place: Granted, pruner: KubernetesStore
) -> None:
    made = place.store.write(owing(fresh("over", state=State.UNRESOLVED), closed=True))

    def changed(record: Record) -> bool:
        place.store.write(advance(record, FoundByMarker(run=run("marker"))))
        return True

    assert pruner.prune(changed) == (0, [])
    found = again(place, made)
    assert found.state is State.ACCEPTED


def test_a_server_may_not_delete_and_is_told_the_right_that_is_missing(place: Granted) -> None:
    place.store.write(owing(fresh("over", state=State.REJECTED), closed=True))
    with pytest.raises(LedgerUnavailable, match=r"may not delete workflowdispatches.*verbs: \[list, delete\]"):
        place.store.prune(lambda record: True)
