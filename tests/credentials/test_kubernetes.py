"""What only Kubernetes can answer about a Secret: permissions, outages, and answers that are none."""

import logging
import threading
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.credentials.kubernetes import KubernetesSecrets
from gha_step.runtime import Clock
from gha_step.shared_reads import SharedReads
from tests.support.api_server import (
    ApiServer,
    Scripted,
    answer,
    as_secret,
    patience,
    reset,
    serving,
    silent,
    status,
)
from tests.support.clock import LONG, VirtualClock, eventually
from tests.support.cluster import Cluster, api_at
from tests.support.denials import told_at_last

PATH = "/api/v1/namespaces/project-a/secrets/github"
BEARER = "eyJhbGciOiJFUzI1NiJ9.a-service-account-token"
VALUE = b"ghp_0123456789abcdefghijklmnopqrstuvwxyz"
SUBJECT = "system:serviceaccount:project-a:default"


def reader(server: ApiServer, folder: Path, timeout: float = LONG, clock: Clock | None = None) -> KubernetesSecrets:
    """Under the identity that ``BEARER`` stands for."""
    server.users = {BEARER: SUBJECT}
    return KubernetesSecrets(api_at(server.url, folder, BEARER, clock, timeout))


def _waiting(future: Any) -> int:
    return len(future._condition._waiters)


def test_one_read_is_one_get_of_one_secret(server: ApiServer, tmp_path: Path) -> None:
    server.objects[PATH] = as_secret("github", {"accessToken": VALUE})
    reader(server, tmp_path).read("project-a", "github")
    assert [(one.method, one.path) for one in server.requests] == [("GET", PATH)]


@pytest.mark.parametrize("listed", [False, True])
def test_calls_at_the_same_moment_share_a_read_that_began_after_they_came(
    server: ApiServer, tmp_path: Path, listed: bool
) -> None:
    came, go_on = threading.Event(), threading.Event()

    def answered(value: bytes) -> Mapping[str, object]:
        secret = as_secret("github", {"accessToken": value})
        return {"items": [secret], "metadata": {}} if listed else secret

    def held(handler: Any) -> None:
        came.set()
        assert go_on.wait(LONG)
        answer(200, answered(b"old"))(handler)

    server.scripted.append(held)
    server.objects[PATH.rpartition("/")[0] if listed else PATH] = answered(VALUE)
    secrets = reader(server, tmp_path, timeout=LONG)

    def read() -> Mapping[str, bytes]:
        return next(secrets.labelled("project-a")).data if listed else secrets.read("project-a", "github")

    reads: SharedReads[Any] = secrets._lists if listed else secrets._gets
    with ThreadPoolExecutor(20) as threads:
        first = threads.submit(read)
        assert came.wait(LONG)
        later = [threads.submit(read) for _ in range(19)]
        key = "project-a" if listed else ("project-a", "github")  # one of them is to read, and the others wait for it
        eventually(lambda: key in reads._next and _waiting(reads._next[key]) == 18)
        go_on.set()
        assert first.result(LONG) == {"accessToken": b"old"}
        assert [one.result(LONG) for one in later] == [{"accessToken": VALUE}] * 19
    assert len(server.requests) == 2


@pytest.mark.parametrize(("project", "name"), [("..", "github"), ("project-a", "../../secrets"), ("a/b", "c")])
def test_what_is_no_name_is_refused_before_anything_is_asked(
    server: ApiServer, tmp_path: Path, project: str, name: str
) -> None:
    with pytest.raises(CredentialsError):
        reader(server, tmp_path).read(project, name)
    assert server.requests == []


