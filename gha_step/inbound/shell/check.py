"""What is wrong with the steps of a file, told offline, each problem with its line. Pure.

An expression is evaluated by Kargo only, so a value that holds one is taken as right.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gha_step.contract.errors import ConfigError
from gha_step.contract.quoting import quoted
from gha_step.contract.values import ConfigModel, wire_names
from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.yaml_lines import Document, Path, documents
from gha_step.steps.cancel import config as cancel
from gha_step.steps.dispatch import config as dispatch
from gha_step.steps.wait import config as wait

CONFIGS: Final[dict[str, type[ConfigModel]]] = {
    dispatch.KIND: dispatch.DispatchWorkflowConfig,
    wait.KIND: wait.WaitForWorkflowConfig,
    cancel.KIND: cancel.CancelWorkflowConfig,
}
EXPRESSION: Final = "${{"
_TASK_VARIABLES: Final = {"secretName", "serviceURL"}  # of deploy/tasks, besides the fields of the config
_TEMPLATE: Final[Path] = ("spec", "promotionTemplate", "spec", "steps")
_STEPS: Final[dict[str, Path]] = {  # where each kind of Kargo's objects has its steps
    "Promotion": ("spec", "steps"),
    "PromotionTask": ("spec", "steps"),
    "ClusterPromotionTask": ("spec", "steps"),
    "Stage": _TEMPLATE,
}
# What people bring from elsewhere, where no field's name is near enough to say what to do.
_INSTEAD: Final = {
    (wait.KIND, "timeout"): "is not a field of this step: Kargo ends a step by retry.timeout, which stands beside "
    "config: retry: {timeout: 30m}",
    (wait.KIND, "retry"): "stands beside config, not in it",
    (dispatch.KIND, "retry"): "stands beside config, not in it",
}


@dataclass(frozen=True)
class Found:
    """One problem of a file."""

    line: int
    text: str


@dataclass(frozen=True)
class Dispatch:
    """A step whose workflow file can be read: nothing of where it lies is an expression.

    ``line``: of its inputs. ``open_inputs``: those whose values Kargo evaluates.
    """

    line: int
    subject: str
    config: dispatch.DispatchWorkflowConfig
    open_inputs: frozenset[str]


@dataclass(frozen=True)
class Checked:
    """What came of a file: how many steps of ours it holds, what is wrong with it, and what was not looked into."""

    steps: int
    problems: tuple[Found, ...]
    notes: tuple[Found, ...] = ()
    dispatches: tuple[Dispatch, ...] = ()


def check(text: str, name: str) -> Checked:
    """The problems of all steps in a file: a step, a list of steps, a Promotion, PromotionTask or Stage.

    :raises UsageError: it is not YAML, or holds no step of ours.
    """
    steps = 0
    problems: list[Found] = []
    notes: list[Found] = []
    dispatches: list[Dispatch] = []
    for document in documents(text, name):
        for path in _step_paths(document):
            task = _at(document.value, (*path, "task"))
            found = _step(document, path) if task is None else _task(document, path, task)
            if found is not None:
                steps += 1
                problems += found
                if not found and task is None and (sends := _dispatch(document, path)) is not None:
                    dispatches.append(sends)
            elif task is not None:
                line = document.line((*path, "task"))
                notes.append(Found(line, f"the task {_named(task)} is not looked into: check the file that holds it"))
    if not steps and not notes:
        raise UsageError(
            f"{name}: holds no step to check: write a step with `uses: {dispatch.KIND}` or `uses: {wait.KIND}`, or a "
            "Promotion, PromotionTask, ClusterPromotionTask or Stage with one"
        )
    return Checked(steps, tuple(sorted(problems, key=lambda problem: problem.line)), tuple(notes), tuple(dispatches))


def _step_paths(document: Document) -> Iterator[Path]:
    value = document.value
    if isinstance(value, dict) and "uses" in value:
        yield ()
        return
    path: Path | None = ()
    if isinstance(value, dict):
        path = _STEPS.get(str(value["kind"])) if "kind" in value else ("steps",)
    steps = None if path is None else _at(value, path)
    if path is not None and isinstance(steps, list):
        yield from ((*path, index) for index, step in enumerate(steps) if isinstance(step, dict))


def _named(task: Any) -> str:
    return quoted(task["name"]) if isinstance(task, dict) and isinstance(task.get("name"), str) else "without a name"


def _task(document: Document, path: Path, task: Any) -> list[Found] | None:
    """What is wrong with the variables of a task of deploy/tasks, which are a config; ``None``: it is none of ours."""
    kind = task.get("name") if isinstance(task, dict) else None
    if kind not in CONFIGS:
        near = _near(kind) if isinstance(kind, str) else None
        line = document.line((*path, "task", "name"))
        return None if near is None else [Found(line, f"task.name: did you mean {near}?")]
    config: dict[str, Any] = {}
    places: dict[str, Path] = {}
    problems: list[Found] = []
    known = {*wire_names(CONFIGS[kind]), *_TASK_VARIABLES} - {"credentials"}
    variables = _at(document.value, (*path, "vars"))
    for index, variable in enumerate(variables if isinstance(variables, list) else ()):
        named = variable.get("name") if isinstance(variable, dict) else None
        place = (*path, "vars", index)
        if named in known:
            config[named], places[named] = variable.get("value"), place
            continue
        close = _near(named, known) if isinstance(named, str) else None
        fix = f"did you mean {close}?" if close else f"the variables are {', '.join(sorted(known))}"
        problems.append(Found(document.line(place), f"vars: {quoted(named)} is not a variable of this task; {fix}"))
    for name in _TASK_VARIABLES & config.keys():
        del config[name]
    if "repoURL" not in config:
        config["credentials"] = {"secretName": "github-credentials"}  # the task's default
    for where, words in _config(str(kind), config, alone=False):
        field = str(where[0]) if where else "vars"
        place = places.get(field, (*path, "vars"))
        problems.append(Found(document.line(place), f"vars: {field}: {words}"))
    return problems


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part] if isinstance(part, int) else value.get(part) if isinstance(value, dict) else None
    return value


def _step(document: Document, path: Path) -> list[Found] | None:
    """What is wrong with one step; ``None``: it is none of ours."""
    step = _at(document.value, path)
    uses = step.get("uses")
    if uses not in CONFIGS:
        near = _near(uses) if isinstance(uses, str) else None
        return None if near is None else [Found(document.line((*path, "uses")), f"uses: did you mean {near}?")]
    subject = f"{step['as']}: " if isinstance(step.get("as"), str) else ""
    found = [
        Found(line, f"{subject}{'.'.join(map(str, twice[len(path) :]))}: is there twice; the last one counts")
        for twice, line in document.twice
        if twice[: len(path)] == path
    ]
    config = step.get("config")
    if not isinstance(config, dict):
        words = "is required" if config is None else "must be an object"
        return [*found, Found(document.line((*path, "config")), f"{subject}config: {words}")]
    # A step that stands alone may be meant for `gha-step run`, which brings the token.
    alone = isinstance(document.value, dict) and not path
    for where, words in _config(str(uses), config, alone=alone):
        field = ".".join(["config", *map(str, where)])
        found.append(Found(document.line((*path, "config", *where)), f"{subject}{field}: {words}"))
    return found


def _dispatch(document: Document, path: Path) -> Dispatch | None:
    """A dispatch without a problem, if its workflow file can be named; inputs that are one text are not looked into."""
    step = _at(document.value, path)
    config = step["config"]
    if step["uses"] != dispatch.KIND or any(isinstance(one, str) and EXPRESSION in one for one in config.values()):
        return None
    alone = isinstance(document.value, dict) and not path
    parsed, _ = dispatch.DispatchWorkflowConfig.judge(_fillable(config, alone=alone))
    if parsed is None:
        return None
    inputs = config.get("inputs")
    found = inputs.items() if isinstance(inputs, dict) else ()
    opened = frozenset(name for name, value in found if isinstance(value, str) and EXPRESSION in value)
    subject = f"{step['as']}: " if isinstance(step.get("as"), str) else ""
    return Dispatch(document.line((*path, "config", "inputs")), subject, parsed, opened)


def _fillable(config: Mapping[str, Any], *, alone: bool) -> dict[str, Any]:
    """The config with a text in the place of each expression, and with the token that `gha-step run` brings."""
    given: dict[str, Any] = _without_expressions(dict(config))
    if alone and "repoURL" not in config and "credentials" not in config:
        given["credentials"] = {"secretName": "token"}
    return given


def _near(written: str, known: Iterable[str] = CONFIGS) -> str | None:
    from difflib import get_close_matches  # only a typo needs it

    return next(iter(get_close_matches(written, list(known), n=1, cutoff=0.75)), None)


def _config(kind: str, config: Mapping[str, Any], *, alone: bool) -> Iterator[tuple[Path, str]]:
    known = wire_names(CONFIGS[kind])
    evaluated = {name for name in known if isinstance(value := config.get(name), str) and EXPRESSION in value}
    given = _fillable(config, alone=alone)
    parsed, problems = CONFIGS[kind].judge(given)
    for where, words in problems:
        if where and where[0] not in evaluated:
            yield where, _INSTEAD.get((kind, str(where[0])), words)
    if isinstance(parsed, dispatch.DispatchWorkflowConfig):
        yield from _together(given)


def _together(config: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """What is wrong although each field is right."""
    from gha_step.steps.dispatch.step import parse_config

    try:
        parse_config(config)
    except ConfigError as error:
        field, _, words = str(error).partition(": ")
        yield tuple(field.split(".")[1:]), words


def _without_expressions(value: Any) -> Any:
    """The same, below the fields themselves, with a text in the place of each expression."""
    if not isinstance(value, dict):
        return value
    return {
        name: {key: "x" if isinstance(one, str) and EXPRESSION in one else one for key, one in inner.items()}
        if isinstance(inner, dict)
        else inner
        for name, inner in value.items()
    }
