"""Whether a Go regular expression matches somewhere in a text, as ``regexp.MatchString`` has it, in linear time.

Go's expressions are RE2's, so RE2 itself decides. Python's own differ in what is legal (look-around and back references
are errors in Go), in ``$``, in what ``\\d`` and ``\\s`` hold, and one that backtracks can stop the whole process.

Source: https://pkg.go.dev/regexp/syntax. What is left of differences: RE2 takes two groups of one name, ``\\B`` holds
within a character that is not ASCII, and names of Unicode classes in lower case, which Go has since 1.25, are refused.
"""

from typing import Final, Protocol

MAX_MEMORY: Final = 1 << 20  # bytes for one expression; RE2's binding remembers 128 of them


class BadRegexp(ValueError):
    """It is no Go regular expression, or too large a one."""


class Regexp(Protocol):
    """A compiled expression."""

    def search(self, text: str) -> object | None:
        """Something true if it matches somewhere in ``text``."""


def compile_regexp(pattern: str) -> Regexp:
    """What decides for ``pattern``.

    :raises BadRegexp: there is none.
    :raises ImportError: RE2 is not there.
    """
    import re2  # 8 ms, and only those pay who have a Secret with an expression

    options = re2.Options()
    options.log_errors = False  # they would go to stderr, past our log
    options.max_mem = MAX_MEMORY
    options.never_capture = True  # yes or no is wanted; with thousands of groups their places would take half a minute
    try:
        compiled: Regexp = re2.compile(pattern, options)
    except re2.error as error:
        # What follows the colon is a piece of the expression, which may hold a password.
        words: bytes = error.args[0].partition(b":")[0]
        raise BadRegexp(f"is not a Go regular expression ({words.decode(errors='replace')})") from None
    return compiled
