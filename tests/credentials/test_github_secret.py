"""The Secret of a v1.8 config: what is read from it, and every way in which it can be unfit."""

import traceback
from collections.abc import Iterator, Mapping

import pytest

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.credentials.github_secret import GitHubSecret, read_github_secret
from gha_step.credentials.secrets import LabelledSecret

TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"


class OneSecret:
    """A reader that holds one Secret, or fails; and remembers what was asked."""

    def __init__(self, data: Mapping[str, bytes] | Exception) -> None:
        self.data = data
        self.asked: list[tuple[str, str]] = []

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        self.asked.append((project, name))
        if isinstance(self.data, Exception):
            raise self.data
        return self.data

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        raise AssertionError("only the named Secret is read")

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        raise AssertionError("only the named Secret is read")


def read(data: Mapping[str, bytes] | Exception) -> GitHubSecret:
    return read_github_secret(OneSecret(data), "project-a", "github")


def refused(data: Mapping[str, bytes]) -> str:
    """The message; and nothing of the Secret's values is in it, nor in the traceback."""
    with pytest.raises(CredentialsError) as caught:
        read(data)
    text = "".join(traceback.format_exception(caught.value))
    for value in data.values():
        assert not value.strip() or value.strip().decode("latin-1") not in text
    assert str(caught.value).startswith("project project-a: the Secret github: ")
    assert caught.value.retry_after is None
    return str(caught.value)


def test_the_secret_is_asked_for_by_project_and_name_and_once_per_use() -> None:
    secrets = OneSecret({"accessToken": TOKEN.encode()})
    read_github_secret(secrets, "project-a", "github")
    read_github_secret(secrets, "project-a", "github")
    assert secrets.asked == [("project-a", "github")] * 2


def test_the_token_alone_is_enough() -> None:
    secret = read({"accessToken": TOKEN.encode()})
    assert (secret.token.reveal(), secret.base_url, secret.upload_url) == (TOKEN, None, None)


def test_surrounding_white_space_is_stripped_from_all_three() -> None:
    secret = read(
        {
            "accessToken": f" \t{TOKEN}\r\n".encode(),
            "baseURL": b"\nhttps://ghes.example/ ",
            "uploadURL": b" https://ghes.example/api/uploads/\n",
        }
    )
    assert secret.token.reveal() == TOKEN
    assert (secret.base_url, secret.upload_url) == ("https://ghes.example/", "https://ghes.example/api/uploads/")


@pytest.mark.parametrize("blank", [b"", b" ", b"\n"])
def test_a_blank_url_is_none(blank: bytes) -> None:
    secret = read({"accessToken": TOKEN.encode(), "baseURL": blank, "uploadURL": blank})
    assert (secret.base_url, secret.upload_url) == (None, None)


def test_keys_that_are_not_read_do_no_harm() -> None:
    assert read({"accessToken": TOKEN.encode(), "binary": b"\xff\xfe"}).token.reveal() == TOKEN


def test_the_token_does_not_print() -> None:
    secret = read({"accessToken": TOKEN.encode()})
    assert TOKEN not in repr(secret)
    assert TOKEN not in f"{secret} {secret.token!r} {secret.token}"


def test_a_secret_without_data_lacks_the_key() -> None:
    assert "the key accessToken is missing: put a GitHub token there" in refused({})


@pytest.mark.parametrize("key", ["token", "password", "access-token", "AccessToken", "githubToken", "PAT"])
def test_a_token_under_a_misnamed_key_is_pointed_out(key: str) -> None:
    text = refused({key: TOKEN.encode()})
    assert f"the key accessToken is missing (it has '{key}', which is not read)" in text


@pytest.mark.parametrize("blank", [b"", b" ", b"\r\n\t"])
def test_an_empty_token_is_refused(blank: bytes) -> None:
    assert "the key accessToken is empty" in refused({"accessToken": blank})


def test_an_empty_token_is_not_called_misnamed() -> None:
    assert "which is not read" not in refused({"accessToken": b""})


@pytest.mark.parametrize(
    "token",
    [
        b"ghp_two words",
        b"ghp_two\nlines",
        b"ghp_head\r\nX-Injected: 1",
        b"ghp_nul\0inside",
        b"ghp_del\x7finside",
        "ghp_größe".encode(),
        "\ufeffghp_after_a_byte_order_mark".encode(),
        "ghp_wide\u00a0space".encode(),
    ],
)
def test_a_token_with_characters_that_no_token_has_is_refused(token: bytes) -> None:
    text = refused({"accessToken": token})
    assert "the key accessToken contains white space or characters that a token never has" in text


@pytest.mark.parametrize("key", ["accessToken", "baseURL", "uploadURL"])
def test_a_value_that_is_no_text_is_refused_by_its_key(key: str) -> None:
    data = {"accessToken": TOKEN.encode(), key: b"\xff\xfeg\x00h\x00"}
    assert f"the key {key} is not text" in refused(data)


def test_a_reader_that_cannot_tell_now_is_not_a_wrong_secret() -> None:
    with pytest.raises(SecretsUnavailable) as caught:
        read(SecretsUnavailable("no answer", 7.0))
    assert caught.value.retry_after == 7.0