def test_a_missing_secret_tells_how_to_create_it(server: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as caught:
        reader(server, tmp_path).read("project-a", "github")
    assert str(caught.value) == (
        "project project-a: the Secret github does not exist; create it, for example with kubectl create secret "
        "generic github --namespace project-a --from-literal=accessToken=TOKEN"
    )


def test_a_forbidden_secret_suspects_the_name_then_the_role_and_names_its_folder(
    server: ApiServer, tmp_path: Path
) -> None:
    server.forbidden = lambda user, path: user == SUBJECT and path == PATH
    clock = VirtualClock()
    secrets = reader(server, tmp_path, clock=clock)
    said = str(told_at_last(lambda: secrets.read("project-a", "github"), clock, CredentialsError))
    wanted = (
        "the Secret github may not be read: see first whether this is its name",
        f"else give {SUBJECT} a Role in the namespace project-a with the rule",
        '{apiGroups: [""], resources: [secrets], resourceNames: [github], verbs: [get]}',
        "as in deploy/step-plugin/project",
        'cannot get resource "secrets"',
    )
    assert [said.index(words) for words in wanted] == sorted(said.index(words) for words in wanted)


@pytest.mark.parametrize("body", [b"", b"<html>no</html>"])
def test_a_refusal_that_names_nobody_still_tells_the_rule(server: ApiServer, tmp_path: Path, body: object) -> None:
    clock = VirtualClock()
    secrets = reader(server, tmp_path, clock=clock)
    server.scripted.extend([answer(403, body)] * 3)
    said = told_at_last(lambda: secrets.read("project-a", "github"), clock, CredentialsError)
    assert "give the ServiceAccount of this process a Role" in str(said)


def test_what_a_webhook_denies_is_told_in_its_words_and_without_a_role(server: ApiServer, tmp_path: Path) -> None:
    clock = VirtualClock()
    secrets = reader(server, tmp_path, clock=clock)
    server.scripted.extend([answer(403, status(403, "Forbidden", "denied by a webhook"))] * 3)
    said = str(told_at_last(lambda: secrets.read("project-a", "github"), clock, CredentialsError))
    assert said.endswith("denied by a webhook")
    assert "with the rule" not in said


@pytest.mark.parametrize(
    "denial",
    [
        answer(401, status(401, "Unauthorized", "Unauthorized")),
        answer(403, b""),
        answer(404, b"404 page not found"),
    ],
)
def test_an_api_server_that_starts_is_waited_for(server: ApiServer, tmp_path: Path, denial: Scripted) -> None:
    """For a moment it denies everybody everything; a step then ended for good."""
    server.objects[PATH] = as_secret("github", {"accessToken": VALUE})
    clock = VirtualClock()
    secrets = reader(server, tmp_path, clock=clock)
    for _ in range(2):  # the second time all of it counts anew
        server.scripted.extend([denial] * 2)
        for _ in range(2):
            with pytest.raises(SecretsUnavailable):
                secrets.read("project-a", "github")
            clock.forward(10.0)
        assert secrets.read("project-a", "github") == {"accessToken": VALUE}
    server.scripted.extend([denial] * 3)
    told_at_last(lambda: secrets.read("project-a", "github"), clock, CredentialsError)


@pytest.mark.parametrize(
    "trouble",
    [
        silent,
        answer(429, status(429, "TooManyRequests", "too many"), {"Retry-After": "3"}),
        answer(200, {"kind": "Status"}),
        answer(200, {"kind": "Secret", "data": ["accessToken"]}),
        answer(200, {"kind": "Secret", "data": {"accessToken": 1}}),
        answer(200, {"kind": "Secret", "data": {"accessToken": "QUJD!"}}),
        answer(200, {"kind": "Secret", "data": {"accessToken": "größe"}}),
    ],
)
def test_without_a_clear_answer_nothing_is_said_of_the_secret(
    server: ApiServer, tmp_path: Path, trouble: Scripted
) -> None:
    server.scripted.append(trouble)
    with pytest.raises(SecretsUnavailable, match="project project-a: the Secret github cannot be read now") as caught:
        reader(server, tmp_path, timeout=patience(trouble)).read("project-a", "github")
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0
    eventually(lambda: server.requests)
    assert len(server.requests) == 1


def test_an_api_server_that_cannot_be_reached_is_not_a_missing_secret(tmp_path: Path) -> None:
    with serving() as gone:
        secrets = reader(gone, tmp_path)
    with pytest.raises(SecretsUnavailable, match="Connection refused"):
        secrets.read("project-a", "github")


@pytest.mark.parametrize(
    "trouble",
    [
        None,
        reset,
        answer(403, status(403, "Forbidden", f"no: Bearer {BEARER}")),
        answer(500, status(500, "InternalError", f"header authorization: bearer {BEARER}")),
        answer(200, {"kind": "Secret", "data": {"accessToken": VALUE.decode()}}),
    ],
)
def test_no_token_is_in_any_text_log_or_traceback(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: Scripted | None
) -> None:
    caplog.set_level(logging.DEBUG)
    server.objects[PATH] = as_secret("github", {"accessToken": VALUE})
    secrets = reader(server, tmp_path)
    said = repr(secrets)
    if trouble:
        server.scripted.append(trouble)
        with pytest.raises((CredentialsError, SecretsUnavailable)) as caught:
            secrets.read("project-a", "github")
        said += "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    secrets.read("project-a", "github")
    said += caplog.text
    assert "GET /api/v1" in said  # the client's own log was there to be searched
    for secret in (BEARER, VALUE.decode(), str(as_secret("", {"x": VALUE})["data"])[8:-2]):
        assert secret not in said


@pytest.mark.cluster
class TestUnderARoleForOneNamedSecret:
    """The rule that the messages ask for, and not a bit more. That a denial which lasts is final is tried above."""

    @pytest.fixture
    def project(self, cluster: Cluster) -> str:
        project = cluster.namespace("project")
        for name in ("github", "other"):
            path = f"/api/v1/namespaces/{project}/secrets"
            cluster.admin.create(path, {**as_secret(name, {"accessToken": b"old"}), "metadata": {"name": name}})
        return project

    @pytest.fixture
    def secrets(self, cluster: Cluster, project: str) -> KubernetesSecrets:
        token = cluster.service_account(project)
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["github"], "verbs": ["get"]}
        cluster.allow(project, [rule])
        return KubernetesSecrets(cluster.api(token))

    def test_a_rotated_value_is_read_at_once(self, cluster: Cluster, secrets: KubernetesSecrets, project: str) -> None:
        secrets.read(project, "github")
        path = f"/api/v1/namespaces/{project}/secrets/github"
        cluster.admin.replace(path, as_secret("github", {"accessToken": b"new"}))
        assert secrets.read(project, "github") == {"accessToken": b"new"}

    @pytest.mark.parametrize("name", ["other", "missing"])
    def test_another_secret_is_forbidden_whether_it_exists_or_not(
        self, secrets: KubernetesSecrets, project: str, name: str
    ) -> None:
        with pytest.raises(SecretsUnavailable) as caught:
            secrets.read(project, name)
        assert f"give system:serviceaccount:{project}:default a Role in the namespace {project}" in str(caught.value)
        assert f"resourceNames: [{name}], verbs: [get]}}" in str(caught.value)

    def test_the_rule_that_the_message_names_is_all_that_was_missing(
        self, cluster: Cluster, secrets: KubernetesSecrets, project: str
    ) -> None:
        with pytest.raises(SecretsUnavailable) as caught:
            secrets.read(project, "other")
        said = '{apiGroups: [""], resources: [secrets], resourceNames: [other], verbs: [get]}'
        assert said in str(caught.value)
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["other"], "verbs": ["get"]}
        cluster.allow(project, [rule], name="fixed")
        assert secrets.read(project, "other") == {"accessToken": b"old"}

    def test_without_credentials_the_message_says_that_we_are_nobody(self, cluster: Cluster, project: str) -> None:
        with pytest.raises(SecretsUnavailable, match="give system:anonymous a Role"):
            KubernetesSecrets(cluster.api(None)).read(project, "github")

    def test_a_token_that_is_none_is_told_and_not_repeated(self, cluster: Cluster, project: str) -> None:
        with pytest.raises(SecretsUnavailable, match="our credentials are not accepted") as caught:
            KubernetesSecrets(cluster.api(BEARER)).read(project, "github")
        assert BEARER not in "".join(traceback.format_exception(caught.value))
