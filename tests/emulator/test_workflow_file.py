"""Reading workflow files: triggers, declared inputs and `run-name`."""

import pytest

from gha_step.emulator import EXAMPLE_WORKFLOW_TEXT
from gha_step.emulator.workflow_file import WorkflowFile

GITHUB = {"actor": "octocat", "ref_name": "main", "run_number": "7"}


def title(run_name: str, **inputs: str) -> str | None:
    """The title that this `run-name` gives."""
    return WorkflowFile.parse(f"on: push\nrun-name: >-\n  {run_name}\n").title(inputs, GITHUB)


def test_the_example_declares_what_kargos_own_example_sends() -> None:
    file = WorkflowFile.parse(EXAMPLE_WORKFLOW_TEXT)
    assert list(file.inputs) == ["environment", "image_tag"]
    assert file.title({"environment": "prod", "image_tag": "1.10"}, GITHUB) == "Deploy 1.10 to prod"


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_inputs_that_are_nothing_are_none(nothing: str) -> None:
    assert WorkflowFile.parse(f"on:\n  workflow_dispatch:\n    inputs: {nothing}\n").inputs == {}


def test_tabs_are_read_where_github_reads_them() -> None:
    text = 'on:\t# triggers\n  workflow_dispatch: {\n\t"inputs": {\n\t\t"a": {}\n\t}\n  }\t\n'
    assert list(WorkflowFile.parse(text).inputs) == ["a"]


@pytest.mark.parametrize(
    ("run_name", "expected"),
    [
        ("plain", "plain"),
        ("${{ inputs.tag }}", "v1"),
        ("${{inputs.tag}}/${{ github.event.inputs.tag }}", "v1/v1"),
        ("${{ inputs['image-tag'] }} ${{ inputs.image-tag }}", "v2 v2"),
        ("by ${{ github.actor }} on ${{ github.ref_name }} #${{ github.run_number }}", "by octocat on main #7"),
        ("${{ inputs.none || 'default' }}", "default"),
        ("${{ inputs.none || inputs.off || inputs.tag }}", "v1"),
        ("${{ 'it''s' }}", "it's"),
        ("a ${{ inputs.none }}${{ github.token }}${{ secrets.X }}${{ format('x') }} b", "a  b"),
        ("${{ inputs.none }}", None),
        ("${{ inputs.tricky }}", "${{ github.actor }}"),
    ],
)
def test_run_name_shows_inputs_and_context(run_name: str, expected: str | None) -> None:
    inputs = {"tag": "v1", "image-tag": "v2", "off": "false", "tricky": "${{ github.actor }}"}
    assert title(run_name, **inputs) == expected


def test_without_run_name_there_is_no_title() -> None:
    assert WorkflowFile.parse("on: push").title({}, GITHUB) is None


@pytest.mark.parametrize("text", ["", "on: [", "- a", "just text", "\x00"])
def test_what_is_no_mapping_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"not YAML|not a mapping"):
        WorkflowFile.parse(text)


@pytest.mark.parametrize(
    ("on", "triggers"),
    [
        ("push", {"push"}),
        ("[push, workflow_dispatch]", {"push", "workflow_dispatch"}),
        ("{workflow_dispatch: }", {"workflow_dispatch"}),
        ("{workflow_dispatch: {inputs: }, push: {branches: [x]}}", {"push", "workflow_dispatch"}),
    ],
)
def test_triggers_are_read_in_every_form(on: str, triggers: set[str]) -> None:
    assert WorkflowFile.parse(f"on: {on}\njobs:").triggers == triggers


def test_values_that_yaml_would_convert_stay_text() -> None:
    file = WorkflowFile.parse("on: {workflow_dispatch: {inputs: {v: {default: 1.10}, b: {default: no}}}}")
    assert file.inputs_seen({}) == {"v": "1.10", "b": "no"}
