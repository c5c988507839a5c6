"""What GitHub reads in a workflow file when it is dispatched: triggers, declared inputs, `run-name`.

It is read once, when it is added; nothing here knows of repositories or runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml  # type: ignore[import-untyped]  # types-PyYAML would be a dependency for these few lines

from .wire import Json

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_INDEX = re.compile(r"\[\s*'([^']*)'\s*\]")


@dataclass(frozen=True, slots=True)
class Declared:
    """One input under `on.workflow_dispatch.inputs`."""

    name: str
    type: str = "string"  # string, boolean, choice, number or environment
    required: bool = False
    default: str | None = None
    options: tuple[str, ...] = ()

    def allows(self, value: str) -> bool:
        """Whether the value is in the list of allowed values; the other types have no list."""
        if self.type == "boolean":
            return value in ("true", "false")
        return self.type != "choice" or value in self.options


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """A workflow file, read."""

    text: str
    name: str | None
    run_name: str | None
    triggers: frozenset[str]
    inputs: Mapping[str, Declared]
    job_names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> WorkflowFile:
        """Reads what is needed here; ValueError if it is no mapping in YAML."""
        try:
            # BaseLoader makes nothing but strings, lists and mappings: `on` is no boolean, 1.10 stays 1.10.
            # libyaml's takes tabs where GitHub does.
            loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
            document = yaml.load(text, Loader=loader)  # noqa: S506 - it constructs no objects
        except yaml.YAMLError as error:
            raise ValueError(f"not YAML: {error}") from error
        if not isinstance(document, dict):
            raise ValueError("not a mapping")  # noqa: TRY004 - what is wrong is the text, not a type
        on = document.get("on", "")
        triggers = frozenset([on]) if isinstance(on, str) else frozenset(on)
        dispatch = on.get("workflow_dispatch") if isinstance(on, dict) else None
        inputs = dispatch.get("inputs") if isinstance(dispatch, dict) else None
        if not inputs or inputs in ("~", "null", "Null", "NULL"):
            inputs = {}
        jobs = document.get("jobs") or {}
        return cls(
            text,
            document.get("name") or None,
            document.get("run-name") or None,
            triggers,
            {name: _declared(name, spec or {}) for name, spec in inputs.items()},
            tuple(job.get("name", key) if isinstance(job, dict) else key for key, job in jobs.items()),
        )

    def objection(self, sent: Mapping[str, Json]) -> str | None:
        """GitHub's message for what is wrong with these inputs, or None."""
        if "workflow_dispatch" not in self.triggers:
            return "Workflow does not have 'workflow_dispatch' trigger"
        if unexpected := [name for name in sent if name not in self.inputs]:
            return f"Unexpected inputs provided: {json.dumps(unexpected, ensure_ascii=False)}"
        for declared in self.inputs.values():
            if declared.name not in sent or sent[declared.name] is None:
                if declared.required and declared.default is None:
                    return f"Required input '{declared.name}' not provided"
            elif not declared.allows(value := as_string(sent[declared.name])):
                return f"Provided value '{value}' for input '{declared.name}' not in the list of allowed values"
        return None

    def inputs_seen(self, sent: Mapping[str, Json]) -> dict[str, str]:
        """`github.event.inputs` of the run: strings, defaults filled in, in the order of the declaration."""
        seen: dict[str, str] = {}
        for declared in self.inputs.values():
            if (value := sent.get(declared.name)) is not None:
                seen[declared.name] = as_string(value)
            elif declared.default is not None:
                seen[declared.name] = declared.default
        return seen

    def title(self, inputs: Mapping[str, str], github: Mapping[str, str]) -> str | None:
        """`run-name` with its expressions put in: `inputs.x`, `github.event.inputs.x`, the given entries of the
        `github` context, 'literals', and `||` between them. Anything else is the empty string. None if
        nothing is left, as then GitHub falls back to its own title."""
        if self.run_name is None:
            return None
        title = _EXPRESSION.sub(lambda found: _evaluate(found[1], inputs, github), self.run_name)
        return title.strip() or None


def as_string(value: Json) -> str:
    """A JSON value as the workflow sees it in `github.event.inputs`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _declared(name: str, spec: Mapping[str, str | list[str]]) -> Declared:
    default = spec.get("default")
    return Declared(
        name=name,
        type=str(spec.get("type", "string")),
        required=spec.get("required") == "true",
        default=default if isinstance(default, str) else None,
        options=tuple(spec.get("options", ())),
    )


def _evaluate(expression: str, inputs: Mapping[str, str], github: Mapping[str, str]) -> str:
    value = ""
    for part in expression.split("||"):
        term = _INDEX.sub(r".\1", part.strip())
        context, _, name = term.rpartition(".")
        if len(term) > 1 and term[0] == term[-1] == "'":
            value = term[1:-1].replace("''", "'")
        elif context in ("inputs", "github.event.inputs"):
            value = inputs.get(name, "")
        else:
            value = github.get(name, "") if context == "github" else ""
        if value not in ("", "false"):
            break
    return value
