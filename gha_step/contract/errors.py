"""Why a step cannot go on, as one tree: an error names its subject and knows whether trying again can help.

    StepError
    ├─ EnvelopeError            the request itself is malformed              (the caller is told 400)
    ├─ ConfigError              the step's config is wrong                   terminal
    ├─ CredentialsError         a Secret is missing, unfit or out of bounds  terminal
    ├─ Unavailable              something needed does not answer now         try again after `retry_after`
    │  ├─ SecretsUnavailable
    │  ├─ TokenUnavailable
    │  └─ LedgerUnavailable
    ├─ LedgerError              a record that is not ours, or not readable   terminal
    └─ github.errors.GitHubError   (see there)

No message holds a token, an input's value, or a Secret's value.
"""

from collections.abc import Sequence


class StepError(Exception):
    """The root: ``str(error)`` is the whole message for a person.

    ``retry_after`` is in seconds; ``None`` means that the same call will fail the same way.
    """

    retry_after: float | None = None


class EnvelopeError(StepError):
    """The request is not what a host sends: ``context`` or ``step`` is missing or malformed.

    ``problems``: the path of each field that is wrong, and what is wrong with it.
    """

    def __init__(self, message: str, problems: Sequence[tuple[tuple[str, ...], str]] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ConfigError(StepError):
    """The step's ``config`` cannot be used; the message tells all problems at once."""


class CredentialsError(StepError):
    """The credentials cannot be used; the message names project, Secret and key."""


class Unavailable(StepError):
    """Something this step needs does not answer at the moment; nothing was lost."""

    def __init__(self, message: str, retry_after: float = 10.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SecretsUnavailable(Unavailable):
    """The place where Secrets live does not answer."""


class TokenUnavailable(Unavailable):
    """GitHub gives no token of an App at the moment.

    :param wait: seconds for which it asks us to wait; ``None`` where it does not say.
    """

    def __init__(self, message: str, retry_after: float, wait: float | None = None) -> None:
        super().__init__(message, retry_after)
        self.wait = wait


class LedgerUnavailable(Unavailable):
    """The ledger cannot be read or written: nothing is sent without it.

    :param lasting: whether it has refused for so long that waiting will not help.
    """

    def __init__(self, message: str, retry_after: float = 10.0, *, lasting: bool = False) -> None:
        super().__init__(message, retry_after)
        self.lasting = lasting


class LedgerError(StepError):
    """A ledger record that must not be touched: foreign, or of a schema that this version does not know."""
