"""What GitHub, or the way to it, can say to a request, as one tree.

GitHubError
├─ BadEndpoint      the base URL cannot be used                       terminal
├─ BadPrivateKey    an App's key cannot be used; nothing was sent     terminal
├─ Unreachable      no connection, so nothing was sent                try again
├─ Untrusted        a certificate that nobody here trusts; not sent   terminal
│  └─ OffLimits     a host that this process does not connect to      terminal
├─ RateLimited      refused for now, GitHub says until when           try again
├─ Unsupported      refused only for a key or API version             try again at once, without it
├─ Refused          refused for good                                  terminal
└─ Unclear          a request went out, and what came of it is not known
   └─ TooLarge      a page that the server cannot serve whole           try again with a smaller one
"""

from gha_step.contract.errors import StepError


class GitHubError(StepError):
    """The root. Messages name host, owner/repo, workflow and ref where they matter, and GitHub's own words."""


class BadEndpoint(GitHubError):
    """The base URL cannot be used."""


class BadPrivateKey(GitHubError):
    """The private key of a GitHub App cannot be used; the message says what it is not, and quotes nothing of it."""


class Unreachable(GitHubError):
    """No connection could be made: the name does not resolve, the host refuses or is silent."""

    retry_after = 5.0


class Untrusted(GitHubError):
    """The server's certificate is not trusted. Nothing was sent, and trying again cannot help."""


class OffLimits(Untrusted):
    """This process does not connect there, whatever answers. Nothing was sent."""


class RateLimited(GitHubError):
    """GitHub asks to wait.

    :param wait: seconds from GitHub's own Date on; ``None`` where it does not say how long.
    :param pause: seconds after which it makes sense to ask again, where more is known than ``wait``.
    """

    retry_after: float

    def __init__(self, message: str, wait: float | None, *, pause: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait
        self.retry_after = pause if pause is not None else 60.0 if wait is None else max(wait, 1.0)


class Unsupported(GitHubError):
    """This server does not know ``return_run_details`` or the API version that was named: ``feature``."""

    retry_after = 0.0

    def __init__(self, message: str, feature: str) -> None:
        super().__init__(message)
        self.feature = feature


class Refused(GitHubError):
    """GitHub refused; it did not do what was asked.

    :param status: the HTTP status.
    :param words: GitHub's own message.
    :param location: where a redirect leads; it is not followed.
    """

    def __init__(self, message: str, status: int, words: str, location: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.words = words
        self.location = location


class Unclear(GitHubError):
    """The request went out; whether it was done is not known."""


class TooLarge(Unclear):
    """The answer is larger than it may be, or the server broke down over it: a smaller page may do."""
