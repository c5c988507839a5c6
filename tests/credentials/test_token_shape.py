"""What surely is no token is named as what it is, and never repeated."""

import base64

import pytest

from gha_step.credentials.token_shape import too_plain, unfit
from tests.support.rows import each_row

TOKENS = (
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "github_pat_11ABCDEFG0123456789_abcdefghijklmnopqrstuvwxyz",
    "ghs_" + "a.B-c_9" * 70,  # installation tokens of 2026
    "0123456789abcdef0123456789abcdef01234567",  # before 2021
    "v1.1f699f1069f60xxx",
)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("token", TOKENS)
def test_what_may_be_a_token_is_let_through(token: str) -> None:
    assert unfit(token) is None
    assert too_plain(token) is None


@pytest.mark.parametrize("token", TOKENS[:3])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_token_that_is_encoded_twice_or_thrice_is_told(token: str, end: str) -> None:
    for value in (encoded(token + end), encoded(encoded(token + end))):
        said = unfit(value)
        assert said is not None
        assert "base64-encoded" in said
        assert value not in said


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_quotes_around_a_token_are_told(quote: str) -> None:
    for value in (f"{quote}{TOKENS[0]}{quote}", f"{quote}{TOKENS[0]}", f"{TOKENS[0]}{quote}", f"\\{quote}{TOKENS[0]}"):
        assert "quotes around" in (unfit(value) or "")


@each_row(
    "value",
    [
        "<token>",
        "<your GitHub token>",
        "${GITHUB_TOKEN}",
        "{{ .Values.token }}",
        "$(TOKEN)",
        "changeme",
        "CHANGE_ME",
        "change-me",
        "replaceme",
        "TODO",
        "token",
        "TOKEN",
        "your-token",
        "YOUR_GITHUB_TOKEN",
        "my-github-token",
        "your-token-here",
        "ghp_xxxx",
        "ghp_XXXXXXXXXXXXXXXXXXXX",
        "github_pat_xxxxxxx",
        "ghp_...",
        "ghp_****",
        "xxxxxxxx",
        "***",
        "CHANGEME!",
        "$GITHUB_TOKEN",
        "%TOKEN%",
        "null",
        "None",
        "REDACTED",
        "ghp_YOUR_TOKEN",
        "YOUR-PAT",
        "ghp_insert_here",
        "password",
    ],
)
def test_a_placeholder_is_told(value: str) -> None:
    said = unfit(value)
    assert said is not None
    assert "placeholder" in said


def test_a_token_of_full_length_is_for_github_to_judge() -> None:
    assert unfit("ghp_" + "x" * 36) is None


@pytest.mark.parametrize("value", ["x", "main", "deploy.yml", "dispatched", "DispatchedNothing"])
def test_a_word_of_a_message_is_told_before_it_is_hidden_everywhere(value: str) -> None:
    said = too_plain(value)
    assert said is not None
    assert value not in said.split()
