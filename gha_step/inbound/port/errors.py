"""Why Port, or its brokers, cannot be asked or told something now. All of it is for trying again.

PortError
├─ NotSent          nothing reached Port: no connection, or a wait that it asked for is not over
│  ├─ Limited       Port asks to wait
│  └─ LoginRefused  Port takes neither the token nor the credentials
├─ Refused          Port refuses it, with a status that its caller has no other use for
└─ Lost             a request went out, and what came of it is not known

BrokerTrouble       what the brokers say, by its `cause`
"""

from typing import Literal, TypeAlias

from gha_step.contract.errors import StepError


class PortError(StepError):
    """The root. Messages name the host and what was asked, never a token or client secret."""

    retry_after = 5.0


class NotSent(PortError):
    """What was asked has not happened."""

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Limited(NotSent):
    """Port asks to wait; ``retry_after`` is what is left of it."""


class LoginRefused(NotSent):
    """The credentials or the token are refused."""


class Refused(PortError):
    """Port refuses.

    :param status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = 60.0


class Lost(PortError):
    """The request went out; whether it was done is not known. A 5xx and a 408 count as that."""


Cause: TypeAlias = Literal["login", "topic", "group", "certificate", "settings", "broken", "trouble"]


class BrokerTrouble(Exception):
    """Something that the brokers, or the way to them, tell. ``cause``: what it is about.

    login: they do not take it. topic, group: missing, or not for us. certificate: they cannot be trusted. settings:
    what librdkafka does not take. broken: this consumer cannot go on. trouble: it passes by itself.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause
