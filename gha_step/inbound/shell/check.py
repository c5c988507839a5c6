"""Checks the steps of a file offline, and reports each problem with its line. Pure.

Only Kargo evaluates expressions, so a value with one is assumed to be right unless the file itself has its value.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from gha_step.contract.errors import ConfigError
from gha_step.contract.json_text import parse_json
from gha_step.contract.quoting import quoted
from gha_step.contract.values import ConfigModel, wire_names
from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.variables import Known, at, declared, filled, is_open, of_object, passed
from gha_step.inbound.shell.yaml_lines import Document, Path, documents
from gha_step.steps.cancel import config as cancel
from gha_step.steps.dispatch import config as dispatch
from gha_step.steps.wait import config as wait

CONFIGS: Final[dict[str, type[ConfigModel]]] = {
    dispatch.KIND: dispatch.DispatchWorkflowConfig,
    wait.KIND: wait.WaitForWorkflowConfig,
    cancel.KIND: cancel.CancelWorkflowConfig,
}
_TASK_VARIABLES: Final = {"secretName", "serviceURL"}  # of deploy/tasks, besides the fields of the config
_NEEDED: Final = ("repoURL", "owner", "repo", "workflowFile", "ref", "correlationInput")  # to compare a dispatch
_OF_A_STEP: Final = frozenset({"as", "config", "continueOnError", "if", "retry", "task", "uses", "vars"})
_STEPS: Final[dict[str, Path]] = {  # where each kind of Kargo's objects has its steps
    "Promotion": ("spec", "steps"),
    "PromotionTask": ("spec", "steps"),
    "ClusterPromotionTask": ("spec", "steps"),
    "Stage": ("spec", "promotionTemplate", "spec", "steps"),
}


@dataclass(frozen=True)
class Found:
    """One problem of a file."""

    line: int
    text: str


@dataclass(frozen=True)
class Dispatch:
    """A step whose workflow file can be read: all of where it lies is known, and the names of all inputs.

    ``line``: of its inputs. ``open_inputs``: those whose values Kargo evaluates.
    """

    line: int
    subject: str
    config: dispatch.DispatchWorkflowConfig
    open_inputs: frozenset[str]


@dataclass(frozen=True)
class Checked:
    """What came of a file: how many steps of ours it holds, what is wrong with it, and what was not looked into.

    :param incomparable: which dispatches cannot be compared with their workflow files, and why.
    """

    steps: int
    problems: tuple[Found, ...]
    notes: tuple[Found, ...] = ()
    dispatches: tuple[Dispatch, ...] = ()
    incomparable: tuple[Found, ...] = ()


def check(text: str, name: str) -> Checked:
    """The problems of all steps in a file: a step, a list of steps, a Promotion, PromotionTask or Stage.

    :raises UsageError: it is not YAML, or holds no step of ours.
    """
    parsed = documents(text, name)
    checking = _Checking({_task_name(document.value): document for document in parsed if _is_task(document.value)})
    for document in parsed:
        known = of_object(document.value)
        for path in _step_paths(document):
            checking.lookat(document, path, known)
    if not checking.steps and not checking.notes:
        raise UsageError(
            f"{name}: contains no step to check: write a step with `uses: {dispatch.KIND}`, `uses: {wait.KIND}` "
            "or `uses: "
            f"{cancel.KIND}`, or a Promotion, PromotionTask, ClusterPromotionTask or Stage with one"
        )
    return checking.result()


class _Checking:
    """What has been found in one file so far."""

    def __init__(self, tasks: "dict[tuple[str, str], Document]") -> None:
        self._tasks = tasks
        self._called: set[tuple[str, str]] = set()
        self.steps = 0
        self._problems: set[Found] = set()
        self.notes: list[Found] = []
        self._compared: list[tuple[tuple[str, str] | None, Dispatch | Found]] = []  # of which task of this file

    def lookat(self, document: Document, path: Path, known: Known) -> None:
        """One step of an object for whose variables ``known`` is."""
        step = at(document.value, path)
        task = step.get("task")
        if task is None:
            own = _task_name(document.value) if _is_task(document.value) else None
            found = self._own(document, path, known, own=own)
        elif (called := _called(task)) in self._tasks:
            self._called.add(called)
            self._call(self._tasks[called], step, known)
            return
        else:
            found = _task(document, path, task, known)
            if found == []:
                self._compare(None, _comparable(*_of_task(document, path, known), alone=False))
        if found is not None:
            self.steps += 1
            self._problems.update(found)
        elif task is not None:
            line = document.line((*path, "task"))
            self.notes.append(
                Found(line, f"the task {_named(task)} is not checked here: check the file that defines it")
            )

    def _call(self, task: Document, step: dict[str, Any], known: Known) -> None:
        """The steps of a task of this file, with the variables that one step passes."""
        values = passed(step.get("vars"), known, of_object(task.value))
        for path in _step_paths(task):
            if at(task.value, (*path, "task")) is None:
                self._problems.update(self._own(task, path, values, subject=_subject(step)) or ())

    def _own(
        self, document: Document, path: Path, known: Known, *, own: tuple[str, str] | None = None, subject: str = ""
    ) -> list[Found] | None:
        found = _step(document, path, known)
        if found == []:
            # A step that stands alone may be meant for `gha-step run`, which brings the token.
            alone = isinstance(document.value, dict) and not path
            step = at(document.value, path)
            config = _config_of(step, known)
            line = document.line((*path, "config", "inputs"))
            self._compare(own, _comparable(step["uses"], config, line, subject + _subject(step), alone=alone))
        return found

    def _compare(self, task: tuple[str, str] | None, found: "Dispatch | Found | None") -> None:
        if found is not None:
            self._compared.append((task, found))

    def result(self) -> Checked:
        """All of it, in the order of the file."""
        # Of a task that is called in this file, the calls say more than its own defaults.
        compared = [found for task, found in self._compared if task is None or task not in self._called]
        return Checked(
            self.steps,
            tuple(sorted(self._problems, key=lambda problem: (problem.line, problem.text))),
            tuple(self.notes),
            tuple(found for found in compared if isinstance(found, Dispatch)),
            tuple(found for found in compared if isinstance(found, Found)),
        )


def _is_task(value: Any) -> bool:
    return isinstance(value, dict) and value.get("kind") in ("PromotionTask", "ClusterPromotionTask")


def _task_name(value: Any) -> tuple[str, str]:
    return str(value["kind"]), str(at(value, ("metadata", "name")))


def _called(task: Any) -> tuple[str, str]:
    """Kind and name of the task that a step calls."""
    given = task if isinstance(task, dict) else {}
    return str(given.get("kind", "PromotionTask")), str(given.get("name"))


def _step_paths(document: Document) -> Iterator[Path]:
    value = document.value
    if isinstance(value, dict) and "uses" in value:
        yield ()
        return
    path: Path | None = ()
    if isinstance(value, dict):
        path = _STEPS.get(str(value["kind"])) if "kind" in value else ("steps",)
    steps = None if path is None else at(value, path)
    if path is not None and isinstance(steps, list):
        yield from ((*path, index) for index, step in enumerate(steps) if isinstance(step, dict))


def _named(task: Any) -> str:
    return quoted(task["name"]) if isinstance(task, dict) and isinstance(task.get("name"), str) else "without a name"


def _task(document: Document, path: Path, task: Any, known: Known) -> list[Found] | None:
    """What is wrong with the variables of a task of deploy/tasks, which are a config; ``None``: it is none of ours."""
    kind = task.get("name") if isinstance(task, dict) else None
    if kind not in CONFIGS:
        near = _near(kind) if isinstance(kind, str) else None
        line = document.line((*path, "task", "name"))
        return None if near is None else [Found(line, f"task.name: did you mean {near}?")]
    problems: list[Found] = []
    places: dict[str, Path] = {}
    fields = {*wire_names(CONFIGS[kind]), *_TASK_VARIABLES} - {"credentials"}
    for index, name in _variables(document, path):
        place = (*path, "vars", index)
        if name in fields:
            places[name] = place
            continue
        close = _near(name, fields) if isinstance(name, str) else None
        fix = f"did you mean {close}?" if close else f"the variables are {', '.join(sorted(fields))}"
        problems.append(Found(document.line(place), f"vars: {quoted(name)} is not a variable of this task; {fix}"))
    for where, words in _config(str(kind), _of_task(document, path, known)[1], alone=False):
        field = str(where[0]) if where else "vars"
        place = places.get(field, (*path, "vars"))
        problems.append(Found(document.line(place), f"vars: {field}: {words}"))
    return problems


def _variables(document: Document, path: Path) -> Iterator[tuple[int, Any]]:
    """Index and name of each variable that a step passes to its task."""
    variables = at(document.value, (*path, "vars"))
    for index, variable in enumerate(variables if isinstance(variables, list) else ()):
        yield index, variable.get("name") if isinstance(variable, dict) else None


def _of_task(document: Document, path: Path, known: Known) -> tuple[str, dict[str, Any], int, str]:
    """What a step asks of a task of deploy/tasks: kind, config, the line of its inputs, and the subject."""
    step = at(document.value, path)
    kind, line = step["task"]["name"], document.line((*path, "vars"))
    config: dict[str, Any] = {}
    for index, name in _variables(document, path):
        if name in wire_names(CONFIGS[kind]):
            config[name] = filled(at(document.value, (*path, "vars", index)).get("value"), known)
            if name == "inputs":
                line = document.line((*path, "vars", index))
    if "repoURL" not in config:
        config["credentials"] = {"secretName": "github-credentials"}  # the task's default
    return kind, config, line, _subject(step)


def _subject(step: Mapping[str, Any]) -> str:
    return f"{step['as']}: " if isinstance(step.get("as"), str) else ""


def _config_of(step: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """A step's config with what is known of the variables that it names."""
    config: dict[str, Any] = filled(step["config"], declared(step.get("vars"), known))
    return config


