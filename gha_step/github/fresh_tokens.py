"""Whether a refusal may come from a token that is too new: GitHub's servers learn of an installation token one by one.

Pure. Source: the answer table of ledger.md. A personal token's refusal is final at once.
"""

from typing import Final

from gha_step.contract.secret import Token
from gha_step.github.refusals import Asked

FRESH: Final = 10.0  # seconds after its making for which a refusal may pass
PAUSES: Final = (1.0, 2.0, 4.0)  # seconds before the next tries; then always the last of them
_NOT_YET: Final = "Resource not accessible by integration"


def may_pass(status: int, words: str, asked: Asked, token: Token, asked_at: float) -> bool:
    """Whether the same request may succeed in a moment.

    :param words: GitHub's own; the answer speaks of no rate limit.
    :param asked: whose texts they may repeat.
    :param asked_at: when the request was sent, monotonic, as ``token.made_at``.
    """
    if token.made_at is None or asked_at - token.made_at >= FRESH:
        return False
    return status == 401 or (status == 403 and asked.says(words, _NOT_YET))


def pause(tries: int) -> float:
    """Seconds to wait after so many refusals, from 1 on."""
    return PAUSES[min(tries, len(PAUSES)) - 1]
