"""The config of gha-dispatch-workflow: what is accepted as what, and what is refused with which words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.contract.errors import ConfigError
from gha_step.contract.values import MAX_INPUTS_CHARACTERS, MAX_PROBLEMS
from gha_step.steps.dispatch.config import DispatchOutput, DispatchWorkflowConfig
from gha_step.steps.repository import RepositoryBySecret
from tests.support.calls import config
from tests.support.rows import each_row

REQUIRED = ["credentials", "owner", "repo", "workflowFile", "ref"]
SEGMENTS = ["owner", "repo", "workflowFile"]
TEXTS = [*SEGMENTS, "ref", "correlationInput"]


def parse(**changes: Any) -> DispatchWorkflowConfig:
    return DispatchWorkflowConfig.parse(config(**changes))


def problem(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(**changes)
    message = str(caught.value)
    message.encode()
    assert "\n" not in message
    return message


def sent(inputs: Any) -> dict[str, str]:
    return parse(inputs=inputs).inputs


# ---------------------------------------------------------------- the whole


def test_the_documented_example_is_accepted() -> None:
    parsed = parse(timeout=...)
    assert (parsed.owner, parsed.repo, parsed.workflow_file, parsed.ref) == ("myorg", "my-app", "deploy.yml", "main")
    assert parsed.repository == RepositoryBySecret("github", "myorg", "my-app")
    assert parsed.timeout == 60
    assert parsed.correlation_input is None


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_required_key_is_named(name: str) -> None:
    assert problem(**{name: ...}) == f"config.{name}: is required"


def test_a_missing_secret_name_is_named() -> None:
    assert problem(credentials={}) == "config.credentials.secretName: is required"


@pytest.mark.parametrize("value", ["github", None, 1, ["secretName"], True])
def test_credentials_that_are_no_object_are_refused(value: object) -> None:
    assert "config.credentials: must be an object" in problem(credentials=value)


def test_all_problems_are_told_in_one_message() -> None:
    said = problem(owner="a/b", ref=1.1, timeout=301, workflowfile="x", credentials={})
    for name in ("owner", "ref", "timeout", "workflowfile", "credentials.secretName"):
        assert f"config.{name}:" in said


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("workflowfile", "workflowFile"),
        ("workflow_file", "workflowFile"),
        ("Owner", "owner"),
        ("input", "inputs"),
        ("timeOut", "timeout"),
        ("correlationinput", "correlationInput"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(name: str, nearest: str) -> None:
    assert f"config.{name}: is not a field of this step; did you mean {nearest}?" in problem(**{name: "x"})


def test_an_unknown_key_that_is_near_nothing_is_refused_with_all_known_ones() -> None:
    said = problem(zzz=1)
    assert "config.zzz" in said
    assert "workflowFile" in said


def test_an_unknown_key_inside_credentials_is_refused_with_the_nearest_there() -> None:
    said = problem(credentials={"secretname": "github"})
    assert "config.credentials.secretname: is not a field of this step; did you mean secretName?" in said


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\ud800", "x" * 5000, "", "{text}", "ключ"])
def test_an_unknown_key_cannot_disturb_the_message(name: str) -> None:
    said = problem(**{name: 1})
    assert len(said) < 400
    assert said.isascii()
    assert "\x1b" not in said


@pytest.mark.parametrize("name", ["repoURL", "insecureSkipTLSVerify"])
def test_the_keys_of_later_contracts_are_not_ignored(name: str) -> None:
    assert f"config.{name}:" in problem(**{name: "https://github.com/myorg/my-app"})


# ---------------------------------------------------------------- strings


@each_row("name", TEXTS)
@each_row(("value", "kind"), [(1, "a number"), (1.1, "a number"), (True, "a boolean")])
def test_a_number_or_boolean_is_no_string_and_the_advice_is_quote(name: str, value: object, kind: str) -> None:
    said = problem(**{name: value})
    assert f"config.{name}: {json.dumps(value)} is {kind}, not a string" in said
    assert "quote(" in said


@each_row("name", [*SEGMENTS, "ref"])
@each_row("value", [None, [], {}, ["main"], {"a": 1}])
def test_what_cannot_become_a_string_is_refused_without_that_advice(name: str, value: object) -> None:
    said = problem(**{name: value})
    assert f"config.{name}: must be a string, but is " in said
    assert "quote(" not in said


@each_row("name", TEXTS)
@each_row("value", ["", " ", "\t", "\u00a0"])
def test_an_empty_string_is_refused(name: str, value: str) -> None:
    assert f"config.{name}: must not be empty" in problem(**{name: value})


@each_row("name", [*SEGMENTS, "ref"])
@each_row("value", ["main ", " main", "main\u00a0", "\u2003a b"])
def test_white_space_at_an_end_which_no_message_would_show_is_refused(name: str, value: str) -> None:
    assert f"config.{name}: {value!r} begins or ends with white space; remove it" in problem(**{name: value})


@each_row("name", TEXTS)
@each_row("value", ["a\nb", "a\rb", "a\0b", "a\x7fb", "a\x85b", "\ud800", "a\udfff"])
def test_a_character_that_no_name_has_is_refused(name: str, value: str) -> None:
    assert f"config.{name}:" in problem(**{name: value})


@each_row("name", SEGMENTS)
@each_row("value", [".", "..", "a/b", "/a", "a?b", "a#b", "a%2Fb", "../x", "a\\b", "https://github.com/a"])
def test_a_path_is_no_segment(name: str, value: str) -> None:
    assert f"config.{name}: {value!r} " in problem(**{name: value})


@each_row("name", SEGMENTS)
@each_row("value", ["a", ".github", "...", "a b", "ä", "a:b", "a@b", "a+b", "a&b=c"])
def test_other_characters_may_stand_in_a_segment(name: str, value: str) -> None:
    assert parse(**{name: value}).model_dump()[{"workflowFile": "workflow_file"}.get(name, name)] == value


@pytest.mark.parametrize("ref", ["main", "refs/heads/main", "feature/x", "v1.10", "release?1", "a#b", "1.10"])
def test_a_ref_may_hold_slashes(ref: str) -> None:
    assert parse(ref=ref).ref == ref


# ---------------------------------------------------------------- timeout


@pytest.mark.parametrize("value", [120, 120.0, "120", " 120 ", "0120"])
def test_whole_numbers_come_in_three_spellings(value: object) -> None:
    assert parse(timeout=value).timeout == 120


@pytest.mark.parametrize("value", [1, 300])
def test_the_bounds_of_timeout_are_allowed(value: int) -> None:
    assert parse(timeout=value).timeout == value


@each_row(
    ("value", "words"),
    [
        (0, "0 is too small; the range is 1 to 300 seconds"),
        ("0", "0 is too small; the range is 1 to 300 seconds"),
        (-5, "-5 is too small; the range is 1 to 300 seconds"),
        ("-5", "-5 is too small; the range is 1 to 300 seconds"),
        (301, "301 is too large; the maximum is 300 seconds"),
        ("900", "900 is too large; the maximum is 300 seconds"),
        (10**30, f"{10**30} is too large; the maximum is 300 seconds"),
        (10**4000, "a number of more than 30 digits is too large"),
        (120.5, "120.5 is not a whole number"),
        (1e300, "1e+300 is not a whole number"),
        ("120.0", "'120.0' is not a whole number"),
        ("1e2", "'1e2' is not a whole number"),
        ("60s", "'60s' is not a whole number"),
        ("", "'' is not a whole number"),
        ("--5", "'--5' is not a whole number"),
        ("١٢", "'١٢' is not a whole number"),
        ("9" * 500, f"'{'9' * 100}…' is not a whole number"),
        (True, "true is not a whole number"),
        (None, "null is not a whole number"),
        ([60], "a list is not a whole number"),
        ({}, "an object is not a whole number"),
    ],
)
def test_a_timeout_out_of_bounds_is_refused(value: object, words: str) -> None:
    assert f"config.timeout: {words}" in problem(timeout=value)


# ---------------------------------------------------------------- inputs


@each_row(
    ("value", "text"),
    [
        ("prod", "prod"),
        ("", ""),
        (" padded ", " padded "),
        ("1.10", "1.10"),
        ("null", "null"),
        ("multi\nline\r\n", "multi\nline\r\n"),
        ("ünïcode 🚀", "ünïcode 🚀"),
        ("${{ quote(x) }}", "${{ quote(x) }}"),
        ("{text}", "{text}"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-7, "-7"),
        (42, "42"),
        (2**63, str(2**63)),
        (10**30, str(10**30)),
        (3.0, "3"),
        (-0.0, "0"),
        (1e15, "1000000000000000"),
        ([], "[]"),
        ({}, "{}"),
        (["a", 1, None, True], '["a",1,null,true]'),
        ({"b": 1, "a": {"c": "ä"}}, '{"b":1,"a":{"c":"ä"}}'),
    ],
)
def test_every_input_goes_to_github_as_a_string(value: object, text: str) -> None:
    assert sent({"x": value}) == {"x": text}
    assert sent(json.dumps({"x": value})) == {"x": text}


@pytest.mark.parametrize("value", [1.1, 0.5, -2.5, 1e300, 1e17, 2.0**53 + 2, 1e-7])
def test_a_number_whose_spelling_is_lost_is_refused_with_the_advice_to_quote(value: float) -> None:
    said = problem(inputs={"image_tag": value})
    assert "config.inputs: input 'image_tag'" in said
    assert "quote(" in said


@pytest.mark.parametrize("text", ['{"x": 1.10}', '{"x": 1.5e0}', '{"x": 1e17}'])
def test_such_a_number_inside_text_is_refused_too(text: str) -> None:
    assert "quote(" in problem(inputs=text)


def test_an_input_that_is_left_out_stands_in_nobodys_way() -> None:
    assert sent({"Environment": None, "environment": "b"}) == {"environment": "b"}


@pytest.mark.parametrize("inputs", [{}, None, "", "  ", "{}", "null", {"x": None}])
def test_inputs_may_be_empty(inputs: object) -> None:
    assert sent(inputs) == {}


def test_null_leaves_an_input_out_and_empty_text_does_not() -> None:
    assert sent({"a": None, "b": ""}) == {"b": ""}


def test_inputs_may_be_missing() -> None:
    assert parse(inputs=...).inputs == {}


@each_row(
    ("inputs", "words"),
    [
        ([], "but is a list"),
        ([["a", "b"]], "but is a list"),
        (1, "but is a number"),
        (True, "but is a boolean"),
        ("[]", "but is a list"),
        ('"x"', "but is a string"),
        ("a=b", "not a JSON object"),
        ("environment: prod", "not a JSON object"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e999}', "too large"),
        ("[" * 50_000, "nested too deeply"),
        ('{"a": "\\ud800"}', "surrogate"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": ["\ud800"]}, "surrogate"),
        ({"\ud800": "a"}, "surrogate"),
        ({"": "a"}, "must not be empty"),
        ({"Environment": "a", "environment": "b"}, "'Environment' and 'environment' are the same input"),
        ('{"a": 1, "b": 2, "A": 3}', "'a' and 'A' are the same input"),
        ({"a\nb": "a"}, "control character"),
    ],
)
def test_inputs_that_cannot_be_sent_are_refused(inputs: object, words: str) -> None:
    said = problem(inputs=inputs)
    assert said.startswith("config.inputs: ")
    assert words in said


def test_an_input_nested_too_deeply_to_be_written_is_refused() -> None:
    value: object = "x"
    for _ in range(5_000):
        value = [value]
    assert "config.inputs: input 'deep'" in problem(inputs={"deep": value})


def test_no_message_repeats_an_inputs_value() -> None:
    assert "hunter2" not in problem(inputs={"a": "hunter2\ud800", "b": ["hunter2", 1.5], "c": 1.5})


def test_twenty_five_inputs_are_allowed_and_null_ones_do_not_count() -> None:
    assert len(sent({f"i{n}": "x" for n in range(25)} | {"none": None})) == 25


def test_twenty_six_inputs_are_refused() -> None:
    assert "has 26 inputs, but GitHub takes at most 25" in problem(inputs={f"i{n}": "x" for n in range(26)})


def test_inputs_of_exactly_the_limit_are_allowed() -> None:
    room = MAX_INPUTS_CHARACTERS - len('{"x":""}')
    assert len(sent({"x": "ä" * room})["x"]) == room


def test_one_character_more_is_refused() -> None:
    room = MAX_INPUTS_CHARACTERS - len('{"x":""}')
    assert "65536 characters" in problem(inputs={"x": "a" * (room + 1)})


def test_what_json_must_escape_counts_as_it_is_sent() -> None:
    assert "characters as JSON" in problem(inputs={"x": '"' * 40_000})


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=20), max_size=10))
def test_texts_arrive_exactly_as_they_were_written(inputs: dict[str, str]) -> None:
    try:
        assert sent(inputs) == inputs
        assert sent(json.dumps(inputs)) == inputs
    except ConfigError as error:  # a name that no workflow can declare, or two that are one to it
        reasons = ("control character", "must not be empty", "are the same input")
        assert any(words in str(error) for words in reasons)  # noqa: PT017


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*REQUIRED, "inputs", "timeout", "correlationInput", "x"]), JSON))
def test_no_config_whatever_does_more_than_be_refused_in_words(raw: dict[str, Any]) -> None:
    try:
        parsed = DispatchWorkflowConfig.parse(raw)
    except ConfigError as error:
        str(error).encode()
        assert "config." in str(error)  # noqa: PT017
    else:
        assert all(isinstance(text, str) for text in parsed.inputs.values())
        assert 1 <= parsed.timeout <= 300


# ---------------------------------------------------------------- output


def test_an_output_leaves_out_what_is_not_known() -> None:
    assert DispatchOutput().model_dump(by_alias=True, exclude_none=True) == {}


def test_a_run_id_is_an_integer_on_the_wire() -> None:
    assert json.loads(DispatchOutput(run_id=2**53 + 1).model_dump_json(by_alias=True, exclude_none=True)) == {
        "runID": 2**53 + 1
    }


def test_a_config_of_ever_so_many_keys_is_one_problem() -> None:
    unknown = {f"k{number}": 1 for number in range(1000)}
    assert "has 101 keys" in problem(**{f"k{number}": 1 for number in range(101 - len(config()))})
    assert "config.inputs: has 1000 keys; the maximum is 100" in problem(inputs=unknown)
    assert len(problem(**unknown)) < 200


def test_of_many_problems_the_first_are_told_and_the_others_counted() -> None:
    said = problem(**{f"k{number}": 1 for number in range(MAX_PROBLEMS + 30)})
    assert said.count("is not a field") == MAX_PROBLEMS
    assert said.endswith("and 30 more")
