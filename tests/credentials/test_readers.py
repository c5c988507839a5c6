"""The contract of a SecretReader, kept by every place where Secrets live."""

import traceback

import pytest

from gha_step.contract.errors import CredentialsError
from tests.credentials.conftest import Home

TOKEN = b"ghp_0123456789abcdefghijklmnopqrstuvwxyz"
NO_NAMES = [
    "",
    ".",
    "..",
    "../github",
    "a/../b",
    "a/b",
    "/etc",
    "a\\b",
    "a..b",
    ".a",
    "a.",
    "-a",
    "a-",
    "A",
    "a b",
    "a\n",
    "a\0",
    "a%2fb",
    "%2e%2e",
    "a?b",
    "a#b",
    "a;b",
    "ä",
    "a" * 254,
]


def test_every_key_is_read_byte_for_byte(home: Home) -> None:
    data = {"accessToken": TOKEN, "baseURL": b" https://ghes.example/ \n", "binary.0-_X": bytes(range(256))}
    home.put("github", data)
    assert dict(home.reader.read(home.project, "github")) == data


def test_an_empty_value_is_an_empty_value(home: Home) -> None:
    home.put("github", {"accessToken": b""})
    assert dict(home.reader.read(home.project, "github")) == {"accessToken": b""}


def test_a_secret_without_data_has_no_keys(home: Home) -> None:
    home.put("github", {})
    assert dict(home.reader.read(home.project, "github")) == {}


def test_a_large_value_is_whole(home: Home) -> None:
    home.put("github", {"ca.crt": b"x" * 700_000})
    assert home.reader.read(home.project, "github")["ca.crt"] == b"x" * 700_000


def test_a_name_may_have_dots_and_the_full_length(home: Home) -> None:
    name = "a.b-c." + "d" * 247
    home.put(name, {"accessToken": TOKEN})
    assert home.reader.read(home.project, name)["accessToken"] == TOKEN


def test_a_rotated_value_is_read_at_once(home: Home) -> None:
    home.put("github", {"accessToken": b"old"})
    assert home.reader.read(home.project, "github")["accessToken"] == b"old"
    home.put("github", {"accessToken": b"new", "baseURL": b"https://ghes.example"})
    assert dict(home.reader.read(home.project, "github")) == {
        "accessToken": b"new",
        "baseURL": b"https://ghes.example",
    }


def test_a_secret_that_is_removed_is_missing_at_once(home: Home) -> None:
    home.put("github", {"accessToken": TOKEN})
    home.reader.read(home.project, "github")
    home.remove("github")
    with pytest.raises(CredentialsError, match="does not exist"):
        home.reader.read(home.project, "github")


def test_a_missing_secret_is_named_with_its_project_and_the_mend(home: Home) -> None:
    with pytest.raises(CredentialsError) as caught:
        home.reader.read(home.project, "github")
    text = str(caught.value)
    assert f"project {home.project}: the Secret github does not exist" in text
    assert caught.value.retry_after is None


def test_a_secret_of_one_project_is_missing_in_another(home: Home) -> None:
    home.put("github", {"accessToken": TOKEN})
    with pytest.raises(CredentialsError, match=f"project {home.other_project}: .* does not exist"):
        home.reader.read(home.other_project, "github")


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_of_a_secret_is_refused_and_not_repeated(home: Home, name: str) -> None:
    home.put("github", {"accessToken": TOKEN})
    with pytest.raises(CredentialsError, match=r"secretName is not the name of a Secret") as caught:
        home.reader.read(home.project, name)
    assert len(name) < 3 or name not in str(caught.value)


@pytest.mark.parametrize("project", [*NO_NAMES, "a.b", "a" * 64])
def test_what_is_no_name_of_a_project_is_refused_and_not_repeated(home: Home, project: str) -> None:
    with pytest.raises(CredentialsError, match=r"context\.project is not the name of a namespace") as caught:
        home.reader.read(project, "github")
    assert len(project) < 4 or project not in str(caught.value)


def test_no_value_is_in_the_traceback_of_a_later_failure(home: Home) -> None:
    home.put("github", {"accessToken": TOKEN})
    home.reader.read(home.project, "github")
    home.remove("github")
    with pytest.raises(CredentialsError) as caught:
        home.reader.read(home.project, "github")
    assert TOKEN.decode() not in "".join(traceback.format_exception(caught.value))
    assert TOKEN.decode() not in repr(home.reader)
