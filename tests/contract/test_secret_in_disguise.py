"""A token that somebody else repeats is hidden, however it is spelled."""

import base64
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest

from gha_step.contract.secret import Token
from gha_step.github.messages import Answer, error_body
from tests.support.clock import LONG
from tests.support.rows import each_row

CLASSIC = "ghp_0123456789abcdefABCDEF0123456789abcd"
APP = "ghs_4711_" + ".".join("eyJhbGciOiJSUzI1NiJ9+/=" * 8 for _ in range(3))
ODD = 'a/b+c=d ü~"quoted"\\ghp'


def escaped(token: str) -> str:
    return "".join(f"%{byte:02X}" for byte in token.encode())


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def in_lines(text: str) -> str:
    return "\r\n".join(text[start : start + 19] for start in range(0, len(text), 19))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda token: token,
    "quoted": quote,
    "escaped": escaped,
    "escaped in lower case": lambda token: escaped(token).lower(),
    "escaped in part": lambda token: escaped(token[0]) + token[1:],
    "escaped twice": lambda token: quote(escaped(token)),
    "base64": in_base64,
    "base64 without padding": lambda token: in_base64(token).rstrip("="),
    "base64 for URLs": lambda token: base64.urlsafe_b64encode(token.encode()).decode(),
    "base64 with a user": lambda token: in_base64(f"x:{token}"),
    "base64 with two before": lambda token: in_base64(f"ab{token}"),
    "base64 in a longer text": lambda token: in_base64(f"user:{token}@host, and more"),
    "base64, escaped": lambda token: quote(in_base64(token), safe=""),
    "base64 in lines, as MIME has it": lambda token: in_lines(in_base64(token)),
    "base64 in lines, in JSON": lambda token: in_lines(in_base64(token)).replace("\r\n", "\\r\\n"),
    "base64 in lines, escaped": lambda token: quote(in_lines(in_base64(token)), safe=""),
    "in lines": in_lines,
    "with a tab": lambda token: f"{token[:9]}\t{token[9:]}",
    "HTML's decimal entities": lambda token: "".join(f"&#{ord(one)};" for one in token),
    "HTML's entities in hex": lambda token: "".join(f"&#x{ord(one):X};" for one in token),
    "HTML's entities, padded, of some": lambda token: f"&#0{ord(token[0])};{token[1:]}",
    "HTML's entities, escaped for HTML": lambda token: "".join(f"&amp;#{ord(one)};" for one in token),
    "HTML's entities, as JSON has them": lambda token: "".join(f"\\u0026#{ord(one)};" for one in token),
    "JSON's escapes": lambda token: "".join(f"\\u{ord(one):04x}" if ord(one) < 256 else one for one in token),
}


@each_row("spelling", SPELLINGS)
@each_row("value", [CLASSIC, APP, ODD])
def test_no_spelling_is_shown(value: str, spelling: str) -> None:
    token = Token(value)
    shown = token.hide(f"who is <{SPELLINGS[spelling](value)}>?")
    assert shown.startswith("who is <")
    assert shown.endswith(">?")
    assert "***" in shown
    assert not token.is_in(shown)
    assert len(shown) < 60  # of the longest, little but the neighbours is left


@pytest.mark.parametrize("value", [CLASSIC, APP])
def test_what_github_escapes_in_json_is_hidden_where_it_is_decoded(value: str) -> None:
    spelled = "".join(f"\\u{ord(one):04X}" for one in value)
    body = f'{{"message": "who is {spelled}?", "documentation_url": "{quote(value)}"}}'.encode()
    answer = Answer(403, {"x-echo": value, "location": f"https://x/?sig={quote(value)}"}, body).hiding(Token(value))
    assert error_body(answer).message == "who is ***?"
    assert error_body(answer).documentation == "***"
    assert answer.headers == {"x-echo": "***", "location": "https://x/"}
    assert value not in repr(answer.json())


def test_a_redirects_signed_query_is_a_secret() -> None:
    signed = "https://storage.example/log?sig=AbC%2Fdef0123&se=2026"
    body = json.dumps({"message": f"moved to {signed}", "url": signed}).encode()
    answer = Answer(302, {"location": signed}, body).hiding(Token(CLASSIC))
    assert answer.headers["location"] == "https://storage.example/log"
    assert answer.json() == {"message": "moved to https://storage.example/log?***"} | {
        "url": "https://storage.example/log?***"
    }


def test_other_texts_stay_as_they_are() -> None:
    for text in ("", "ghp_", "who is 0123456789abcdef?", in_base64("some other text that is long enough"), "%zz \\u00"):
        assert Token(CLASSIC).hide(text) == text


def test_a_short_value_is_not_found_in_every_base64() -> None:
    assert Token("ab").hide(in_base64("ab")) == in_base64("ab")


def test_a_short_value_is_not_put_together_of_words() -> None:
    assert Token("aisnotb").hide("a is not b") == "a is not b"
    assert Token("aisnotbb").hide("a is not b b, c") == "***, c"


def test_what_stands_around_a_disguise_stays() -> None:
    text = f"é {in_lines(CLASSIC)} ü &amp; {CLASSIC}\n{escaped(CLASSIC)} \ud800%"
    assert Token(CLASSIC).hide(text) == "é *** ü &amp; ***\n*** \ud800%"


@each_row("spelling", SPELLINGS)
def test_of_a_text_longer_than_we_keep_that_holds_the_token_nothing_is_left(spelling: str) -> None:
    """Taking apart 8 MiB of such texts, one after the other, takes some 10 s of CPU."""
    assert Token(CLASSIC).hide(f"{'a ' * 4_000}{SPELLINGS[spelling](CLASSIC)}") == "***"
    assert Token(CLASSIC).hide("a " * 4_001) == "a " * 4_001


@pytest.mark.parametrize("value", [CLASSIC, APP])
@pytest.mark.parametrize("filling", ["\\", "\\u0067", "%25", "g\\", " "])
def test_a_long_text_does_not_take_the_square_of_its_length(filling: str, value: str) -> None:
    """Matching a pattern holds up every other call meanwhile: 64 kB of backslashes took minutes."""
    text, begun = filling * 60_000, time.process_time()
    assert Token(value).hide(text) == text
    assert Token(value).hide(f"{text} {value}") == "***"
    assert time.process_time() - begun < LONG


def test_an_empty_value_hides_nothing() -> None:
    assert Token("").hide("text") == "text"
