"""An App's JWT, and what GitHub's answer to it means. Pure."""

import json
from email.utils import formatdate

import jwt
import pytest

from gha_step.contract.secret import Token
from gha_step.github.app import Installation, app_jwt, clock_error, installation_token
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.errors import BadPrivateKey, RateLimited, Refused, Unclear
from gha_step.github.messages import Answer
from tests.support.app_keys import ec_key, locked_key, rsa_key
from tests.support.rows import each_row

NOW = 1_800_000_000.0
DATE = {"date": formatdate(NOW, usegmt=True)}
HOUR_LATER = "2027-01-15T09:00:00Z"
APP = Installation(
    resolve_endpoint(None, allow_http=False), "Iv23example", 815, Token(rsa_key().private), "myorg", "my-app"
)


def app(key: str) -> Installation:
    return Installation(APP.endpoint, "4711", 815, Token(key), "myorg", "my-app")


def granted(status: int = 201, headers: dict[str, str] | None = None, **changes: object) -> Answer:
    body = {"token": "ghs_x", "expires_at": HOUR_LATER} | changes
    return Answer(status, DATE if headers is None else headers, json.dumps(body).encode())


def refusal(status: int, message: str = "", **headers: str) -> Answer:
    return Answer(status, DATE | headers, json.dumps({"message": message}).encode())


def test_a_jwt_names_the_app_and_lives_for_less_than_ten_minutes() -> None:
    token = app_jwt(APP, NOW + 0.9).reveal()
    options = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(token, rsa_key().public, algorithms=["RS256"], options=options)  # type: ignore[arg-type]
    assert claims == {"iat": NOW - 60, "exp": NOW + 540, "iss": "Iv23example"}
    assert jwt.get_unverified_header(token)["alg"] == "RS256"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\naHVudGVyMg==\n-----END RSA PRIVATE KEY-----", "is not a private key in PEM"),
        (rsa_key().private[:200], "is not a private key in PEM"),
        (rsa_key().private.replace("\n", "\\n"), "is not a private key in PEM"),
        (rsa_key().public, "is not a private key in PEM"),
        (ec_key().private, "is not an RSA key"),
        (locked_key().private, "is encrypted with a passphrase"),
        ("-----BEGIN ü", "is not a private key in PEM"),
        ("", "is not a private key in PEM"),
    ],
)
def test_a_key_that_cannot_sign_is_told_as_what_it_is_not(key: str, words: str) -> None:
    with pytest.raises(BadPrivateKey) as caught:
        app_jwt(app(key), NOW)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


def test_a_token_is_good_until_shortly_before_its_end_by_githubs_own_clock() -> None:
    for local in (NOW, NOW + 7200, NOW - 7200):
        assert installation_token(granted(), APP, local).usable_for == 3600 - 300
    assert installation_token(granted(headers={}), APP, NOW + 600).usable_for == 3600 - 600 - 300


def test_a_short_token_is_good_for_half_of_its_life() -> None:
    assert installation_token(granted(expires_at="2027-01-15T08:00:40Z"), APP, NOW).usable_for == 20


def test_a_token_is_wanted_for_the_one_repository() -> None:
    assert (APP.path, APP.body) == ("/app/installations/815/access_tokens", {"repositories": ["my-app"]})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(401, "A JSON web token could not be decoded"), "the private key does not belong to this App"),
        (refusal(403, "This installation has been suspended"), "is suspended: lift that"),
        (refusal(403, "Resource not accessible"), "see the installation's page"),
        (refusal(404, "Not Found"), "correct the App's ID or the installation's"),
        (refusal(404, "Integration not found"), "no such App"),
        (refusal(422, "There is at least one repository"), "cannot see myorg/my-app: add the repository"),
        (refusal(301, "Moved Permanently", location="https://x/"), "is not the API of this server"),
        (refusal(400, "x"), "correct the credentials"),
        (Answer(404, {}, b"<html>"), "no such App"),
    ],
)
def test_a_refusal_names_app_installation_and_mend(answer: Answer, words: str) -> None:
    with pytest.raises(Refused) as caught:
        installation_token(answer, APP, NOW)
    assert "installation 815 of the GitHub App Iv23example for myorg/my-app" in str(caught.value)
    assert words in str(caught.value)


@each_row(
    "answer",
    [
        refusal(500, "x"),
        refusal(502),
        refusal(503),
        refusal(408),
        refusal(409),
        Answer(200, {}, b"{}"),
        Answer(204, {}, b""),
        granted(200),
        granted(token=None),
        granted(token=""),
        granted(token=1),
        granted(token="a b"),
        granted(token="a\nb"),
        granted(expires_at=None),
        granted(expires_at="soon"),
        granted(expires_at="2027-01-15T07:59:59Z"),
        granted(expires_at="0001-01-01T00:00:00"),
        Answer(201, DATE, b"[]"),
        Answer(201, DATE, b"null"),
        Answer(201, DATE, b"{"),
        Answer(201, DATE, b"\xff"),
    ],
)
def test_what_is_no_clear_answer_may_be_asked_again(answer: Answer) -> None:
    with pytest.raises(Unclear) as caught:
        installation_token(answer, APP, NOW)
    assert "ghs_" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (refusal(429, "x", **{"retry-after": "7"}), 7),
        (refusal(403, "You have exceeded a secondary rate limit", **{"retry-after": "9"}), 9),
        (refusal(403, "x", **{"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 30)}), 30),
        (refusal(429, "x"), None),
    ],
)
def test_a_rate_limit_says_when_to_come_again(answer: Answer, wait: float | None) -> None:
    with pytest.raises(RateLimited) as caught:
        installation_token(answer, APP, NOW)
    assert caught.value.wait == wait
    assert "dispatch" not in str(caught.value)


@pytest.mark.parametrize(("ours", "error"), [(NOW, None), (NOW + 20, None), (NOW - 29, None), (NOW + 100, -100)])
def test_only_a_401_of_another_time_blames_the_clock(ours: float, error: float | None) -> None:
    assert clock_error(refusal(401), ours) == error
    assert clock_error(refusal(404), ours) is None
    assert clock_error(Answer(401, {}, b""), ours) is None


def test_neither_key_nor_token_is_shown() -> None:
    assert "BEGIN" not in repr(APP) + str(APP)
    assert "ghs_" not in repr(installation_token(granted(), APP, NOW))
    assert repr(app_jwt(APP, NOW)) == "***"
