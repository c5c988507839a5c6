"""`gha-step check`: every problem with its line."""

from pathlib import Path

import pytest

from gha_step.emulator import Token
from gha_step.inbound.shell.check import check
from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.yaml_lines import documents
from tests.support.process import run_here

from .commands import Shell

GOOD = """\
- uses: git-clone
  config: {anything: 1}
- uses: gha-dispatch-workflow
  as: deploy
  config:
    repoURL: https://github.com/myorg/my-app
    workflowFile: ${{ vars.file }}
    ref: main
    timeout: ${{ vars.timeout }}
    inputs:
      tag: ${{ imageFrom(vars.repo).Tag }}
- uses: gha-wait-for-workflow
  as: wait
  retry: {timeout: 30m}
  config:
    repoURL: https://github.com/myorg/my-app
    runID: ${{ quote(outputs.deploy.runID) }}
"""


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


OBJECTS = {
    "a list": GOOD,
    "steps": f"steps:\n{GOOD}",
    "Promotion": f"kind: Promotion\nspec:\n  steps:\n{_indented(GOOD, 2)}",
    "PromotionTask": f"kind: PromotionTask\nspec:\n  vars: []\n  steps:\n{_indented(GOOD, 2)}",
    "ClusterPromotionTask": f"kind: ClusterPromotionTask\nspec:\n  steps:\n{_indented(GOOD, 2)}",
    "Stage": f"kind: Stage\nspec:\n  promotionTemplate:\n    spec:\n      steps:\n{_indented(GOOD, 6)}",
}


@pytest.mark.parametrize("text", OBJECTS.values(), ids=OBJECTS)
def test_steps_are_found_wherever_kargo_has_them_and_expressions_are_taken_as_right(text: str) -> None:
    checked = check(text, "f.yaml")
    assert (checked.steps, checked.problems) == (2, ())


@pytest.mark.parametrize("text", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("workflowFile:", "workflowFileName:", "did you mean workflowFile?"),
        ("ref: main", "ref: 1.10", "config.ref: "),
        ("as: deploy", "As: deploy", "As: is not a field of a step; did you mean as?"),
        ("as: deploy", "as: 5", "as: must be a string, but is 5"),
        ("retry: {", "retrys: {", "did you mean retry?"),
        ("ref: main", "ref: main\n    ref: dev", "config.ref: is given twice"),
        ("runID: ${{ quote(outputs.deploy.runID) }}", "runID: abc", "config.runID: "),
        (
            "config: {anything: 1}\n- uses: gha-dispatch-workflow",
            "config: {}\n- uses: gha-dispatch-work",
            "did you mean",
        ),
        ("runID:", "timeout: 30m\n    runID:", "retry.timeout"),
        ("runID:", "expectedConclusion: succes\n    runID:", "did you mean success?"),
        ("tag: ${{ imageFrom(vars.repo).Tag }}", "tag: 1.5", "config.inputs: input 'tag'"),
    ],
)
def test_each_problem_has_the_line_of_its_key(text: str, right: str, wrong: str, words: str) -> None:
    pad = len(next(line for line in text.splitlines() if "uses: git-clone" in line)) - len("- uses: git-clone")
    right, wrong = (one.replace("\n", "\n" + " " * pad) for one in (right, wrong))
    broken = text.replace(right, wrong)
    assert broken != text
    (problem, *more) = [found for found in check(broken, "f.yaml").problems if words in found.text]
    assert not more
    line = broken.splitlines()[problem.line - 1]
    key = "inputs" if "inputs" in words else wrong.splitlines()[0].strip().split(":")[0]
    if "twice" in words or words == "did you mean":
        key = "ref" if "twice" in words else "uses"
    assert key in line


def test_a_required_field_is_missed_at_the_config_and_all_problems_are_told_at_once() -> None:
    text = "uses: gha-dispatch-workflow\nconfig:\n  owner: a\n  repo: b/c\n"
    found = [(problem.line, problem.text) for problem in check(text, "f").problems]
    assert (2, "config.workflowFile: is required") in found
    assert (2, "config.ref: is required") in found
    assert any(line == 4 and text.startswith("config.repo: ") for line, text in found)


@pytest.mark.parametrize(("right", "wrong"), [("runID", "runId"), ("config", "confg")])
def test_one_typo_is_one_problem(right: str, wrong: str) -> None:
    step = "uses: gha-wait-for-workflow\nconfig: {repoURL: 'https://github.com/a/b', runID: 1}\n"
    (problem,) = check(step.replace(right, wrong), "f").problems
    assert problem.text.endswith(f"did you mean {right}?")