def _step(document: Document, path: Path, known: Known) -> list[Found] | None:
    """What is wrong with one step; ``None``: it is none of ours."""
    step = at(document.value, path)
    uses = step.get("uses")
    if not isinstance(uses, str) or uses not in CONFIGS:
        near = _near(uses) if isinstance(uses, str) else None
        return None if near is None else [Found(document.line((*path, "uses")), f"uses: did you mean {near}?")]
    subject = _subject(step)
    found = [
        Found(line, f"{subject}{'.'.join(map(str, twice[len(path) :]))}: is given twice; the last one is used")
        for twice, line in document.twice
        if twice[: len(path)] == path
    ]
    wrong = beside_config(step)
    found += [Found(document.line((*path, key)), f"{subject}{key}: {words}") for key, words in wrong]
    config = step.get("config")
    if config is None and any(words.endswith("did you mean config?") for _, words in wrong):
        return found
    if not isinstance(config, dict):
        words = "is required" if config is None else "must be an object"
        return [*found, Found(document.line((*path, "config")), f"{subject}config: {words}")]
    alone = isinstance(document.value, dict) and not path
    for where, words in _config(str(uses), _config_of(step, known), alone=alone):
        field = ".".join(["config", *map(str, where)])
        found.append(Found(document.line((*path, "config", *where)), f"{subject}{field}: {words}"))
    return found


