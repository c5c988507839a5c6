"""The Secrets that are labelled as Git credentials, wherever Secrets live."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.kubernetes import MOST_LABELLED, MOST_LISTED, KubernetesSecrets
from gha_step.credentials.secrets import LabelledSecret, SecretReader
from gha_step.kube import KubeApi
from gha_step.runtime import Clock
from tests.support.api_server import ApiServer, Scripted, answer, as_secret, reset, status
from tests.support.clock import VirtualClock
from tests.support.cluster import api_at
from tests.support.denials import told_at_last
from tests.support.secrets import write_secret

URL = "https://github.com/myorg/my-app"
SUBJECT = "system:serviceaccount:demo:default"
PATH = "/api/v1/namespaces/demo/secrets"


def in_cluster(server: ApiServer, folder: Path, clock: Clock | None = None) -> KubernetesSecrets:
    return KubernetesSecrets(api_at(server.url, folder, clock=clock))


def listing(*secrets: Mapping[str, Any], after: str = "") -> Mapping[str, Any]:
    return {"kind": "SecretList", "metadata": {"continue": after} if after else {}, "items": list(secrets)}


def found(reader: SecretReader, namespace: str = "demo") -> dict[str, Mapping[str, bytes]]:
    return {secret.name: secret.data for secret in reader.labelled(namespace)}


# ---------------------------------------------------------------- Kubernetes


def test_only_labelled_secrets_are_asked_for(server: ApiServer, tmp_path: Path) -> None:
    server.objects[PATH] = listing(as_secret("a", {"repoURL": URL.encode()}), as_secret("b", {}))
    assert found(in_cluster(server, tmp_path)) == {"a": {"repoURL": URL.encode()}, "b": {}}
    (request,) = server.requests
    assert request.path.partition("?")[0] == PATH
    assert "labelSelector=kargo.akuity.io%2Fcred-type%3Dgit" in request.path


def test_a_long_list_comes_in_pages(server: ApiServer, tmp_path: Path) -> None:
    server.scripted.append(answer(200, listing(as_secret("b", {}), after="more")))
    server.scripted.append(answer(200, listing(as_secret("a", {}))))
    assert list(found(in_cluster(server, tmp_path))) == ["b", "a"]
    assert "continue=more" in server.requests[1].path


@pytest.mark.parametrize(
    "secrets",
    [
        [as_secret("a", {"x": b"x" * (1 << 19)})] * (MOST_LISTED // (1 << 19) + 2),
        [{"metadata": {"name": "a", "annotations": {"x": "x" * (MOST_LISTED + 1)}}}, as_secret("b", {})],
        [as_secret("a", {})] * (MOST_LABELLED + 2),
    ],
    ids=["their data", "their annotations", "so many"],
)
def test_more_than_can_be_looked_through_for_every_step_is_refused_and_not_read_to_its_end(
    secrets: list[Mapping[str, Any]],
) -> None:
    left = iter(secrets)

    class Api(KubeApi):
        def __init__(self) -> None:
            """No server is asked."""

        def items(self, *_: object, **__: object) -> Iterator[dict[str, Any]]:
            return map(dict, left)

    with pytest.raises(CredentialsError, match="remove the label"):
        list(KubernetesSecrets(Api()).labelled("demo"))
    assert len(list(left)) == 1


def test_annotations_come_with_a_secret(server: ApiServer, tmp_path: Path) -> None:
    secret = {**as_secret("a", {}), "metadata": {"name": "a", "annotations": {"x/y": "z"}}}
    server.objects[PATH] = listing(secret)
    assert list(in_cluster(server, tmp_path).labelled("demo")) == [LabelledSecret("a", {}, {"x/y": "z"})]


def test_who_may_not_list_is_told_the_rule_that_is_missing(server: ApiServer, tmp_path: Path) -> None:
    words = (
        f'secrets is forbidden: User "{SUBJECT}" cannot list resource "secrets" in API group "" in the namespace "demo"'
    )
    server.scripted.extend([answer(403, status(403, "Forbidden", words))] * 3)
    clock = VirtualClock()
    secrets = in_cluster(server, tmp_path, clock)
    said = str(told_at_last(lambda: found(secrets), clock, CredentialsError))
    assert f"give {SUBJECT} a Role in the namespace demo with the rule" in said
    assert '{apiGroups: [""], resources: [secrets], verbs: [list]}, as in deploy/step-plugin/git-credentials' in said


@pytest.mark.parametrize(
    "trouble",
    [
        reset,
        answer(401, status(401, "Unauthorized", "Unauthorized")),
        answer(404, b"404 page not found"),
        answer(200, {"kind": "SecretList"}),
        answer(200, {"metadata": {}, "items": [1]}),
        answer(200, {"metadata": {}, "items": [{"data": {}}]}),
        answer(200, {"metadata": {}, "items": [{"metadata": {"name": "a"}, "data": {"repoURL": "?"}}]}),
        answer(200, {"metadata": {}, "items": [{"metadata": {"name": "a"}, "data": {"repoURL": 1}}]}),
        answer(200, {"metadata": {}, "items": [{"metadata": {"name": "a"}, "data": []}, {"metadata": None}]}),
    ],
)
def test_without_a_clear_answer_nothing_is_said_of_the_secrets(
    server: ApiServer, tmp_path: Path, trouble: Scripted
) -> None:
    server.scripted.append(trouble)
    with pytest.raises(SecretsUnavailable, match="the Secrets of the namespace demo cannot be listed now") as caught:
        found(in_cluster(server, tmp_path))
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0


@pytest.mark.parametrize("kind", ["directory", "cluster"])
@pytest.mark.parametrize("namespace", ["", "..", "a/b", "A", "a.b", "a" * 64, "%2e"])
def test_what_is_no_namespace_is_refused_before_anything_is_asked(
    server: ApiServer, tmp_path: Path, kind: str, namespace: str
) -> None:
    reader: SecretReader = DirectorySecrets(tmp_path) if kind == "directory" else in_cluster(server, tmp_path)
    with pytest.raises(CredentialsError, match="is not the name of a namespace"):
        found(reader, namespace)
    assert server.requests == []


# ---------------------------------------------------------------- directories


def test_a_directory_with_a_repo_url_counts_as_labelled(tmp_path: Path) -> None:
    write_secret(tmp_path, "demo", "b", repoURL=URL, username="x", password="y")
    write_secret(tmp_path, "demo", "a", repoURL="")
    write_secret(tmp_path, "demo", "github", accessToken="x")
    write_secret(tmp_path, "other", "c", repoURL=URL)
    secrets = found(DirectorySecrets(tmp_path))
    assert set(secrets) == {"a", "b"}
    assert secrets["b"] == {"repoURL": URL.encode(), "username": b"x", "password": b"y"}


def test_a_namespace_without_a_directory_has_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert found(DirectorySecrets(tmp_path)) == {}
    assert found(DirectorySecrets(tmp_path), "file") == {}


def test_what_kubernetes_mounts_beside_secrets_is_none(tmp_path: Path) -> None:
    mount = tmp_path / "demo" / "git"
    version = mount / "..2026_01_01"
    version.mkdir(parents=True)
    (version / "repoURL").write_text(URL)
    (mount / "..data").symlink_to(version.name)
    (mount / "repoURL").symlink_to("..data/repoURL")
    write_secret(tmp_path, "demo", "Not_a_name", repoURL=URL)
    (tmp_path / "demo" / "file").write_text("")
    assert found(DirectorySecrets(tmp_path)) == {"git": {"repoURL": URL.encode()}}


def test_a_rotated_value_is_read_at_once(tmp_path: Path) -> None:
    reader = DirectorySecrets(tmp_path)
    for password in ("old", "new"):
        write_secret(tmp_path, "demo", "a", repoURL=URL, password=password)
        assert found(reader)["a"]["password"] == password.encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed_off", ["demo", "demo/a", "demo/a/password"])
def test_what_may_not_be_read_is_named_with_its_path(tmp_path: Path, closed_off: str) -> None:
    write_secret(tmp_path, "demo", "a", repoURL=URL, password="hunter2")
    path = tmp_path / closed_off
    path.chmod(0o000)
    try:
        with pytest.raises(CredentialsError, match="give this process read access"):
            found(DirectorySecrets(tmp_path))
    finally:
        path.chmod(0o700)


def test_a_value_that_no_secret_holds_is_refused(tmp_path: Path) -> None:
    write_secret(tmp_path, "demo", "a", repoURL=URL, password=b"x" * (1 << 20) + b"x")
    with pytest.raises(CredentialsError, match="the key password is over 1 MiB"):
        found(DirectorySecrets(tmp_path))
