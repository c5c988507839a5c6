"""What one namespace holds keeps nobody from reading what others do."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from gha_step.kube import KubeApi, TooLong
from gha_step.ledger.keys import step_key
from gha_step.ledger.kubernetes import MOST_OF_NAMESPACE, KubernetesStore, _encode
from gha_step.ledger.record import Record, State
from gha_step.ledger.store import TooMany
from tests.ledger.records import owing
from tests.ledger.store_contract import fresh

FAT = MOST_OF_NAMESPACE // 4 + 1  # of three such a namespace's are read


class Api(KubeApi):
    """An API server's lists of these records, as it orders them. ``long``: namespaces that it cannot be asked about."""

    def __init__(self, *records: Record, fat: int = FAT, long: str = "") -> None:
        self._fat = fat
        self._long = long
        self._objects = sorted((_stored(record, number) for number, record in enumerate(records)), key=_where)
        self.asked = 0

    def pages(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[tuple[list[dict[str, Any]], int]]:
        _, _, one = path.partition("/namespaces/")
        if one.startswith(self._long + "/"):
            raise TooLong("no")
        left_out = (query or {}).get("fieldSelector", "").split(",")
        over = "state in" in (query or {}).get("labelSelector", "")
        for found in self._objects:
            namespace = found["metadata"]["namespace"]
            if (not one or one.startswith(f"{namespace}/")) and f"metadata.namespace!={namespace}" not in left_out:
                self.asked += 1
                padded = found | {"padding": "x" * (self._fat if namespace == "fat" else 0)}
                if not over:
                    yield [padded], len(padded["padding"])


def _stored(record: Record, number: int) -> dict[str, Any]:
    found = _encode(record)
    found["metadata"] |= {
        "namespace": record.project,
        "uid": str(number),
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return found


def _where(found: dict[str, Any]) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _of(project: str, alias: str, state: State = State.SENDING) -> Record:
    parts = (project, f"uid-{project}", alias)
    return fresh(alias, state, key_parts=parts, key=step_key(*parts), promotion=f"test.{project}")


MANY = [_of("fat", str(number)) for number in range(6)]
OTHERS = [_of("earlier", "a"), _of("later", "b"), _of("later", "c")]


@pytest.mark.parametrize("projects", [None, frozenset({"earlier", "fat", "later"})])
def test_a_count_goes_on_beside_a_namespace_with_too_much_and_counts_nothing_twice(
    projects: frozenset[str] | None,
) -> None:
    store = KubernetesStore(Api(*MANY, *OTHERS), projects)
    assert store.census()[State.SENDING].records == len(OTHERS) + 3


def test_a_count_goes_on_beside_a_namespace_whose_records_cannot_be_read_now() -> None:
    store = KubernetesStore(Api(*OTHERS, long="later"), frozenset({"earlier", "later"}))
    assert store.census()[State.SENDING].records == 1


@pytest.mark.parametrize("projects", [None, frozenset({"earlier", "fat", "later"})])
def test_what_others_owe_is_found_beside_a_namespace_with_too_much(projects: frozenset[str] | None) -> None:
    store = KubernetesStore(Api(*map(owing, MANY), *map(owing, OTHERS)), projects)
    assert {record.alias for record in store.owed() if record.project != "fat"} == {"a", "b", "c"}


@pytest.mark.parametrize("projects", [None, frozenset({"earlier", "fat", "later"})])
def test_a_decision_reads_only_so_much_of_another_namespace_and_tells_of_its_own(
    projects: frozenset[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(*MANY, *OTHERS)
    store = KubernetesStore(api, projects)
    assert {"b", "c"} <= {other.alias for other in store.others(OTHERS[0], ())}
    assert "the namespace fat has more records than are read" in caplog.text
    with pytest.raises(TooMany, match="the namespace fat has more than 12 MiB"):
        store.others(MANY[0], ())


@pytest.mark.parametrize("projects", [None, frozenset({"earlier", "later"})])
def test_a_record_of_another_namespace_that_cannot_be_read_holds_up_no_decision(
    projects: frozenset[str] | None,
) -> None:
    api = Api(*OTHERS)
    (broken,) = (one for one in api._objects if one["step"]["keyParts"][-1] == "b")
    broken["progress"]["state"] = "of a version to come"
    assert [other.alias for other in KubernetesStore(api, projects).others(OTHERS[0], ())] == ["c"]


def test_what_a_decision_keeps_of_others_is_small() -> None:
    theirs = OTHERS[1].model_copy(update={"baseline_ids": tuple(range(5_000)), "reason": "r" * 60_000})
    (other,) = KubernetesStore(Api(OTHERS[0], theirs), None).others(OTHERS[0], ())
    assert (other.key, other.state) == (theirs.key, theirs.state)
    assert len(other.model_dump_json()) < 2_000