def beside_config(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a step's own fields: each key, and words."""
    found = []
    for key in step.keys() - _OF_A_STEP:
        near = _near(key.lower(), _OF_A_STEP)
        fix = f"did you mean {near}?" if near else f"the fields are {', '.join(sorted(_OF_A_STEP))}"
        found.append((key, f"is not a field of a step; {fix}"))
    if not isinstance(step.get("as"), str | None):
        found.append(("as", f"must be a string, but is {quoted(step['as'])}: quote it"))
    return sorted(found)


def _comparable(kind: str, config: dict[str, Any], line: int, subject: str, *, alone: bool) -> Dispatch | Found | None:
    """A dispatch that can be compared with its workflow file, or why it cannot; ``None``: it is no dispatch."""
    if kind != dispatch.KIND:
        return None
    inputs = config.get("inputs")
    if is_open(inputs):  # JSON whose texts hold expressions, perhaps
        with suppress(ValueError):
            inputs = parse_json(inputs)
    opened = next((name for name in _NEEDED if is_open(config.get(name))), "inputs" if is_open(inputs) else None)
    if opened is not None:
        why = f"{opened} contains an expression, which only Kargo evaluates"
        return Found(line, f"{subject}not compared with its workflow file: {why}")
    rest = {name: value for name, value in config.items() if not is_open(value) and name != "inputs"}
    whole = rest if inputs is None else {**rest, "inputs": inputs}
    parsed, _ = dispatch.DispatchWorkflowConfig.judge(_fillable(whole, alone=alone))
    if parsed is None:
        return None
    given = inputs.items() if isinstance(inputs, dict) else ()
    return Dispatch(line, subject, parsed, frozenset(name for name, value in given if is_open(value)))


def _fillable(config: Mapping[str, Any], *, alone: bool) -> dict[str, Any]:
    """The config with a text in the place of each expression below its fields, and with the token of `gha-step run`."""
    given = {
        name: {key: "x" if is_open(one) else one for key, one in inner.items()} if isinstance(inner, dict) else inner
        for name, inner in config.items()
    }
    if alone and "repoURL" not in config and "credentials" not in config:
        given["credentials"] = {"secretName": "token"}
    return given


def _near(written: str, known: Iterable[str] = CONFIGS) -> str | None:
    from difflib import get_close_matches  # only a typo needs it

    return next(iter(get_close_matches(written, list(known), n=1, cutoff=0.75)), None)


def _config(kind: str, config: Mapping[str, Any], *, alone: bool) -> Iterator[tuple[Path, str]]:
    known = wire_names(CONFIGS[kind])
    evaluated = {name for name in known if is_open(config.get(name))}
    given = _fillable(config, alone=alone)
    parsed, problems = CONFIGS[kind].judge(given)
    for where, words in problems:
        if where and where[0] not in evaluated:
            yield where, words
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
