"""From the command line of ``gha-step run`` to the steps to run. Pure: files and variables are arguments.

It knows no token: for a repository given by owner and name, the config's Secret is where the token came from.
"""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gha_step.contract.errors import ConfigError
from gha_step.contract.quoting import quoted
from gha_step.contract.values import as_segment
from gha_step.inbound.shell.check import CONFIGS, beside_config
from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.variables import is_open
from gha_step.inbound.shell.yaml_lines import documents
from gha_step.steps.cancel import config as cancel
from gha_step.steps.dispatch import config as dispatch
from gha_step.steps.wait import config as wait

ANY: Final = "any"  # conclusion
_REPOSITORY: Final = ("repo", "insecure_skip_tls_verify")
# By the command line's name of a field, its path in the config.
DISPATCH_FLAGS: Final = {
    "workflow": "workflowFile",
    "ref": "ref",
    "input": "inputs",
    "timeout": "timeout",
    "correlation_input": "correlationInput",
    "validate_inputs": "validateInputs",
}
WAIT_FLAGS: Final = {
    "run_id": "runID",
    "expected_conclusion": "expectedConclusion",
    "poll_interval": "pollInterval",
    "job": "jobs",
    "rerun_grace": "rerunGrace",
    "outputs": "outputs",
    "outputs_artifact": "outputs.artifact",
    "outputs_optional": "outputs.required",
}
CANCEL_FLAGS: Final = {"run_id": "runID", "poll_interval": "pollInterval", "force": "force"}
COMMANDS: Final = {
    "dispatch": (dispatch.KIND, DISPATCH_FLAGS),
    "wait": (wait.KIND, WAIT_FLAGS),
    "cancel": (cancel.KIND, CANCEL_FLAGS),
}
_FOR_A_TEMPLATE: Final = re.compile(r"; write \$\{\{.*?\}\}")
_BY_EXPRESSION: Final = re.compile(  # which only Kargo evaluates
    r"write \$\{\{ quote\(\.\.\.\) \}\} around the expression(, or quote the value in YAML)?"
)
_FLAGS: Final = {**DISPATCH_FLAGS, **WAIT_FLAGS, **CANCEL_FLAGS}


def _flag(name: str) -> str:
    return "-f" if name == "input" else f"--{name.replace('_', '-')}"


NAMES: Final = {  # what messages call fields of the config, where flags stand in its place
    **{path: _flag(name) for name, path in _FLAGS.items()},
    **dict.fromkeys(("owner", "repo", "repoURL"), "--repo"),
    "config.inputs": "-f",
    "inputs": "the command, by -f",
    "the step's config": "the command",
}


@dataclass(frozen=True)
class Wanted:
    """What is to be done.

    :param kind: of the first step. ``config``: its config.
    :param then_wait: the config of the wait that follows a dispatch, without its ``runID``.
    :param notes: what the person should know of how the command was read.
    """

    kind: str
    config: dict[str, Any]
    then_wait: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def recorded(self) -> bool:
        """Whether the ledger keeps something of it."""
        return self.kind != wait.KIND

    @property
    def by_repo_url(self) -> bool:
        """Whether the config itself names the server."""
        return "repoURL" in self.config

    def wait_for(self, run_id: int) -> dict[str, Any]:
        """The config of the wait for the run that was dispatched."""
        return {**(self.then_wait or {}), "runID": run_id}


def by_flags(flags: Namespace, token_name: str) -> Wanted:
    """What ``run dispatch``, ``run wait`` and ``run cancel`` ask for.

    :param token_name: where the token comes from, for messages.
    :raises UsageError: naming the flag.
    """
    given = {name: value for name in _FLAGS if (value := getattr(flags, name)) not in (None, False)}
    repository, missing = _repository_or_why(flags, token_name)
    kind, fitting = COMMANDS[flags.what]
    own = {**repository, **_fields(given, fitting)}
    if flags.wait:
        if kind != dispatch.KIND:
            raise UsageError("--wait: belongs to `run dispatch`")
        fitting = {**DISPATCH_FLAGS, **{name: key for name, key in WAIT_FLAGS.items() if name != "run_id"}}
    if stray := next((name for name in given if name not in fitting), None):
        after = " --wait" if kind == dispatch.KIND and stray in WAIT_FLAGS and stray != "run_id" else ""
        fix = f"it belongs to `run dispatch{after}`" if after else "leave it out"
        raise UsageError(f"{_flag(stray)}: is not a flag of `run {flags.what}`: {fix}")
    if kind == wait.KIND:
        own = _expecting(own)
    _checked(kind, own, missing=missing)
    if not flags.wait:
        return Wanted(kind, own)
    waiting = _expecting({**repository, **_fields(given, WAIT_FLAGS)})
    _checked(wait.KIND, {**waiting, "runID": 1})
    return Wanted(dispatch.KIND, own, waiting)


