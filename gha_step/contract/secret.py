"""A secret value that cannot be printed by accident."""

import hmac


class Token:
    """A credential: prints as ``***``; only :meth:`reveal` gives the value, to be used at the last moment.

    :param subject: what messages call it: whose it is, or where it lies. Equality is that of the values.
    """

    __slots__ = ("_value", "subject")

    def __init__(self, value: str, subject: str = "the token") -> None:
        self._value = value
        self.subject = subject

    def reveal(self) -> str:
        """The value itself: for an Authorization header, never for a message."""
        return self._value

    def matches(self, other: str) -> bool:
        """Whether ``other`` is the same value, in time that does not depend on where they differ."""
        return hmac.compare_digest(self._value.encode(), other.encode("utf-8", "surrogatepass"))

    def hide(self, text: str) -> str:
        """``text`` with this value taken out: whatever somebody else says may repeat it."""
        return text.replace(self._value, "***") if self._value else text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self.matches(other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a token is never serialised")
