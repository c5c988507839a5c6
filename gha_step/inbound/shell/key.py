"""The key of one dispatch or cancel from a shell: said, derived from the CI's own run, or made. Pure.

Derived keys name one step of one attempt of one CI job, so that the CI's own "re-run" dispatches again and a repetition
within the attempt does not. Source of the variables: https://docs.github.com/en/actions/reference/workflows-and-actions/variables
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gha_step.contract.request import Asked, Caller
from gha_step.inbound.shell.errors import UsageError
from gha_step.ledger.cancels import cancels
from gha_step.ledger.keys import digest, step_key
from gha_step.ledger.record import SAID_KEY, Record
from gha_step.steps.cancel.config import CancelWorkflowConfig
from gha_step.steps.dispatch.config import DispatchWorkflowConfig

_ASKED: Final = Asked(via="gha-step run")
MAX_KEY: Final = 500  # characters
_ON_ACTIONS: Final = "GITHUB_ACTIONS"
_ACTIONS: Final = ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "GITHUB_ACTION")
_ARGO: Final = ("ARGO_WORKFLOW_UID", "ARGO_NODE_ID")

Origin = Literal["said", "derived", "made"]


@dataclass(frozen=True)
class ShellKey:
    """Whose dispatch or cancel it is.

    :param text: for messages.
    :param flags: how to say the same key on the command line.
    :param origin: ``derived``: from the CI's variables, which two commands of one CI step share.
    """

    caller: Caller
    text: str
    flags: str
    origin: Origin

    @property
    def hash(self) -> str:
        """By which the ledger has its record."""
        return step_key(*self.caller.key_parts)


def key_of(
    *,
    key: str | None,
    promotion: str | None,
    alias: str | None,
    project: str,
    environment: Mapping[str, str],
    new_key: str,
    within: tuple[str, ...] = (),
) -> ShellKey:
    """The key that the flags say, else that of the CI's run, else ``new_key``.

    :param within: what is added to the CI's key, for a command that is no rival of the dispatch of its CI step.
    :raises UsageError: the flags contradict each other or hold what is no name, or the CI gives a part of its key only.
    """
    for flag, value in (("--key", key), ("--promotion", promotion), ("--alias", alias)):
        if value is not None:
            _check(flag, value)
    if (promotion is None) != (alias is None):
        missing, given = ("--alias", "--promotion") if alias is None else ("--promotion", "--alias")
        raise UsageError(f"{missing}: is needed with {given}: the two together are the key")
    if key is not None and promotion is not None:
        raise UsageError("--key: cannot be combined with --promotion and --alias, which are a key themselves")
    if promotion is not None and alias is not None:
        flags = f"--promotion {_quoted(promotion)} --alias {_quoted(alias)}"
        caller = Caller((project, "caller", promotion, alias), promotion, asked=_ASKED)
        return ShellKey(caller, f"promotion {promotion}, alias {alias}", flags, "said")
    if key is not None:
        return _named(project, key, "said")
    derived = _derived(environment, within)
    return _named(project, new_key, "made") if derived is None else _named(project, derived, "derived")


def _named(project: str, text: str, origin: Origin) -> ShellKey:
    return ShellKey(Caller((project, SAID_KEY, text), asked=_ASKED), text, f"--key {_quoted(text)}", origin)


def _check(flag: str, value: str) -> None:
    if not value.strip() or not value.isprintable():
        raise UsageError(f"{flag}: must hold printable characters, and at least one")
    if len(value) > MAX_KEY:
        raise UsageError(f"{flag}: has {len(value)} characters; the maximum is {MAX_KEY}")


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)


def _derived(environment: Mapping[str, str], within: tuple[str, ...]) -> str | None:
    """The CI's own name of this step; ``None``: there is no CI that has one.

    :raises UsageError: the CI gives only a part of it. A key made in its place would dispatch again with each retry.
    """
    if environment.get(_ON_ACTIONS) == "true":
        host = re.sub(r"^[a-z]+://", "", environment.get("GITHUB_SERVER_URL", "")) or "github.com"
        # The jobs of a matrix have all of these in common, and run at once on several runners.
        runner = environment.get("RUNNER_NAME", "")
        found = _all(_ACTIONS, environment, f"{_ON_ACTIONS} is true")
        return _joined("github-actions", [host, *found, *([runner] if runner else []), *within])
    if any(environment.get(name) for name in _ARGO):
        set_one = next(name for name in _ARGO if environment.get(name))
        return _joined("argo-workflows", [*_all(_ARGO, environment, f"{set_one} is set"), *within])
    return None


def _all(names: tuple[str, ...], environment: Mapping[str, str], because: str) -> list[str]:
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise UsageError(
            f"{', '.join(missing)}: not set, although {because}, so the CI's run gives no key: pass "
            f"{'it' if len(missing) == 1 else 'them'} on, as into a container, or pass a --key"
        )
    return [environment[name] for name in names]


def _joined(ci: str, found: list[str]) -> str:
    text = "/".join([ci, *found])
    if not text.isprintable() or len(text) > MAX_KEY:
        raise UsageError(
            f"the variables of {ci} do not make a key of at most {MAX_KEY} printable characters: pass a --key"
        )
    return text


def objection(
    key: ShellKey, record: Record | None, config: DispatchWorkflowConfig | CancelWorkflowConfig
) -> str | None:
    """Why ``config`` may not go under a key for which ``record`` was made; ``None`` if it may.

    What was dispatched for a key goes on whatever the inputs are now. But two commands of one CI step share a derived
    key, and the second must not take the first one's run for its own.
    """
    if record is None or key.origin == "made":
        return None
    if (cancelled := cancels(record)) is not None:
        if isinstance(config, CancelWorkflowConfig) and cancelled.run_id == config.run_id:
            return None
        return (
            f"the key {key.text!r} was used to cancel run {cancelled.run_id} of {record.target.repo}; nothing was sent "
            "for this command. Give it another --key"
        )
    used = str(record.target)
    if isinstance(config, CancelWorkflowConfig):
        return (
            f"the key {key.text!r} was used to dispatch {used}; nothing was cancelled. Give this command another --key"
        )
    asked = record.target.model_copy(
        update={"repo": config.full_name.lower(), "workflow": config.workflow_file, "ref": config.ref}
    )
    if not record.target.same_as(asked):
        return f"the key {key.text!r} was used for {used}; nothing was sent for this command. Give it another --key"
    if key.origin == "derived" and record.inputs_hash != digest(config.inputs):
        return (
            f"another command of this CI step has used the key {key.text!r} for {used} with other inputs; nothing was "
            "sent for this command. Give each command its own --key"
        )
    return None