def _fields(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, path in names.items():
        if name in given:
            field, _, inner = path.partition(".")
            value = _VALUES.get(name, lambda value: value)(given[name])
            if inner:
                fields.setdefault(field, {})[inner] = value
            else:
                fields[field] = value
    return fields


def _expecting(config: dict[str, Any]) -> dict[str, Any]:
    """A command that waits fails where the run does, unless it is told otherwise."""
    expected = config.get("expectedConclusion", "success")
    rest = {name: value for name, value in config.items() if name != "expectedConclusion"}
    return rest if expected == ANY else {**rest, "expectedConclusion": expected}


def _inputs(pairs: list[str]) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError("-f: write NAME=VALUE, for example -f environment=test")
        if name in inputs:
            raise UsageError(f"-f {name}: is there twice")
        inputs[name] = value
    return inputs


# What a flag's value is in the config, where it is not the same.
_VALUES: Final[dict[str, Callable[[Any], Any]]] = {
    "input": _inputs,
    "outputs": lambda _: {},
    "outputs_optional": lambda _: False,
}


def _repository_or_why(flags: Namespace, token_name: str) -> tuple[dict[str, Any], str | None]:
    """The repository; or some other and what is wrong with --repo, so that all that is wrong is told at once."""
    try:
        return _repository(flags, token_name), None
    except UsageError as error:
        return {"credentials": {"secretName": token_name}, "owner": "owner", "repo": "repo"}, str(error)


def _repository(flags: Namespace, token_name: str) -> dict[str, Any]:
    named = flags.repo
    if not named:
        raise UsageError("--repo: is required: write OWNER/NAME, or the repository's URL")
    if "://" in named or named.startswith("git@"):
        skip = {"insecureSkipTLSVerify": True} if flags.insecure_skip_tls_verify else {}
        return {"repoURL": named, **skip}
    if flags.insecure_skip_tls_verify:
        raise UsageError("--insecure-skip-tls-verify: needs the repository's URL in --repo")
    owner, _, name = named.partition("/")
    try:
        owner, name = as_segment(owner), as_segment(name)
    except ValueError:
        why = "is not OWNER/NAME: write for example myorg/my-app, or the repository's URL"
        raise UsageError(f"--repo: {quoted(named)} {why}") from None
    return {"credentials": {"secretName": token_name}, "owner": owner, "repo": name}


def by_file(text: str, name: str, flags: Namespace, token_name: str) -> Wanted:
    """What a file with one step asks for.

    :raises UsageError: naming the file, and the field or flag.
    """
    for flag in (*_FLAGS, *_REPOSITORY):
        if getattr(flags, flag) not in (None, False):
            raise UsageError(f"{_flag(flag)}: cannot be combined with {name}, whose config has everything")
    step = _one_step(text, name)
    kind, config = step.get("uses"), step.get("config")
    if not isinstance(kind, str) or kind not in CONFIGS:
        raise UsageError(f"{name}: uses: {quoted(kind)} is not a step of gha-step: must be one of {', '.join(CONFIGS)}")
    if wrong := beside_config(step):
        raise UsageError(f"{name}: {'; '.join(f'{key}: {words}' for key, words in wrong)}")
    if stray := sorted(step.keys() - {"uses", "as", "config"}):
        raise UsageError(f"{name}: {stray[0]}: is for Kargo and has no effect here: leave it out")
    if not isinstance(config, dict):
        raise UsageError(f"{name}: config: must be an object")
    if (found := _expression(config, "config")) is not None:
        raise UsageError(f"{name}: {found}: contains an expression, which only Kargo evaluates: write the value")
    notes: tuple[str, ...] = ()
    if "credentials" in config:
        notes = (f"{name}: config.credentials is not read; the token comes from {token_name}",)
        config = {key: value for key, value in config.items() if key != "credentials"}
    if "repoURL" not in config:
        config = {**config, "credentials": {"secretName": token_name}}
    _checked(str(kind), config, name)
    if kind == dispatch.KIND and dispatch.DispatchWorkflowConfig.parse(config).cancel_on_abort is not None:
        raise UsageError(f"{name}: config.{dispatch.CANCEL_ON_ABORT}: only a Promotion can be aborted: leave it out")
    waiting = None
    if flags.wait:
        if kind != dispatch.KIND:
            raise UsageError(f"--wait: {name} waits already")
        shared = ("repoURL", "insecureSkipTLSVerify", "credentials", "owner", "repo")
        waiting = _expecting({key: config[key] for key in shared if key in config})
    return Wanted(str(kind), config, waiting, notes)


def _one_step(text: str, name: str) -> dict[str, Any]:
    read = documents(text, name)
    for path, line in (twice for document in read for twice in document.twice):
        raise UsageError(f"{name}:{line}: {'.'.join(map(str, path))}: is given twice: leave one out")
    found = [document.value for document in read]
    if len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    if len(found) != 1 or not isinstance(found[0], dict) or "uses" not in found[0]:
        raise UsageError(f"{name}: must hold one step, with uses and config")
    step: dict[str, Any] = found[0]
    return step


def _expression(value: Any, path: str) -> str | None:
    """Where an expression stands."""
    if isinstance(value, str):
        return path if is_open(value) else None
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, one in inner if (found := _expression(one, f"{path}.{key}")) is not None), None)


def _checked(kind: str, config: dict[str, Any], file: str | None = None, missing: str | None = None) -> None:
    """:raises UsageError: the step does not take it; naming the fields, or without a file the flags.

    :param missing: what is known to be wrong already.
    """
    try:
        if kind == dispatch.KIND:
            from gha_step.steps.dispatch.step import parse_config

            parse_config(config)
        else:
            CONFIGS[kind].parse(config)
    except ConfigError as error:
        if file is not None:
            words = _BY_EXPRESSION.sub("quote the value in YAML", str(error))
            raise UsageError(f"{file}: {words}") from None
        text = str(error)
        for name, path in sorted(_FLAGS.items(), key=lambda item: -len(item[1])):  # outputs.artifact before outputs
            text = re.sub(rf"config\.{re.escape(path)}(?=[.:])", _flag(name), text)
        text = text.replace("config.repoURL:", "--repo:")
        text = _FOR_A_TEMPLATE.sub("", text).replace(wait.ANY_IN_A_CONFIG, f"write {ANY} to take any conclusion")
        raise UsageError(text if missing is None else f"{missing}; {text}") from None
    if missing is not None:
        raise UsageError(missing)
