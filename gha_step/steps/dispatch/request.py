"""A requested dispatch: what a call's config, its Secret and its context add up to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gha_step.contract.errors import StepError
from gha_step.contract.request import Caller
from gha_step.contract.secret import Token
from gha_step.github.dispatch import Workflow
from gha_step.github.endpoint import Endpoint
from gha_step.ledger.attribution import shows
from gha_step.ledger.duties import Duty
from gha_step.ledger.keys import digest, marker_of, step_key
from gha_step.ledger.record import Payload, Record, Target, payload_of


@dataclass(frozen=True)
class Key:
    """Whose dispatch it is, and the hash by which the ledger knows it; computed once per call.

    ``duty``: what its record owes from its first write on.
    """

    caller: Caller
    hash: str
    duty: Duty | None = field(default=None, compare=False)

    @classmethod
    def of(cls, caller: Caller, duty: Duty | None = None) -> "Key":
        return cls(caller, step_key(*caller.key_parts), duty)

    @classmethod
    def of_record(cls, record: Record) -> "Key":
        return cls(Caller(record.key_parts, record.promotion, record.promotion_uid), record.key, record.duty)


def never() -> bool:
    """`DispatchRequest.may_send` of a call that only finds out what became of an earlier one."""
    return False


@dataclass(frozen=True)
class DispatchRequest:
    """What to dispatch for a key. ``renew``: as of `gha_step.steps.access.Repository`.

    ``may_send``: asked just before a send; where it says no, nothing is sent, and the call may come again.
    ``secrets``: inputs that no message shows. ``held``: of the room for inputs, for as long as anybody has the request.
    """

    key: Key
    workflow: Workflow
    token: Token
    inputs: dict[str, str] = field(repr=False)  # as they go to GitHub, the marker among them
    payload: Payload
    validate_inputs: bool = False
    renew: Callable[[Token], Token] | None = field(default=None, repr=False, compare=False)
    may_send: Callable[[], bool] = field(default=lambda: True, repr=False, compare=False)
    secrets: tuple[Token, ...] = ()
    held: object = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        key: Key,
        workflow: Workflow,
        token: Token,
        *,
        inputs: dict[str, str],
        timeout: int,
        correlation_input: str | None,
        validate_inputs: bool = False,
        renew: Callable[[Token], Token] | None = None,
        may_send: Callable[[], bool] = lambda: True,
        secrets: tuple[Token, ...] = (),
        held: object = None,
    ) -> "DispatchRequest":
        marker = marker_of(key.hash) if correlation_input is not None else None
        sent = dict(inputs)
        if correlation_input is not None and marker is not None:
            sent[correlation_input] = marker
        payload = Payload(
            target=target_of(workflow),
            inputs_hash=digest(inputs),
            timeout=timeout,
            marker=marker,
            marker_input=correlation_input,
            names_promotion=marker is None and any(shows(key.caller.promotion, text) for text in inputs.values()),
        )
        return cls(key, workflow, token, sent, payload, validate_inputs, renew, may_send, secrets, held)

    @classmethod
    def to_look(
        cls, record: Record, workflow: Workflow, token: Token, renew: Callable[[Token], Token] | None = None
    ) -> "DispatchRequest":
        """For a recorded dispatch whose inputs nobody knows any more: it finds its run, and sends nothing."""
        return cls(Key.of_record(record), workflow, token, {}, payload_of(record), renew=renew, may_send=never)

    @property
    def endpoint(self) -> Endpoint:
        return self.workflow.endpoint


class Witness(NamedTuple):
    """What the host kept of our own earlier output, in ``sharedState``: the ledger's record may be gone."""

    target: str  # hash
    run_id: int | None
    url: str


class DispatchCall(NamedTuple):
    """What one call brings.

    :param request: ``None`` if it cannot say what to dispatch; ``problem`` says why.
    :param payload: what a record is to remember of the call, as far as it can be said.
    :param arrived: monotonic seconds.
    """

    key: Key
    request: DispatchRequest | None
    payload: Payload | None
    problem: StepError | None
    witness: Witness | None
    arrived: float

    @property
    def why(self) -> str | None:
        """The problem in words."""
        return None if self.problem is None else str(self.problem)


def target_of(workflow: Workflow) -> Target:
    """The target in the form in which two calls are compared."""
    return Target(
        api_base=workflow.endpoint.base,
        repo=f"{workflow.owner}/{workflow.repo}".lower(),
        workflow=workflow.file,
        ref=workflow.ref,
    )


def blank(key: Key, payload: Payload, now: float) -> Record:
    """The record of a key that the ledger does not know: nothing was sent."""
    record = Record(
        key=key.hash,
        key_parts=key.caller.key_parts,
        promotion=key.caller.promotion,
        promotion_uid=key.caller.promotion_uid,
        created_at=now,
        asked=key.caller.asked,
        **vars(payload),
    )
    return record if key.duty is None else record.owing(key.duty)
