"""Go's regular expressions: what they match, what is none in Go, and that no expression takes for ever."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_step.credentials.go_regexp import BadRegexp, compile_regexp
from tests.support.rows import each_row


def found(pattern: str, text: str) -> bool:
    return compile_regexp(pattern).search(text) is not None


@each_row(
    ("pattern", "text"),
    [
        ("", "x"),
        ("a", "xay"),
        ("a|", "x"),
        ("(|a)b", "b"),
        (r"^https://github\.com/myorg/.*$", "https://github.com/myorg/app"),
        (r"github.com/myorg", "https://github.com/myorg/app"),
        (r"^(https|ssh)://[^/]+/o/[[:alnum:]-]+$", "https://x/o/r-1"),
        ("a{2,3}b", "aab"),
        ("a{2}", "aa"),
        ("a{2,}$", "xaaaa"),
        ("x{,2}", "x{,2}"),
        ("a{2", "a{2"),
        ("{", "{"),
        ("a*?b+?c??", "ab"),
        ("(?i)GITHUB", "github"),
        ("(?i:G)h", "gh"),
        ("(?i-s:a)", "A"),
        ("a(?i)b", "aB"),
        ("(?U)a+", "a"),
        ("(?s).", "\n"),
        ("(?m)^a$", "b\na\nc"),
        ("(?P<x>a)(?<y>b)", "ab"),
        ("(?:ab)+c", "ababc"),
        ("[]a]", "]"),
        ("[a-]", "-"),
        (r"[\d\-x]+z", "1-xz"),
        ("[^a]", "\n"),
        ("(?i)[a-c]", "B"),
        ("[[:^digit:]]", "a"),
        (r"\Qa.b\E+", "a.bbb"),
        (r"\Q", "x"),
        (r"\bfoo\b", "a foo b"),
        (r"\Aa\z", "a"),
        (r"\p{Lu}\pL\P{L}", "Ab1"),
        (r"\p{^L}", "1"),
        (r"[\p{Lu}\s]", " "),
        (r"\x{41}\x42\101\.\/\_", "ABA./_"),
        (r"\t\n\v\f\r\a", "\t\n\v\f\r\a"),
        ("^*x", "x"),
        ("[[:alpha]", ":"),
        (r"\p{Greek}", "σ"),
        ("(?i)s{1,2}", "ſ"),
        (r"(?i)\P{Ll}", "İ"),
        (r"a(?i)?", "k"),
    ],
)
def test_what_matches_in_go(pattern: str, text: str) -> None:
    assert found(pattern, text)


@each_row(
    ("pattern", "text"),
    [
        ("^a$", "a\n"),  # in Python it does
        (".", "\n"),
        (r"\d", "٣"),  # in Python it does
        (r"\w", "é"),
        (r"\s", "\v"),
        (r"[[:alpha:]]", "é"),
        ("(?i:G)H", "gh"),
        ("((?i)a)B", "Ab"),
        ("[^a-c]", "abc"),
        ("(?i)[^b]", "B"),
        (r"\p{Lu}", "a"),
        (r"\Qa.b", "axb"),
        ("a{2,3}b", "ab"),
        (r"\Bfoo", "foo"),
        ("(?m:^)b(?-m)^", "ab"),
        (r"^https://github\.com/myorg/", "https://githubXcom/myorg/"),
    ],
)
def test_what_does_not(pattern: str, text: str) -> None:
    assert not found(pattern, text)


@each_row(
    "pattern",
    [
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?>a)",
        "(?P=x)",
        "(?#c)",
        "(?",
        "(?i",
        "(?-)",
        "(?x)",
        "(?P<>a)",
        r"(a)\1",
        r"\Z",
        r"\E",
        r"\y",
        r"\x",
        r"\x{110000}",
        r"\x{}",
        r"\p",
        "\\",
        "a**",
        "a*+",
        "a++",
        "a{2}{3}",
        "*",
        "(+)",
        "a|?",
        "{2}",
        "a{1001}",
        "a{3,2}",
        "(a",
        "a)",
        "[",
        "[]",
        "[a",
        "[z-a]",
        "[[:foo:]]",
        "((a{500}){500}){500}",
    ],
)
def test_what_is_no_expression_in_go_or_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(BadRegexp):
        compile_regexp(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "^(a|a)*$",
        "(a|aa)+$",
        "(.*)*b",
        "([a-z]+)*[0-9]",
        "a?" * 30 + "a{30}b",
        "(" * 20_000 + "b" + ")" * 20_000,
    ],
)
def test_an_expression_that_stops_a_backtracking_engine_takes_no_time(pattern: str) -> None:
    begun = time.process_time()
    assert not found(pattern, "a" * 200 + "!")
    assert time.process_time() - begun < 2.0


SAFE = st.recursive(
    st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\.", "a-", "/"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"(?:{both[0]}|{both[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?"])).map(
            lambda both: f"(?:{both[0]}){both[1]}"
        ),
    ),
    max_leaves=6,
)


@given(SAFE, st.text("abc./-", max_size=12), st.sampled_from(["", "^"]), st.sampled_from(["", "$"]))
def test_where_both_languages_agree_so_does_the_answer(pattern: str, text: str, begin: str, end: str) -> None:
    whole = f"{begin}(?:{pattern}){end}"
    assert found(whole, text) == bool(re.search(whole, text))


@given(st.text(r"ab^$.*+?()[]{}|\-:<>P=!i,012QEdwpL", max_size=20), st.text("ab0", max_size=6))
def test_no_expression_whatever_does_more_than_be_refused(pattern: str, text: str) -> None:
    try:
        found(pattern, text)
    except BadRegexp:
        return
