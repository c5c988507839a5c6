"""When Port is asked for a token. Pure: it holds what is known of the token, and is told the time.

Port has one active token per credentials and gives the same one until it ends, so it is kept to its end and then asked
for at once. A token that was accepted and is refused now (revoked early) is asked for anew at once, once. Otherwise at
most once a minute, failures included: requests without a token are limited to a hundred in five minutes, for the whole
organisation.

Source: facts/port.md 3.
"""

from dataclasses import dataclass
from typing import Final

from gha_step.contract.json_text import parse_json
from gha_step.contract.secret import Token, jwt_claims

EVERY: Final = 60.0  # seconds between two requests for a token
LONGEST_TOKEN: Final = 16 << 10  # characters
LONGEST_ID: Final = 200  # characters of an organisation's ID: routes and the topic's name are made with it
LONGEST_LIFE: Final = 7 * 86_400.0  # seconds; Port's own is three hours


@dataclass(frozen=True)
class Grant:
    """A token as Port gave it. ``machine``, ``org_id``: what it says of itself, ``None`` where it does not."""

    token: Token
    lifetime: float
    machine: bool | None = None
    org_id: str | None = None


def read_grant(body: bytes) -> Grant:
    """The token in a 200. :raises ValueError: there is none."""
    answer = parse_json(body)
    token, lifetime = (answer.get("accessToken"), answer.get("expiresIn")) if isinstance(answer, dict) else (None, None)
    if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN or not _sendable(token):
        raise ValueError("no accessToken")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime < 0:
        raise ValueError("no expiresIn")
    claims = jwt_claims(token)  # believed only for words in messages: Port itself decides what the token may do
    machine, personal, org_id = claims.get("isMachine"), claims.get("personalToken"), claims.get("orgId")
    if personal is True:
        machine = False
    return Grant(
        Token(token, "Port's token"),
        float(min(lifetime, LONGEST_LIFE)),
        machine if isinstance(machine, bool) else None,
        org_id if isinstance(org_id, str) and 0 < len(org_id) <= LONGEST_ID and _sendable(org_id) else None,
    )


def _sendable(text: str) -> bool:
    return all(33 <= ord(character) <= 126 for character in text)


class TokenKeeper:
    """One process's token. Times are monotonic seconds. Not safe for threads: its owner holds a lock."""

    def __init__(self) -> None:
        self.grant: Grant | None = None
        self._ends = 0.0
        self._asked: float | None = None
        self._free = True  # the next request for a token need not wait for the minute to be over
        self._by_free = False  # whether the last request was such a one
        self._accepted = False
        self._renewed = False  # whether this token was asked for anew already

    def current(self, now: float) -> Token | None:
        """The token that holds now."""
        return self.grant.token if self.grant is not None and now < self._ends else None

    def wait(self, now: float) -> float:
        """Seconds until a token may be asked for; 0: now."""
        if self._free or self._asked is None:
            return 0.0
        return max(0.0, self._asked + EVERY - now)

    def asks(self, now: float) -> None:
        """A token is being asked for."""
        self._asked, self._by_free, self._free = now, self._free, False

    def given(self, grant: Grant, now: float) -> None:
        """Port gave one. When it ends, the next is asked for at once, unless this one came so and lives for moments."""
        if self.grant is None or self.grant.token != grant.token:
            self._accepted = self._renewed = False
        self.grant, self._ends = grant, now + grant.lifetime
        self._free = grant.lifetime >= EVERY or not self._by_free

    def accepted(self, token: Token) -> None:
        """A request with it was answered otherwise than by 401."""
        if self.grant is not None and self.grant.token == token:
            self._accepted = True

    def refused(self, token: Token) -> None:
        """A request with it was answered by 401. It is used no more."""
        if self.grant is None or self.grant.token != token:
            return  # another thread was quicker: there is a newer one
        self._ends = 0.0
        self._free = self._accepted and not self._renewed
        self._renewed = True
