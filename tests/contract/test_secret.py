"""A token does not get out by accident."""

import copy
import json
import pickle

import pytest

from gha_step.contract.secret import Token

TOKEN = Token("ghp_hidden")


@pytest.mark.parametrize(
    "shown",
    [str(TOKEN), repr(TOKEN), f"{TOKEN}", f"{TOKEN!r}", "%s" % (TOKEN,), str([TOKEN]), str({"a": TOKEN})],  # noqa: UP031
)
def test_a_printed_token_is_three_stars(shown: str) -> None:
    assert "ghp_hidden" not in shown
    assert "***" in shown


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy, json.dumps])
def test_a_token_cannot_be_serialised(take: object) -> None:
    assert callable(take)
    with pytest.raises(TypeError) as caught:
        take(TOKEN)
    assert "ghp_hidden" not in str(caught.value)


def test_an_error_that_holds_a_token_does_not_show_it() -> None:
    assert "ghp_hidden" not in repr(ValueError(TOKEN))


@pytest.mark.parametrize(
    "other", ["", "ghp_hidde", "ghp_hidden ", "GHP_HIDDEN", "ghp_hiddeñ", "\ud800", "ghp_hidden\0"]
)
def test_only_the_very_same_text_matches(other: str) -> None:
    assert not TOKEN.matches(other)


def test_equal_tokens_are_equal_and_nothing_else_is() -> None:
    assert Token("a") == Token("a")
    assert hash(Token("a")) == hash(Token("a"))
    assert Token("a") != "a"
