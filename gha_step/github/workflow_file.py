"""A workflow file's declared inputs, and what is wrong with those that a step is about to send. Pure.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#onworkflow_dispatchinputs
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gha_step.contract.json_text import parse_json
from gha_step.github.messages import Answer

MAX_FILE: Final = 1 << 20  # bytes; the contents API gives no more of a file
MAX_DEPTH: Final = 100  # of lists and mappings within each other; a workflow needs about ten
_EMPTY: Final = frozenset({"", "~", "null", "Null", "NULL"})  # how YAML writes that there is nothing


class Unreadable(ValueError):
    """The file does not tell what its inputs are; the text says why."""


class DeclaredInput(NamedTuple):
    """One input under ``on.workflow_dispatch.inputs``. ``type``: string, boolean, choice, number or environment."""

    name: str
    type: str
    required: bool
    has_default: bool
    options: tuple[str, ...]


def file_text(answer: Answer) -> str:
    """The text of a file in the 200 of the contents API.

    :raises Unreadable: there is none in it.
    """
    try:
        content = base64.b64decode(parse_json(answer.body)["content"])  # not yet text: in it a token is in base64
        text = content.decode()
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise Unreadable("the workflow file is not a text file") from None
    if len(content) > MAX_FILE:
        raise Unreadable("the workflow file is too large")
    return answer.hide(text)


def declared_inputs(text: str) -> tuple[DeclaredInput, ...] | None:
    """The inputs that a workflow declares; ``None`` if it has no ``workflow_dispatch`` trigger.

    :raises Unreadable: it is no workflow file.
    """
    workflow = _read(text)
    if not isinstance(workflow, dict):
        raise Unreadable("the workflow file is not a workflow")
    triggers = workflow.get("on")
    if isinstance(triggers, str):
        triggers = [triggers]
    if isinstance(triggers, list):
        return () if "workflow_dispatch" in triggers else None
    if not isinstance(triggers, dict):
        raise Unreadable("the workflow file has no triggers under `on`")
    if "workflow_dispatch" not in triggers:
        return None
    dispatch = triggers["workflow_dispatch"]
    inputs = dispatch.get("inputs") if isinstance(dispatch, dict) else None
    if not inputs or (isinstance(inputs, str) and inputs in _EMPTY):
        return ()
    if not isinstance(inputs, dict):
        raise Unreadable("the workflow file's inputs are not a mapping")
    return tuple(_declared(name, given) for name, given in inputs.items())


def _read(text: str) -> object:
    """YAML, of which nothing but strings, lists and mappings is made: `on`, `yes` and 1.10 are words to GitHub.

    libyaml takes tabs where GitHub does and PyYAML's own scanner does not; where it is missing, such a file is
    unreadable.
    """
    import yaml  # type: ignore[import-untyped]  # only a step with validateInputs needs it

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):  # the loader itself recurses in C, and would break the process
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise RecursionError
        return yaml.load(text, Loader=loader)  # noqa: S506  it constructs no objects, and knows no tags
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        raise Unreadable("the workflow file is not YAML") from None


def _declared(name: str, given: Any) -> DeclaredInput:
    given = given if isinstance(given, dict) else {}
    kind, options = given.get("type"), given.get("options")
    return DeclaredInput(
        name=name,
        type=kind if isinstance(kind, str) else "string",
        required=str(given.get("required")).lower() == "true",
        has_default="default" in given,
        options=tuple(options) if isinstance(options, list) and all(isinstance(one, str) for one in options) else (),
    )


def input_problems(declared: tuple[DeclaredInput, ...], inputs: Mapping[str, str]) -> list[str]:
    """What GitHub would refuse, in words; values are not repeated."""
    known = {declaration.name.lower(): declaration for declaration in declared}
    given = {name.lower(): value for name, value in inputs.items()}
    problems = []
    for name in inputs:
        if name.lower() not in known:
            names = ", ".join(declaration.name for declaration in declared) or "no inputs"
            problems.append(f"{name!r} is not declared (the workflow declares {names})")
    for key, declaration in known.items():
        if key not in given:
            if declaration.required and not declaration.has_default:
                problems.append(f"{declaration.name!r} is required and not given")
            continue
        problems += _misfit(declaration, given[key])
    return problems


def _misfit(declaration: DeclaredInput, value: str) -> list[str]:
    name, leave_out = declaration.name, "; to take its default leave it out (null), do not send ''"
    match declaration.type:
        case "boolean" if value not in ("true", "false"):
            return [f"{name!r} is a boolean: send true or false{leave_out if not value else ''}"]
        case "choice" if declaration.options and not any(_same(value, option) for option in declaration.options):
            choices = ", ".join(declaration.options)
            return [f"{name!r} must be one of {choices}{leave_out if not value else ''}"]
        case "number":
            if _number(value) is None:
                return [f"{name!r} must be a number{leave_out if not value else ''}"]
    return []


def _same(value: str, option: str) -> bool:
    """Whether they may be the same to GitHub, of which it is not known how it spells a bare 1.10 or True."""
    number = _number(value)
    return value.lower() == option.lower() or (number is not None and number == _number(option))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