def test_what_only_the_whole_config_tells_is_told() -> None:
    text = (
        "uses: gha-dispatch-workflow\nconfig:\n  owner: a\n  repo: b\n  workflowFile: d.yml\n  ref: main\n"
        "  correlationInput: gha_step\n  inputs: {gha_step: x}\n"
    )
    (problem,) = check(text, "f").problems
    assert (problem.line, "is filled by this step" in problem.text) == (8, True)


def test_credentials_are_needed_in_a_promotion_but_not_in_a_step_for_run() -> None:
    step = "uses: gha-wait-for-workflow\nconfig: {owner: a, repo: b, runID: 1}\n"
    assert check(step, "f").problems == ()
    (problem,) = check("steps:\n- " + step.replace("\n", "\n  ", 1), "f").problems
    assert problem.text == "config.credentials: is required"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "contains no step"),
        ("kind: Deployment\nspec: {steps: [{uses: gha-dispatch-workflow}]}", "contains no step"),
        ("kind: Stage\nspec: 5", "contains no step"),
        ("- uses: git-clone", "gha-dispatch-workflow`, .*gha-wait-for-workflow` or .*gha-cancel-workflow`"),
        ("a: [", "f:1: is not YAML"),
        ("a: b: c", "f:1: is not YAML"),
        ("[" * 200, "nested deeper"),
        ("x" * (1 << 20) + "y", "larger than"),
        ("\0", "is not YAML"),
        ("a: {" + ",".join(f"k{n}: v" for n in range(30_000)) + "}", "more keys and values"),
        ("a: " + "9" * 5000, "contains no step"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"a{n + 1}: &a{n + 1} [{','.join(['*a' + str(n or '')] * 10)}]\n" for n in range(8)),
            "aliases",
        ),
    ],
)
def test_a_file_without_steps_or_that_is_no_template_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check(text, "f")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(
            ("12:30", "12:30"),
            ("2026-11-29", "2026-11-29"),
            ("1234e567", "1234e567"),
            ("1.0e400", "1.0e400"),
            ("=", "="),
        ),
        *(("1e3", 1000.0), ("1234e5", 123_400_000.0), ("08", 8.0), ("1.10", 1.1), (".5", 0.5), ("5.", 5.0)),
        *(("017", 15), ("0o17", 15), ("0x1F", 31), ("-0b11", -3), ("1_000", 1000), ("0", 0), ("00", 0)),
        *(("18446744073709551615", 2**64 - 1), ("18446744073709551616", 2.0**64), ("-9223372036854775808", -(2**63))),
        *(("9" * 5000, "9" * 5000), ("yes", True), ("Off", False), ("y", "y"), ("~", None), ("", None)),
        *(("'1e3'", "1e3"), ("!!str 08", "08"), ("!!int x", "x")),
    ],
)
def test_bare_words_are_what_kubernetes_tools_make_of_them(word: str, value: object) -> None:
    (document,) = documents(f"a: {word}", "f")
    assert (document.value["a"], type(document.value["a"])) == (value, type(value))


MERGED = """\
- uses: gha-dispatch-workflow
  config: &all
    repoURL: https://github.com/a/b
    workflowFile: d.yml
    ref: main
- uses: gha-dispatch-workflow
  config:
    ref: next
    <<: [*all, {ref: other, timeout: 60}]
"""


def test_what_a_merge_key_brings_is_as_good_as_written() -> None:
    assert check(MERGED, "f").problems == ()
    (problem,) = check(MERGED.replace("timeout: 60", "timeout: 900"), "f").problems
    assert (problem.line, problem.text.startswith("config.timeout: 900 is too large")) == (9, True)
    assert [document.value[1]["config"]["ref"] for document in documents(MERGED, "f")] == ["next"]


TASKS = """\
kind: Stage
spec:
  promotionTemplate:
    spec:
      steps:
      - task: {kind: ClusterPromotionTask, name: gha-dispatch-workflow}
        as: dispatch
        vars:
        - {name: owner, value: myorg}
        - {name: repo, value: my-app}
        - {name: workflowFile, value: deploy.yml}
        - {name: ref, value: "${{ vars.ref }}"}
        - {name: timeout, value: "120"}
        - {name: serviceURL, value: http://x}
        - name: inputs
          value: |
            {"environment": "${{ ctx.stage }}"}
      - task: {name: of-somebody-else}
"""


def test_the_variables_of_our_tasks_are_checked_and_other_tasks_are_noted() -> None:
    checked = check(TASKS, "f")
    assert (checked.steps, checked.problems) == (1, ())
    (note,) = checked.notes
    assert (note.line, "'of-somebody-else' is not checked here" in note.text) == (18, True)


