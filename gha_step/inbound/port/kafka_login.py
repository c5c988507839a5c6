"""Which topic is read, and the login to its brokers, as `GET /v1/kafka-credentials` gives it. Pure.

Source: facts/port.md 2.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gha_step.contract.json_text import parse_json
from gha_step.contract.secret import Token

MOSTBROKERS: Final = 32
LONGEST: Final = 1024  # characters
BROKER: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
Security: TypeAlias = Literal["SASL_SSL", "SASL_PLAINTEXT", "SSL", "PLAINTEXT"]


@dataclass(frozen=True)
class Topic:
    """What to read. In the settings, what is empty is as Port says. ``ca``: a path; '': the system's."""

    topic: str = ""
    group: str = ""
    brokers: tuple[str, ...] = ()
    security: Security = "SASL_SSL"
    ca: str = ""
    reset: Literal["earliest", "latest"] = "earliest"
    session: float = 45.0  # seconds without a sign of life after which others get our partitions


@dataclass(frozen=True)
class KafkaLogin:
    """Where the brokers are, as `host:port`, and who we are to them."""

    brokers: tuple[str, ...]
    username: str
    password: Token


def read_login(body: bytes) -> KafkaLogin:
    """The login in a 200. :raises ValueError: there is none; the text quotes nothing of it."""
    answer = parse_json(body)
    credentials = answer.get("credentials") if isinstance(answer, dict) else None
    if not isinstance(credentials, dict):
        raise ValueError("no credentials")  # noqa: TRY004  the answer is odd, not a caller's type
    brokers, username, password = (credentials.get(name) for name in ("brokers", "username", "password"))
    if (
        not isinstance(brokers, list)
        or not 0 < len(brokers) <= MOSTBROKERS
        or not all(isinstance(one, str) and BROKER.fullmatch(one) for one in brokers)
    ):
        raise ValueError("no brokers")
    if not isinstance(username, str) or not isinstance(password, str):
        raise ValueError("no username or password")  # noqa: TRY004  as above
    if not username or not password:
        raise ValueError("an empty username or password")
    if max(len(username), len(password)) > LONGEST or "\0" in username + password:
        raise ValueError("a username or password that cannot be one")
    return KafkaLogin(tuple(brokers), username, Token(password, "the password for Kafka"))
