"""Whether a Go regular expression matches somewhere in a text, as ``regexp.MatchString`` has it, in linear time.

Python's own expressions differ in what is legal (look-around and back references are errors in Go), in ``$``, in what
``\\d`` and ``\\s`` hold, and one that backtracks can stop the whole process: so the expression is run as an automaton
that is in all its states at once. Only the yes or no is found; what a group matched is not.

Source: https://pkg.go.dev/regexp/syntax. Not known here: names of scripts in ``\\p{…}``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

MAX_PATTERN: Final = 1000  # characters
MAX_PROGRAM: Final = 4000  # states: an expression for URLs has some dozens
MAX_REPEAT: Final = 1000  # as in Go
MAX_DEPTH: Final = 50  # groups in groups; Go allows a thousand

Test: TypeAlias = Callable[[str], bool]


class BadRegexp(ValueError):
    """It is no Go regular expression, or too large a one."""


def compile_regexp(pattern: str) -> "Regexp":
    """The automaton of ``pattern``.

    :raises BadRegexp: there is none.
    """
    if len(pattern) > MAX_PATTERN:
        raise BadRegexp(f"is longer than {MAX_PATTERN} characters")
    return _compiled(pattern)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> "Regexp":
    return _Program(_Parser(pattern).whole()).regexp()


# ---------------------------------------------------------------- syntax


@dataclass(frozen=True)
class _One:
    """One character."""

    test: Test


@dataclass(frozen=True)
class _Assert:
    """A place, not a character: ``A`` and ``z`` of the text, ``^`` and ``$`` of a line, ``b`` and ``B`` of a word."""

    kind: str


@dataclass(frozen=True)
class _All:
    parts: "tuple[_Node, ...]"


@dataclass(frozen=True)
class _Any:
    parts: "tuple[_Node, ...]"


@dataclass(frozen=True)
class _Repeat:
    part: "_Node"
    least: int
    most: int | None  # None: without end


_Node: TypeAlias = _One | _Assert | _All | _Any | _Repeat


@dataclass(frozen=True)
class _Flags:
    """``(?U)`` changes only which of several matches is taken, so it is read and forgotten."""

    fold: bool = False  # i
    lines: bool = False  # m
    dot_all: bool = False  # s


def _is_digit(c: str) -> bool:
    return "0" <= c <= "9"


def _is_word(c: str) -> bool:
    return c.isascii() and (c.isalnum() or c == "_")


def _is_space(c: str) -> bool:
    return c in "\t\n\f\r "


_PERL: Final[dict[str, Test]] = {"d": _is_digit, "w": _is_word, "s": _is_space}
_POSIX: Final[dict[str, Test]] = {
    "alnum": lambda c: c.isascii() and c.isalnum(),
    "alpha": lambda c: c.isascii() and c.isalpha(),
    "ascii": str.isascii,
    "blank": lambda c: c in "\t ",
    "cntrl": lambda c: c < " " or c == "\x7f",
    "digit": _is_digit,
    "graph": lambda c: "!" <= c <= "~",
    "lower": lambda c: "a" <= c <= "z",
    "print": lambda c: " " <= c <= "~",
    "punct": lambda c: "!" <= c <= "~" and not c.isalnum(),
    "space": lambda c: c in "\t\n\v\f\r ",
    "upper": lambda c: "A" <= c <= "Z",
    "word": _is_word,
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}
_CONTROL: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CATEGORY: Final = re.compile(r"C[cfos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?")


def _not(test: Test) -> Test:
    return lambda c: not test(c)


def _folded(test: Test) -> Test:
    return lambda c: test(c) or test(c.lower()) or test(c.upper())


def _literal(wanted: str) -> Test:
    return lambda c: c == wanted


class _Parser:
    """Reads one expression from left to right."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0
        self._names: set[str] = set()

    def whole(self) -> _Node:
        node = self._alternatives(_Flags())
        if self._at < len(self._text):
            raise BadRegexp("has a ) too many")
        return node

    def _peek(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        found = self._peek(text)
        self._at += len(text) if found else 0
        return found

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise BadRegexp("ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _until(self, end: str) -> str:
        begin = self._at
        self._at = self._text.find(end, begin)
        if self._at < 0:
            raise BadRegexp(f"lacks a {end}")
        self._at += len(end)
        return self._text[begin : self._at - len(end)]

    def _alternatives(self, flags: _Flags) -> _Node:
        alternatives: list[_Node] = []
        parts: list[_Node] = []
        while self._at < len(self._text) and not self._peek(")"):
            if self._take("|"):
                alternatives.append(_All(tuple(parts)))
                parts = []
            elif self._take("(?"):
                changed, group = self._after_question(flags)
                if group is None:
                    flags = changed
                else:
                    parts.append(self._repeated(group))
            elif self._take(r"\Q"):
                quoted = self._text[self._at :].partition(r"\E")[0]
                self._at = min(len(self._text), self._at + len(quoted) + len(r"\E"))
                parts += [_One(self._test(_literal(c), flags)) for c in quoted]
                if quoted:
                    parts.append(self._repeated(parts.pop()))
            else:
                parts.append(self._repeated(self._atom(flags)))
        alternatives.append(_All(tuple(parts)))
        return alternatives[0] if len(alternatives) == 1 else _Any(tuple(alternatives))

    def _test(self, test: Test, flags: _Flags) -> Test:
        return _folded(test) if flags.fold else test

    def _after_question(self, flags: _Flags) -> tuple[_Flags, _Node | None]:
        """After ``(?``: a group, or ``None`` and the flags for what follows."""
        if self._take("P<") or (self._peek("<") and self._text[self._at + 1 : self._at + 2] not in ("=", "!")):
            self._take("<")
            name = self._until(">")
            if not name or not all(map(_is_word, name)) or name in self._names:
                raise BadRegexp("names a group badly")
            self._names.add(name)
            return flags, self._group(flags)
        on, given = True, False
        now = {"i": flags.fold, "m": flags.lines, "s": flags.dot_all, "U": False}
        while (c := self._next()) not in ":)":
            if c == "-" and on:
                on, given = False, False
            elif c in now:
                now[c] = on
                given = True
            else:
                raise BadRegexp(f"holds (?{c}, which Go does not know")
        if not on and not given:
            raise BadRegexp("holds (?-) without a flag")
        changed = _Flags(now["i"], now["m"], now["s"])
        return (changed, None) if c == ")" else (flags, self._group(changed))

    def _group(self, flags: _Flags) -> _Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadRegexp(f"has more than {MAX_DEPTH} groups in groups")
        node = self._alternatives(flags)
        if not self._take(")"):
            raise BadRegexp("lacks a )")
        self._depth -= 1
        return node

    def _atom(self, flags: _Flags) -> _Node:
        match c := self._next():
            case "(":
                return self._group(flags)
            case "[":
                return _One(self._test_of_class(flags))
            case ".":
                return _One((lambda c: True) if flags.dot_all else _not(_literal("\n")))
            case "^":
                return _Assert("^" if flags.lines else "A")
            case "$":
                return _Assert("$" if flags.lines else "z")
            case "*" | "+" | "?":
                raise BadRegexp(f"has nothing before a {c}")
            case "\\":
                return self._escape(flags)
            case "{":
                self._at -= 1
                if self._counts() is not None:
                    raise BadRegexp("has nothing before a repetition")
                self._at += 1
        return _One(self._test(_literal(c), flags))

    def _escape(self, flags: _Flags) -> _Node:
        if self._text[self._at : self._at + 1] in ("A", "z", "b", "B") and self._at < len(self._text):
            return _Assert(self._next())
        test = self._escaped_class(flags)
        return _One(self._test(_literal(self._escaped()), flags) if test is None else test)

    def _escaped_class(self, flags: _Flags) -> Test | None:
        r"""After a backslash, ``\d`` and its like; ``None`` if it is none of them."""
        c = self._text[self._at : self._at + 1]
        if c and c in "dDsSwW":
            self._at += 1
            test = self._test(_PERL[c.lower()], flags)
            return _not(test) if c.isupper() else test
        if c and c in "pP":
            self._at += 1
            name = self._until("}") if self._take("{") else self._next()
            negated = (c == "P") ^ name.startswith("^")
            name = name.removeprefix("^")
            if name != "Any" and not _CATEGORY.fullmatch(name):
                raise BadRegexp("holds a class of Unicode that is not known here")
            from unicodedata import category  # a megabyte, and hardly anybody needs it

            test = self._test(lambda c: name == "Any" or category(c).startswith(name), flags)
            return _not(test) if negated else test
        return None

    def _escaped(self) -> str:
        """After a backslash, the one character that is meant."""
        c = self._next()
        if c.isascii() and not c.isalnum():
            return c
        if c in _CONTROL:
            return _CONTROL[c]
        if c in "01234567":
            digits = c
            while len(digits) < 3 and self._text[self._at : self._at + 1] in tuple("01234567"):
                digits += self._next()
            if c != "0" and len(digits) == 1:
                raise BadRegexp("holds a back reference, which Go does not know")
            return chr(int(digits, 8))
        if c == "x":
            digits = self._until("}") if self._take("{") else self._next() + self._next()
            if digits and len(digits) <= 8 and all(map(_POSIX["xdigit"], digits)) and int(digits, 16) <= 0x10FFFF:
                return chr(int(digits, 16))
        raise BadRegexp(f"holds \\{c}, which Go does not know")

    def _test_of_class(self, flags: _Flags) -> Test:
        negated = self._take("^")
        tests: list[Test] = []
        first = True
        while first or not self._peek("]"):
            first = False
            if self._take("[:"):
                name = self._until(":]")
                known = _POSIX.get(name.removeprefix("^"))
                if known is None:
                    raise BadRegexp(f"holds [:{name[:20]}:], which Go does not know")
                test = self._test(known, flags)
                tests.append(_not(test) if name.startswith("^") else test)
                continue
            if self._take("\\"):
                shorthand = self._escaped_class(flags)
                if shorthand is not None:
                    tests.append(shorthand)
                    continue
                low = self._escaped()
            else:
                low = self._next()
            high = low
            if self._peek("-") and not self._peek("-]"):
                self._take("-")
                high = self._escaped() if self._take("\\") else self._next()
                if high < low:
                    raise BadRegexp("holds a range that ends before it begins")
            tests.append(self._test(lambda c, low=low, high=high: low <= c <= high, flags))  # type: ignore[misc]
        self._take("]")

        def among(c: str) -> bool:
            return any(test(c) for test in tests)

        return _not(among) if negated else among

    def _repeated(self, node: _Node) -> _Node:
        """``node`` with the repetition that follows it, if one does."""
        bounds = self._bounds()
        if bounds is None:
            return node
        self._take("?")
        if self._bounds() is not None:
            raise BadRegexp("has a repetition of a repetition")
        least, most = bounds
        if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise BadRegexp(f"repeats more than {MAX_REPEAT} times, or at most less than at least")
        return _Repeat(node, least, most)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        return self._counts() if self._peek("{") else None

    def _counts(self) -> tuple[int, int | None] | None:
        """``{n}``, ``{n,}``, ``{n,m}``; anything else in braces stands for itself, and nothing is taken."""
        end = self._text.find("}", self._at)
        inner = self._text[self._at + 1 : end] if end > 0 else ""
        low, comma, high = inner.partition(",")
        if not _is_number(low) or (high and not _is_number(high)):
            return None
        self._at = end + 1
        if not comma:
            return int(low), int(low)
        return int(low), int(high) if high else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9 and (text == "0" or not text.startswith("0"))


# ---------------------------------------------------------------- automaton

_MATCH: Final = 0
_Step: TypeAlias = tuple[Test | None, str, int, int]  # a character's test, or a place, or a fork: where next


class _Program:
    """Turns an expression into states; state 0 is the end."""

    def __init__(self, node: _Node) -> None:
        self._steps: list[_Step] = [(None, "", _MATCH, _MATCH)]
        self._start = self._put(node, _MATCH)

    def regexp(self) -> "Regexp":
        return Regexp(tuple(self._steps), self._start)

    def _new(self, test: Test | None, kind: str, then: int, other: int) -> int:
        if len(self._steps) >= MAX_PROGRAM:
            raise BadRegexp("is too large")
        self._steps.append((test, kind, then, other))
        return len(self._steps) - 1

    def _put(self, node: _Node, then: int) -> int:
        """The state that goes through ``node`` to ``then``."""
        match node:
            case _One(test):
                return self._new(test, "", then, then)
            case _Assert(kind):
                return self._new(None, kind, then, then)
            case _All(parts):
                for part in reversed(parts):
                    then = self._put(part, then)
                return then
            case _Any(parts):
                entry = self._put(parts[-1], then)
                for part in reversed(parts[:-1]):
                    entry = self._new(None, "fork", self._put(part, then), entry)
                return entry
            case _Repeat(part, least, most):
                if most is None:
                    fork = self._new(None, "fork", then, then)
                    self._steps[fork] = (None, "fork", self._put(part, fork), then)
                    then = fork
                else:
                    end = then
                    for _ in range(most - least):
                        then = self._new(None, "fork", self._put(part, then), end)
                for _ in range(least):
                    then = self._put(part, then)
                return then


@dataclass(frozen=True)
class Regexp:
    """A compiled expression."""

    steps: tuple[_Step, ...]
    start: int

    def search(self, text: str) -> bool:
        """Whether it matches somewhere in ``text``; time grows with the product of both lengths, no faster."""
        states: set[int] = set()
        for at in range(len(text) + 1):
            states.add(self.start)
            states = self._settled(states, text, at)
            if _MATCH in states:
                return True
            if at < len(text):
                c = text[at]
                states = {then for test, _, then, _ in map(self.steps.__getitem__, states) if test and test(c)}
        return False

    def _settled(self, states: set[int], text: str, at: int) -> set[int]:
        """All states that are reached without taking a character."""
        seen = set(states)
        open_states = list(states)
        while open_states:
            test, kind, then, other = self.steps[open_states.pop()]
            if test is not None or (kind != "fork" and not _holds(kind, text, at)):
                continue
            for state in (then, other):
                if state not in seen:
                    seen.add(state)
                    open_states.append(state)
        return seen


def _holds(kind: str, text: str, at: int) -> bool:
    match kind:
        case "A":
            return at == 0
        case "z":
            return at == len(text)
        case "^":
            return at == 0 or text[at - 1] == "\n"
        case "$":
            return at == len(text) or text[at] == "\n"
        case "b" | "B":
            before = at > 0 and _is_word(text[at - 1])
            after = at < len(text) and _is_word(text[at])
            return (before != after) == (kind == "b")
        case _:
            return False
