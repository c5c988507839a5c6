"""How an App proves itself to the emulated GitHub, and what its installation tokens are good for."""

import json
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gha_step.emulator import API_2022, API_2026, App, GitHub, Installation, Json, Response
from tests.support.app_keys import ec_key, rsa_key
from tests.support.clock import START

from .asking import REPO, ask, dispatch, message
from .published import judge, published_model

TOKENS = "/app/installations/815/access_tokens"
ONE: dict[str, Json] = {"repositories": ["my-app"]}


@pytest.fixture
def app(github: GitHub) -> App:
    return github.add_app(rsa_key().public)


@pytest.fixture
def installation(github: GitHub, app: App) -> Installation:
    return github.add_installation(app)


def signed(key: str | None = None, algorithm: str = "RS256", **changes: Any) -> str:
    claims: dict[str, Any] = {"iat": int(START) - 60, "exp": int(START) + 540, "iss": "Iv23example"}
    kept = {name: value for name, value in (claims | changes).items() if value is not ...}
    signing = read(key or rsa_key().private) if algorithm == "RS256" else key or ""
    return jwt.encode(kept, signing, algorithm=algorithm)


@cache
def read(pem: str) -> RSAPrivateKey:
    """To check the primes of a key takes 50 ms."""
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)
    return key


def new_token(
    github: GitHub, proof: str | None = None, body: Json = ONE, target: str = TOKENS, version: str = API_2022
) -> Response:
    return ask(github, target, method="POST", token=signed() if proof is None else proof, body=body, version=version)


def value(response: Response) -> str:
    assert response.status == 201
    return str(json.loads(response.body)["token"])


@pytest.mark.parametrize("issuer", ["Iv23example", "4711"])
def test_an_app_gets_a_token_that_dispatches_as_its_bot(
    github: GitHub, installation: Installation, issuer: str
) -> None:
    token = value(new_token(github, signed(iss=issuer)))
    assert installation.tokens == [token]
    assert dispatch(github, token=token).status == 204
    assert github.runs[0].actor == "gha-step[bot]"


@pytest.mark.parametrize("version", [API_2022, API_2026])
@pytest.mark.parametrize("body", [ONE, {}])
def test_its_answer_is_as_published(github: GitHub, installation: Installation, version: str, body: Json) -> None:
    response = new_token(github, body=body, version=version)
    assert response.status == 201
    judge(response, published_model("create-installation-token", version))
    told = json.loads(response.body)
    assert told["expires_at"] == "2023-11-14T23:13:20Z"
    assert told["repository_selection"] == ("selected" if body else "all")


@pytest.mark.parametrize("version", [API_2022, API_2026])
def test_an_app_finds_its_installation_for_a_repository(
    github: GitHub, installation: Installation, version: str
) -> None:
    response = ask(github, f"{REPO}/installation", token=signed(), version=version)
    assert response.status == 200
    judge(response, published_model("get-repository-installation", version))
    assert json.loads(response.body)["id"] == installation.id
    installation.repositories = frozenset({"myorg/other"})
    assert ask(github, f"{REPO}/installation", token=signed(), version=version).status == 404
    assert ask(github, f"{REPO}/installation", token="emulator-token", version=version).status == 401


def test_a_token_sees_only_the_repositories_that_it_was_asked_for(github: GitHub, installation: Installation) -> None:
    github.add_repository("myorg/other")
    token = value(new_token(github))
    assert ask(github, REPO, token=token).status == 200
    assert ask(github, "/repos/myorg/other", token=token).status == 404
    assert ask(github, "/repos/myorg/other", token=value(new_token(github, body={}))).status == 200


def test_an_installation_for_some_repositories_gives_tokens_for_no_other(github: GitHub, app: App) -> None:
    github.add_repository("myorg/other")
    github.add_installation(app, repositories=["myorg/other"])
    assert new_token(github).status == 422
    assert ask(github, REPO, token=value(new_token(github, body={}))).status == 404


@pytest.mark.parametrize(
    ("proof", "status", "words"),
    [
        ("", 401, "could not be decoded"),
        ("emulator-token", 401, "could not be decoded"),
        ("a.b.c", 401, "could not be decoded"),
        (signed(rsa_key("second").private), 401, "could not be decoded"),
        (signed(ec_key().private, "ES256"), 401, "could not be decoded"),
        (signed("secret" * 10, "HS256"), 401, "could not be decoded"),
        (signed("", "none"), 401, "could not be decoded"),
        (signed(iss="Iv23nobody"), 404, "Integration not found"),
        (signed(iss=...), 404, "Integration not found"),
        (signed(iat=int(START) + 1), 401, "'Issued at' claim"),
        (signed(iat=...), 401, "'Issued at' claim"),
        (signed(exp=int(START)), 401, "'Expiration time' claim ('exp') must be"),
        (signed(exp=...), 401, "'Expiration time' claim ('exp') must be"),
        (signed(exp=int(START) + 601), 401, "is too far in the future"),
    ],
)
def test_what_does_not_prove_the_app_gets_nothing(
    github: GitHub, installation: Installation, proof: str, status: int, words: str
) -> None:
    response = new_token(github, proof)
    assert (response.status, installation.tokens) == (status, [])
    assert words in message(response)


def test_a_jwt_needs_the_scheme_bearer(github: GitHub, installation: Installation) -> None:
    headers = {"Authorization": f"token {signed()}"}
    assert ask(github, TOKENS, method="POST", token=None, headers=headers, body=ONE).status == 401
    assert ask(github, TOKENS, method="POST", token=None, body=ONE).status == 401


def test_a_jwt_is_good_for_nothing_else(github: GitHub, installation: Installation) -> None:
    assert ask(github, REPO, token=signed()).status == 401


def test_another_apps_installation_is_not_found(github: GitHub, installation: Installation) -> None:
    github.add_app(rsa_key("second").public, app_id=2, client_id="Iv23other")
    assert new_token(github, signed(rsa_key("second").private, iss="2")).status == 404


@pytest.mark.parametrize("target", ["/app/installations/816/access_tokens", "/app/installations/x/access_tokens"])
def test_an_unknown_installation_is_not_found(github: GitHub, installation: Installation, target: str) -> None:
    assert new_token(github, target=target).status == 404
