"""The table of bounds is that of the CustomResourceDefinition, and what others decide is made to fit."""

from collections.abc import Iterator
from typing import Any

import pytest

from gha_step.contract.errors import LedgerError
from gha_step.ledger.bounds import COUNTS, LENGTHS, LINK, NAME, REASON, RUNS, fitted, too_long, without_optional
from gha_step.ledger.kubernetes import _decode, _encode
from gha_step.ledger.record import Candidate, State
from tests.deploy.manifests import manifest
from tests.ledger.records import CANDIDATE, record, run
from tests.support.rows import each_row

DEFINITION = "crd/workflowdispatches.gha-step.dev.yaml"


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from fields(inner, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


def defined() -> dict[str, dict[str, Any]]:
    (version,) = manifest(DEFINITION)["spec"]["versions"]
    outside = ("apiVersion", "kind", "metadata")
    return {path: found for path, found in fields(version["schema"]["openAPIV3Schema"]) if path not in outside}


def test_every_text_and_list_of_a_record_has_the_bound_of_the_table() -> None:
    found = defined()
    assert {path: one.get("maxLength") for path, one in found.items() if one["type"] == "string"} == LENGTHS
    assert {path: one.get("maxItems") for path, one in found.items() if one["type"] == "array"} == COUNTS


def test_a_name_that_no_record_can_hold_is_named_with_its_length() -> None:
    assert too_long([("config.ref", "x" * NAME)]) is None
    assert too_long([("config.ref", "x" * (NAME + 1))]) == "config.ref: has 2049 characters; the maximum is 2048"


@pytest.mark.parametrize("text", ["x" * 5000, "ä" * 5000, "🚀" * 5000])
def test_a_reason_is_cut_to_a_kilobyte(text: str) -> None:
    cut = fitted(record(State.REJECTED, reason=text), str).reason
    assert cut is not None
    assert len(cut.encode()) <= REASON
    assert cut.endswith("…")
    assert cut.startswith(text[:200])


def test_links_that_are_too_long_give_way_to_the_page_that_we_compute() -> None:
    long = "https://github.com/" + "x" * LINK
    made = fitted(
        record(
            State.ACCEPTED,
            run=run().model_copy(update={"url": long}),
            seen=(CANDIDATE, Candidate(id=6, url=long, marked=True)),
            actor="x" * (NAME + 1),
        ),
        lambda run_id: f"page of {run_id}",
    )
    assert made.run is not None
    assert made.run.url == "page of 7"
    assert made.seen == (CANDIDATE, Candidate(id=6, url="page of 6", marked=True))
    assert made.actor is None


def test_a_record_that_fits_is_left_as_it_is() -> None:
    whole = record(State.AMBIGUOUS, reason="x" * REASON, candidates=(CANDIDATE,) * RUNS)
    assert fitted(whole, str) is whole


def test_evidence_of_a_run_that_is_looked_for_is_never_optional() -> None:
    looking = record(State.ACCEPTED_WITHOUT_ID, baseline_ids=(1, 2), seen=(CANDIDATE,), reason="x" * 500)
    assert without_optional(looking) == looking.model_copy(update={"reason": "x" * 100})
    ended = without_optional(
        record(State.AMBIGUOUS, baseline_ids=(1,), seen=(CANDIDATE,), candidates=(CANDIDATE,) * 50)
    )
    assert (ended.baseline_ids, ended.seen, len(ended.candidates)) == ((), (), 10)


@each_row("emptied", [{}, None, "gone", []])
@each_row("part", ["step", "request", "progress", "step.keyParts", "request.target", "progress.state"])
def test_a_record_that_an_older_definition_has_emptied_is_named(part: str, emptied: Any) -> None:
    """An API server drops what its CustomResourceDefinition does not know."""
    whole = record()
    found = _encode(whole)
    found["metadata"] |= {"namespace": "demo", "uid": "u", "resourceVersion": "1"}
    assert _decode(found).key == whole.key
    *parents, name = part.split(".")
    holder = found
    for parent in parents:
        holder = holder[parent]
    if emptied == "gone":
        del holder[name]
    else:
        holder[name] = emptied
    with pytest.raises(LedgerError, match=rf"{whole.key} in the namespace demo.*nothing is sent"):
        _decode(found)
