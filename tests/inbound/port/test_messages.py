"""What Port asks for, read from claims and Kafka messages: inputs as GitHub gets them, and what cannot be used."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.emulator.port import EXAMPLE_CLIENT_ID, Action, Port, example, kafka_message
from gha_step.inbound.port.messages import (
    MAX_MESSAGE,
    Foreign,
    Nameless,
    PortRun,
    Unusable,
    of_claimed_node,
    of_claimed_run,
    of_message,
)
from gha_step.inbound.port.wire_json import MOST_VALUES, JsonObject, Number, compact, doubled, read_json
from tests.support.rows import each_row


def message(port: Port, action: Action, given: dict[str, Any] | None = None, *, version: Any = 2) -> bytes:
    run = port.press(action, given)
    return kafka_message(port, run, port.credentials[EXAMPLE_CLIENT_ID], version=version)


def v2(inputs: str = "{}", method: str = "", head: str = "", run: str = "r_1234567890123456") -> bytes:
    """A message as text, for spellings that no encoder writes."""
    return (
        f'{{"action":"deploy",{head}"context":{{"runId":"{run}"}},"payload":{{"properties":{{}},"action":{{"trigger":"DAY-2",'
        f'"invocationMethod":{{"type":"GITHUB","org":"myorg","repo":"my-app","workflow":"deploy.yml"{method},'
        f'"workflowInputs":{inputs}}}}}}},"headers":{{}}}}'
    ).encode()


def used(raw: bytes) -> PortRun:
    found = of_message(raw)
    assert isinstance(found, PortRun), found
    return found


def unusable(raw: bytes) -> str:
    found = of_message(raw)
    assert isinstance(found, Unusable), found
    assert found.id == "r_1234567890123456"
    return found.problem


GITHUB = Action("deploy", invocation="GITHUB")


@each_row(
    ("written", "text"),
    [
        ('"1.10"', "1.10"),
        ("1.10", "1.10"),
        ("1e-7", "1e-7"),
        ("1E400", "1E400"),
        ("-0.0", "-0.0"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("true", "true"),
        ("false", "false"),
        ('""', ""),
        ('"\\u00fc \\ud83d\\ude00"', "ü 😀"),
        ("[]", "[]"),
        ("{}", "{}"),
        ('{ "a" : [ 1.10 , null , "x\\"y" ] }', '{"a":[1.10,null,"x\\"y"]}'),
        ('{"z":1,"a":{"b":false}}', '{"z":1,"a":{"b":false}}'),
    ],
)
def test_an_input_arrives_as_the_message_spells_it(written: str, text: str) -> None:
    assert used(v2(f'{{"x":{written}}}')).inputs == {"x": text}


def test_a_null_input_is_left_out() -> None:
    assert used(v2('{"x":null,"y":"1"}')).inputs == {"y": "1"}


@pytest.mark.parametrize(
    ("written", "ref"),
    [("null", None), ('""', None), ('"main"', "main"), ('"refs/heads/main"', "refs/heads/main"), ('"1.10"', "1.10")],
)
def test_ref_picks_the_branch_and_is_no_input(written: str, ref: str | None) -> None:
    found = used(v2(f'{{"ref":{written},"x":"1"}}'))
    assert (found.ref, found.inputs) == (ref, {"x": "1"})


@pytest.mark.parametrize(
    ("written", "wanted"),
    [("", True), ("null", True), ("true", True), ('"true"', True), ("false", False), ('"false"', False)],
)
def test_report_workflow_status_is_true_unless_it_says_false(written: str, wanted: bool) -> None:
    assert used(v2(method=f',"reportWorkflowStatus":{written}' if written else "")).wanted is wanted


@each_row(
    ("raw", "words"),
    [
        (v2('{"ref":7}'), "ref is not a string"),
        (v2('{"ref":["main"]}'), "ref is not a string"),
        (v2('"text"'), "workflowInputs is not an object"),
        (v2("[1]"), "workflowInputs is not an object"),
        (v2('{"a":1,"a":2}'), "payload.action.invocationMethod.workflowInputs.a twice"),
        (v2('{"a":[{"b":1,"b":2}]}'), "a[0].b twice"),
        (v2(head='"action":"other",'), "the key action twice"),
        (v2(method=',"org":"evil"'), "the key payload.action.invocationMethod.org twice"),
        (v2(method=',"reportWorkflowStatus":"yes"'), "reportWorkflowStatus"),
        (v2(method=',"reportWorkflowStatus":0'), "reportWorkflowStatus"),
        (v2('{"a":"\\ud800"}'), "surrogate"),
        (v2('{"Tag":"1","tag":"2"}'), "'Tag' and 'tag' are the same input"),
        (v2('{"":"x"}'), "must not be empty"),
        (v2('{"a\\u0000":"x"}'), "control character"),
        (v2().replace(b'"my-app"', b'"a/b"'), "repo 'a/b' contains '/'"),
        (v2().replace(b'"my-app"', b"7"), "repo is not a string"),
        (v2().replace(b'"my-app"', b"null"), "repo is missing"),
        (v2().replace(b'"deploy.yml"', b'""'), "workflow is missing"),
        (v2().replace(b'"deploy.yml"', b'"../x"'), "workflow '../x' contains '/'"),
        (v2().replace(b'"myorg"', b'".."'), "org '..' is not a name"),
        (v2(json.dumps({f"i{number}": "x" for number in range(26)})), "26 inputs"),
        (v2(json.dumps({"a": "x" * 65_536})), "65544 characters"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_actions_name(raw: bytes, words: str) -> None:
    problem = unusable(raw)
    assert words in problem
    assert problem.startswith("action deploy: ") or "other" in raw.decode()


@pytest.mark.parametrize("written", ["123", '"123"', '"deploy.yml"'])
def test_a_workflow_is_a_file_name_or_a_number(written: str) -> None:
    assert used(v2().replace(b'"deploy.yml"', written.encode())).workflow == written.strip('"')


@pytest.mark.parametrize("written", [b"null", b'""'])
def test_a_missing_org_is_left_to_the_settings(written: bytes) -> None:
    assert used(v2().replace(b'"myorg"', written)).org is None


@each_row(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b"[]" * 2,
        b'{"a":NaN}',
        b"[" * 5000 + b"]" * 5000,
        b" " * (MAX_MESSAGE + 1),
        v2(head='"x":[' + "[]," * MOST_VALUES + "[]],"),
        v2(run=""),
        v2(run="r_../x"),
        v2(run="x" * 100),
        v2().replace(b'"r_1234567890123456"', b"17"),
        v2(head='"context":{"runId":"r_other"},'),
        v2().replace(b'"context":{', b'"context":{"runId":"r_other",'),
    ],
)
def test_without_an_unambiguous_run_nobody_can_be_told(raw: bytes) -> None:
    assert isinstance(of_message(raw), Nameless)


def test_deep_nesting_is_refused_before_anything_is_made_of_it() -> None:
    deep = v2('{"a":' + "[" * 200 + "]" * 200 + "}")
    assert isinstance(of_message(deep), Nameless)


@pytest.mark.parametrize(
    "raw",
    [
        v2().replace(b'"GITHUB"', b'"WEBHOOK"'),
        v2().replace(b'"GITHUB"', b"null"),
        v2().replace(b'"invocationMethod"', b'"other"'),
        v2(run="wfnr_1234567890123456"),
        b"[]",
        b"7",
        b'"GITHUB"',
        b"{}",
    ],
)
def test_messages_for_others_are_foreign(raw: bytes) -> None:
    assert isinstance(of_message(raw), Foreign)


@pytest.mark.parametrize(
    ("omit", "names"),
    [
        ({}, {"tag", "port_payload"}),
        ({"omitPayload": True}, {"tag"}),
        ({"omitUserInputs": True}, {"port_payload"}),
        ({"omitPayload": True, "omitUserInputs": True}, set()),
    ],
)
def test_a_v1_action_sends_its_user_inputs_and_the_message(omit: dict[str, bool], names: set[str]) -> None:
    action = Action("deploy", invocation="GITHUB", omit=omit)
    raw = message(example(), action, {"tag": "1.10", "ref": "dev", "none": None}, version=1)
    found = used(raw)
    assert (set(found.inputs), found.ref) == (names, "dev")
    if "port_payload" in names:
        sent = json.loads(found.inputs["port_payload"])
        assert sent == {key: value for key, value in json.loads(raw).items() if key != "headers"}
        assert sent["context"]["runId"] == found.id


def test_a_v1_switch_must_be_a_boolean() -> None:
    action = Action("deploy", invocation="GITHUB", omit={"omitPayload": "yes"})  # type: ignore[dict-item]  # on purpose
    assert isinstance(of_message(message(example(), action, version=1)), Unusable)


def test_a_v2_payload_object_arrives_as_json_text() -> None:
    raw = message(example(), GITHUB, {"port_payload": {"context": {"runId": "r_x"}, "omitPayload": True}})
    assert json.loads(used(raw).inputs["port_payload"])["context"] == {"runId": "r_x"}


def claimed(action: Action, given: dict[str, Any] | None = None) -> Any:
    from gha_step.emulator.port.bodies import action_run

    return read_json(json.dumps(action_run(example().press(action, given))).encode())


def claimed_node(action: Action, given: dict[str, Any] | None = None) -> Any:
    from gha_step.emulator.port.bodies import node_run

    return read_json(json.dumps(node_run(example().start_node(action, given), claimed=True)).encode())


def test_claimed_runs_and_nodes_become_the_same_wish() -> None:
    action = Action("deploy", report="false")
    given = {"tag": 1.5, "ref": "dev", "none": None, "flag": True}
    run, node = of_claimed_run(claimed(action, given)), of_claimed_node(claimed_node(action, given))
    assert isinstance(run, PortRun)
    assert isinstance(node, PortRun)
    for found in (run, node):
        assert (found.org, found.repo, found.workflow, found.ref) == ("myorg", "my-app", "deploy.yml", "dev")
        assert (dict(found.inputs), found.wanted) == ({"tag": "1.5", "flag": "true"}, False)
    assert (run.kind, node.kind) == ("run", "node")


@pytest.mark.parametrize("integration_action", ["merge_pull_request", "create_issue", ""])
def test_other_actions_of_the_installation_are_unusable_with_their_reason(integration_action: str) -> None:
    action = Action("merge", integration_action=integration_action)
    for found in (of_claimed_run(claimed(action)), of_claimed_node(claimed_node(action))):
        assert isinstance(found, Unusable)
        assert "this installation only starts workflows" in found.problem
        assert integration_action in found.problem


def test_null_inputs_and_missing_names() -> None:
    found = of_claimed_run(claimed(Action("deploy", inputs=None)))
    assert isinstance(found, PortRun)
    assert found.inputs == {}
    for field in ("repo", "workflow"):
        broken = claimed(Action("deploy", **{field: None}))  # type: ignore[arg-type]  # one of two names
        answer = of_claimed_run(broken)
        assert isinstance(answer, Unusable)
        assert f"{field} is missing" in answer.problem


@pytest.mark.parametrize("value", [None, 7, [], {}, {"id": 7}, {"id": "r_"}, {"id": "wfnr_1"}, {"id": "r_a/b"}])
def test_a_claim_without_a_usable_id_is_nameless(value: Any) -> None:
    assert isinstance(of_claimed_run(value), Nameless)
    assert isinstance(of_claimed_node({"identifier": "r_1"} if value is None else value), Nameless)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_no_path_is_made_where_nothing_is_twice() -> None:
    class Key(str):
        """Of a megabyte, say, which would be copied for each of the values below it."""

        def __format__(self, _: str) -> str:
            raise AssertionError("a path is made")

    assert list(doubled(JsonObject({Key("a"): [JsonObject({"b": 1, "c": [2]})]}))) == []


@given(JSON)
def test_compact_is_the_inverse_of_reading(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if re.search("[\ud800-\udfff]", text):
        text = json.dumps(value, separators=(",", ":"))
    found = read_json(text.encode())
    assert json.loads(compact(found)) == value
    assert list(doubled(found)) == []


@given(JSON)
def test_no_message_whatever_breaks_the_reader(value: Any) -> None:
    text = json.dumps(value).encode()
    assert isinstance(of_message(text), Foreign | Nameless)
    assert isinstance(of_claimed_run(read_json(text)), Nameless)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_reader(raw: bytes) -> None:
    assert isinstance(of_message(raw), Foreign | Nameless)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name != "ref"), JSON))
def test_every_input_is_text_or_left_out(inputs: dict[str, Any]) -> None:
    found = of_message(v2(json.dumps(inputs)))
    if isinstance(found, PortRun):
        assert set(found.inputs) == {name for name, value in inputs.items() if value is not None}
        for name, text in found.inputs.items():
            assert (text if isinstance(inputs[name], str) else json.loads(text)) == inputs[name]
            assert type(text) is str
    else:
        assert isinstance(found, Unusable)


def test_a_number_is_kept_apart_from_a_string() -> None:
    assert compact(read_json(b'[1.10,"1.10"]')) == '[1.10,"1.10"]'
    assert isinstance(read_json(b"1.10"), Number)
