"""Which refusals may come from a token that is too new."""

import pytest

from gha_step.contract.secret import Token
from gha_step.github.dispatch import Workflow, asked_to_dispatch
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.refusals import FRESH, may_pass

SENTENCE = "Resource not accessible by integration"
NEW = Token("ghs_new_0123456789", made_at=100.0)


def passes(words: str, *, ref: str = "main", value: str = "x", token: Token = NEW, age: float = 1.0) -> bool:
    workflow = Workflow(resolve_endpoint(None, allow_http=False), "myorg", "app", "deploy.yml", ref)
    return may_pass(403, words, asked_to_dispatch(workflow, {"note": value}), token, 100.0 + age)


@pytest.mark.parametrize("words", [SENTENCE, SENTENCE.lower(), f"{SENTENCE}."])
def test_a_new_tokens_403_may_pass(words: str) -> None:
    assert passes(words)
    assert not passes(words, age=FRESH)
    assert not passes(words, token=Token("ghp_0123456789"))


@pytest.mark.parametrize("text", [SENTENCE, SENTENCE.lower(), f"{SENTENCE} or so"])
@pytest.mark.parametrize("around", ["No ref found for: {}", "Must have admin rights: '{}'", "{} is not allowed"])
def test_what_the_user_wrote_is_not_githubs_word(text: str, around: str) -> None:
    assert not passes(around.format(text), ref=text)
    assert not passes(around.format(text), value=text)