@pytest.mark.parametrize(
    ("right", "wrong", "line", "words"),
    [
        ("name: workflowFile", "name: workflowFileName", 11, "'workflowFileName' is not a variable of this task; did"),
        ("value: my-app", "value: my/app", 10, "vars: repo: "),
        ('value: "120"', 'value: "900"', 13, "vars: timeout: "),
        ("gha-dispatch-workflow", "gha-dispatch-workflows", 6, "did you mean gha-dispatch-workflow?"),
        ("        - {name: workflowFile, value: deploy.yml}\n", "", 9, "vars: workflowFile: is required"),
    ],
)
def test_each_problem_of_a_tasks_variables_has_its_line(right: str, wrong: str, line: int, words: str) -> None:
    assert right in TASKS
    (problem,) = [found for found in check(TASKS.replace(right, wrong), "f").problems if words in found.text]
    assert problem.line in (line, 8)


def test_the_command_prints_places_and_ends_with_one_or_two(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text("uses: gha-wait-for-workflow\nconfig: {repoURL: 'https://github.com/a/b'}\n")
    done = run_here("check", str(good))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{good}: 2 steps, no problem\n", "")
    done = run_here("check", str(tmp_path / "none"), str(bad), str(good))
    assert done.returncode == 1
    assert f"{bad}:2: config.runID: is required\n" in done.stdout
    assert f"{good}: 2 steps, no problem" in done.stdout
    assert "none cannot be read" in done.stderr
    done = run_here("check", str(good), str(tmp_path / "none"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


# ---------------------------------------------------------------- with a token


ONLINE = """\
- uses: gha-dispatch-workflow
  as: deploy
  config:
    credentials: {secretName: x}
    owner: myorg
    repo: my-app
    workflowFile: deploy.yml
    ref: main
    inputs:
      environment: test
      image_tag: ${{ imageFrom(vars.repo).Tag }}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("", "", None),
        ("image_tag:", "tag:", "'tag' is not declared"),
        ("environment: test", "other: test", "'environment' is required and not given"),
        ("deploy.yml", "none.yml", "no .github/workflows/none.yml on main: correct workflowFile"),
        ("repo: my-app", "repo: none", "the token in GH_TOKEN cannot see myorg/none at all: correct owner or repo"),
        ("ref: main", "ref: none", "there is no branch or tag none: push it or correct ref"),
        ("deploy.yml", "pushed.yml", "no `workflow_dispatch:`"),
        ("ref: main", "ref: main\n    correlationInput: gha_step", "'gha_step' is not declared"),
        ("ref: main", "ref: ${{ vars.ref }}", None),  # nobody knows which file that is
    ],
)
def test_with_a_token_inputs_are_compared_with_the_workflow_file(
    machine: Shell, right: str, wrong: str, words: str | None
) -> None:
    machine.github.repository("myorg/my-app").add_workflow("pushed.yml", "on: push\njobs: {}\n")
    file = machine.folder / "steps.yaml"
    file.write_text(ONLINE.replace(right, wrong) if right else ONLINE)
    assert run_here("check", str(file), **machine.variables).returncode == 0
    assert machine.github.log == []  # offline, unless it is asked for
    done = run_here("check", str(file), "--online", **machine.variables)
    assert done.returncode == (0 if words is None else 1), done.stdout + done.stderr
    assert (words or "no problem") in done.stdout
    if words is not None:
        assert f"{file}:{1 + file.read_text().splitlines().index('    inputs:')}: deploy: myorg/" in done.stdout
    assert machine.github.count("dispatch") == 0


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("wrong-token-1", "the token in GH_TOKEN is wrong, expired or revoked: renew it"),
        ("without-contents-1", "give the token in GH_TOKEN the permission Contents: read on this repository"),
    ],
)
def test_a_token_that_github_refuses_is_told_with_the_fix(machine: Shell, token: str, words: str) -> None:
    machine.github.add_token(Token("without-contents-1", kind="fine-grained", contents="none"))
    file = machine.folder / "steps.yaml"
    file.write_text(ONLINE)
    done = run_here("check", str(file), "--online", **{**machine.variables, "GH_TOKEN": token})
    assert (done.returncode, words in done.stdout, token in done.stdout) == (1, True, False), done.stdout


TASK = """\
kind: PromotionTask
metadata: {name: deploy}
spec:
  vars:
  - {name: repo, value: my-app}
  - {name: file, value: deploy.yml}
  - {name: ref}
  - {name: inputs, value: '{"environment": "${{ ctx.stage }}", "image_tag": "${{ vars.tag }}"}'}
  steps:
  - uses: gha-dispatch-workflow
    as: dispatch
    config:
      credentials: {secretName: x}
      owner: myorg
      repo: ${{ vars.repo }}
      workflowFile: ${{ vars.file }}
      ref: ${{ vars.ref }}
      inputs: ${{ vars.inputs }}
"""
STAGE = """\
---
kind: Stage
metadata: {name: test}
spec:
  vars: [{name: branch, value: main}]
  promotionTemplate:
    spec:
      steps:
      - as: deployment
        task: {name: deploy}
        vars:
        - {name: ref, value: "${{ vars.branch }}"}
"""
OURS = """\
kind: Stage
spec:
  vars: [{name: file, value: deploy.yml}]
  promotionTemplate:
    spec:
      steps:
      - as: deploy
        task: {kind: ClusterPromotionTask, name: gha-dispatch-workflow}
        vars:
        - {name: owner, value: myorg}
        - {name: repo, value: my-app}
        - {name: workflowFile, value: "${{ vars.file }}"}
        - {name: ref, value: main}
        - {name: inputs, value: '{"environment": "test", "image_tag": "${{ vars.tag }}"}'}
"""


@pytest.mark.parametrize(
    ("text", "right", "wrong", "words"),
    [
        (TASK, "", "", "note: dispatch: not compared with its workflow file: ref contains an expression"),
        (TASK, "- {name: ref}", "- {name: ref, value: main}", None),
        (TASK, "- {name: ref}", "- {name: ref, value: none}", "workflow deploy.yml on ref none: "),
        (TASK + STAGE, "", "", None),
        (TASK + STAGE, '"environment"', '"other"', "'environment' is required and not given"),
        (TASK + STAGE, "value: main", "value: none", "deployment: dispatch: myorg/my-app workflow deploy.yml on ref"),
        (TASK + STAGE, "{name: ref,", "{name: inputs, value: '{}'}\n        - {name: ref,", "'image_tag' is required"),
        (TASK + STAGE, "${{ vars.branch }}", "${{ outputs.a.b }}", "note: deployment: dispatch: not compared"),
        (OURS, "", "", None),
        (OURS, '"image_tag"', '"tag"', "deploy: myorg/my-app workflow deploy.yml on ref main: 'tag' is not declared"),
        (OURS, "value: deploy.yml", "value: none.yml", "no .github/workflows/none.yml on main"),
        (OURS, "value: main", 'value: "${{ ctx.targetFreight.name }}"', "note: deploy: not compared"),
    ],
)  # fmt: skip
def test_variables_whose_values_the_file_holds_are_compared_too_and_others_are_named(
    machine: Shell, text: str, right: str, wrong: str, words: str | None
) -> None:
    assert right in text
    file = machine.folder / "steps.yaml"
    file.write_text(text.replace(right, wrong) if right else text)
    done = run_here("check", str(file), "--online", **machine.variables)
    assert done.returncode == (0 if words is None or words.startswith("note: ") else 1), done.stdout + done.stderr
    assert (words or "1 step, no problem") in done.stdout
    assert ("note: " in done.stdout) == (words or "").startswith("note: ")


@pytest.mark.parametrize(
    ("text", "right", "wrong", "words"),
    [
        (TASK, "value: deploy.yml", "value: a/deploy.yml", "dispatch: config.workflowFile: 'a/deploy.yml' contains"),
        (TASK, '\'{"environment"', '\'{"environment" "x"', None),  # an expression is still in it
        (TASK, TASK.partition("name: inputs, value: ")[2].partition("}\n")[0], "'{'", "config.inputs: "),
        (TASK + STAGE, "{name: ref,", "{name: repo, value: a/b}\n        - {name: ref,", "config.repo: 'a/b'"),
        (OURS, "value: deploy.yml", "value: a/deploy.yml", "vars: workflowFile: 'a/deploy.yml' contains"),
    ],
)  # fmt: skip
def test_what_the_file_says_of_a_variable_is_checked_offline(
    text: str, right: str, wrong: str, words: str | None
) -> None:
    assert right in text
    problems = check(text.replace(right, wrong), "f").problems
    assert len(problems) == (words is not None)
    assert all(str(words) in found.text for found in problems)


def test_variables_that_double_each_other_stay_small() -> None:
    doubling = [f"  - {{name: v{n}, value: '{'x' if n == 0 else f'${{{{ vars.v{n - 1} }}}}' * 2}'}}" for n in range(60)]
    variables = "\n".join(["  vars:", *doubling, ""])
    checked = check(TASK.replace("  vars:\n", variables).replace("vars.ref", "vars.v59"), "f")
    assert (checked.problems, len(checked.incomparable)) == ((), 1)


def test_online_needs_a_token(machine: Shell) -> None:
    file = machine.folder / "steps.yaml"
    file.write_text(ONLINE)
    done = run_here("check", str(file), "--online", **{**machine.variables, "GH_TOKEN": ""})
    assert (done.returncode, "no token: set GH_TOKEN" in done.stderr) == (2, True)
