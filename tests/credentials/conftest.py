"""The places where Secrets live, each behind its reader: all must keep the one contract (test_readers)."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.kubernetes import KubernetesSecrets
from gha_step.credentials.secrets import SecretReader
from tests.support.api_server import ApiServer, as_secret, serving
from tests.support.cluster import Cluster, api_at


class Home(Protocol):
    """Where Secrets live, as seen by those who put them there."""

    project: str
    other_project: str

    @property
    def reader(self) -> SecretReader:
        """What is tested."""

    def put(self, name: str, data: Mapping[str, bytes]) -> None:
        """Make the Secret in ``project``, or replace all of it."""

    def remove(self, name: str) -> None:
        """It is gone."""


class Directory:
    project, other_project = "project-a", "project-b"

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / self.other_project).mkdir(parents=True)
        self.reader: SecretReader = DirectorySecrets(root)

    def put(self, name: str, data: Mapping[str, bytes]) -> None:
        folder = self._root / self.project / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for key, value in data.items():
            (folder / key).write_bytes(value)

    def remove(self, name: str) -> None:
        shutil.rmtree(self._root / self.project / name)


class StandIn:
    """Over a socket, but not a real API server."""

    project, other_project = "project-a", "project-b"

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self._server = server
        self.reader: SecretReader = KubernetesSecrets(api_at(server.url, folder))

    def put(self, name: str, data: Mapping[str, bytes]) -> None:
        self._server.objects[self._path(name)] = as_secret(name, data)

    def remove(self, name: str) -> None:
        del self._server.objects[self._path(name)]

    def _path(self, name: str) -> str:
        return f"/api/v1/namespaces/{self.project}/secrets/{name}"


class RealCluster:
    """The reader is a ServiceAccount that may get all Secrets of both projects."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.project, self.other_project = cluster.namespace("project"), cluster.namespace("project")
        token = cluster.service_account(self.project)
        for namespace in (self.project, self.other_project):
            rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
            cluster.allow(namespace, [rule], account=f"{self.project}:default")
        self.reader: SecretReader = KubernetesSecrets(cluster.api(token))

    def put(self, name: str, data: Mapping[str, bytes]) -> None:
        self._cluster.kubectl(
            "replace", "--force", "--namespace", self.project, "-f", "-", stdin=json.dumps(as_secret(name, data))
        )

    def remove(self, name: str) -> None:
        self._cluster.kubectl("delete", "secret", name, "--namespace", self.project)


@pytest.fixture(params=["directory", "stand_in", pytest.param("cluster", marks=pytest.mark.cluster)])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """Each place in turn."""
    match request.param:
        case "directory":
            yield Directory(tmp_path)
        case "stand_in":
            with serving() as server:
                yield StandIn(server, tmp_path)
        case _:
            yield RealCluster(request.getfixturevalue("cluster"))
