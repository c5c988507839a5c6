"""A real kube-apiserver with RBAC on, and its etcd, on loopback: no nodes, no controllers.

Gets and lists without a resourceVersion are of what was written. All else comes after the write, each by a way of its
own: rights, kinds, admission policies, and lists with resourceVersion=0, among them those of ``kubectl wait``. So tests
give rights by :meth:`Cluster.allow`, add kinds by :meth:`Cluster.told`, and wait `eventually` for the rest.

Its programs lie where KUBEBUILDER_ASSETS says (the convention of controller-runtime's envtest).
"""

import itertools
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final

from gha_step.kube import KubeApi, NotFound, connect
from gha_step.runtime import Clock, SystemClock
from tests.support.certificates import Authority, Issued, write_key
from tests.support.clock import LONG, eventually
from tests.support.ports import free_port

PROGRAMS: Final = ("etcd", "kube-apiserver", "kubectl")
START_WITHIN: Final = 240.0  # seconds; it takes 3 to 5
TOKEN_LIFE: Final = 3600  # seconds


class ClusterFailed(Exception):
    """The API server did not come up; the message ends with its log."""


def missing(environ: Mapping[str, str]) -> str | None:
    """Why there can be no cluster here, for a skip; ``None`` if there can."""
    assets = environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        names = ", ".join(PROGRAMS)
        return f"needs a kube-apiserver: set KUBEBUILDER_ASSETS to a directory with {names} (setup-envtest prints one)"
    absent = [program for program in PROGRAMS if not os.access(Path(assets, program), os.X_OK)]
    return f"KUBEBUILDER_ASSETS={assets} lacks {', '.join(absent)}" if absent else None


@contextmanager
def running_or_skipped() -> "Iterator[Cluster]":
    """For fixtures: their tests are skipped, and say so, where there can be none."""
    import pytest  # which those who attack or measure do not need

    if (absent := missing(os.environ)) is not None:
        pytest.skip(absent)
    with running(Path(os.environ["KUBEBUILDER_ASSETS"])) as started:
        yield started


def write_kubeconfig(
    path: Path,
    server: str,
    *,
    authority: Path | None = None,
    token: str | None = None,
    client: Issued | None = None,
    namespace: str | None = None,
) -> Path:
    """A kubeconfig of one context, for ``token`` or ``client`` or nobody; gives ``path``."""
    cluster: dict[str, Any] = {"server": server}
    if authority:
        cluster["certificate-authority"] = str(authority)
    user: dict[str, Any] = {}
    if token is not None:
        user["token"] = token
    if client:
        user |= {"client-certificate": str(client.certificate), "client-key": str(client.key)}
    context = {"cluster": "test", "user": "test"} | ({"namespace": namespace} if namespace else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": context}],
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    path.chmod(0o600)
    return path


def api_at(
    url: str, folder: Path, token: str | None = None, clock: Clock | None = None, timeout: float = LONG
) -> KubeApi:
    """Our own client of the API server at ``url``; its kubeconfig is in ``folder``."""
    kubeconfig = write_kubeconfig(folder / "kubeconfig", url, token=token)
    return connect({"KUBECONFIG": str(kubeconfig)}, clock or SystemClock(), timeout=timeout)


class Cluster:
    """A running one. Nothing made in it is removed: take a new :meth:`namespace` for each test."""

    def __init__(self, folder: Path, url: str, authority: Authority, kubectl: Path, process: int) -> None:
        self.url = url
        self.authority = authority.certificate
        self._folder = folder
        self._kubectl = kubectl
        self._process = process
        self._count = itertools.count(1)
        client = authority.issue("admin", organization="system:masters")
        self.admin_kubeconfig = write_kubeconfig(
            folder / "admin.kubeconfig", url, authority=self.authority, client=client
        )
        self.admin = connect({"KUBECONFIG": str(self.admin_kubeconfig)}, SystemClock(), timeout=LONG)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What ``kubectl`` prints, as the administrator.

        :raises AssertionError: it fails; with what it says.
        """
        command = [str(self._kubectl), "--kubeconfig", str(self.admin_kubeconfig), *arguments]
        environ = {"HOME": str(self._folder), "PATH": ""}
        done = subprocess.run(command, input=stdin, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def namespace(self, prefix: str = "test") -> str:
        """A new namespace; gives its name."""
        name = f"{prefix}-{next(self._count)}"
        self.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def service_account(self, namespace: str, name: str = "default") -> str:
        """The ServiceAccount, made if need be, and a token for it by TokenRequest; gives the token."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        try:
            self.admin.get(f"{accounts}/{name}")
        except NotFound:  # no controller makes "default" here
            self.admin.create(accounts, {"metadata": {"name": name}})
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_LIFE},
        }
        answer = self.admin.create(f"{accounts}/{name}/token", request)
        return str(answer["status"]["token"])

    def allow(
        self, namespace: str, rules: Sequence[Mapping[str, Any]], account: str | None = None, name: str = "test"
    ) -> None:
        """A Role with ``rules`` in the namespace, bound to ``account`` ("namespace:name", or its "default")."""
        home, _, who = (account or f"{namespace}:default").partition(":")
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        self.admin.create(f"{roles}/roles", {"metadata": {"name": name}, "rules": list(rules)})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": home, "name": who}],
        }
        self.admin.create(f"{roles}/rolebindings", binding)
        self.await_rules(namespace, f"system:serviceaccount:{home}:{who}", rules)

    def await_rules(
        self, namespace: str, user: str, rules: Iterable[Mapping[str, Any]], *, granted: bool = True
    ) -> None:
        """Wait until the authorizer has learnt of every verb, or that there is none; ``namespace`` "": everywhere."""
        asked = [
            {
                "namespace": namespace,
                "verb": verb,
                "group": group,
                "resource": resource,
                "subresource": subresource,
                "name": name,
            }
            for rule in rules
            for verb, group, whole, name in itertools.product(
                rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""])
            )
            for resource, _, subresource in [whole.partition("/")]
        ]
        eventually(lambda: all(self._allows(user, attributes) is granted for attributes in asked))

    def _allows(self, user: str, attributes: Mapping[str, str]) -> bool:
        """What the authorizer says."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(self.admin.create(path, review)["status"]["allowed"])

    def told(self, *kinds: str, gone: bool = False) -> None:
        """Wait until these kinds ("plural.group") are served, or no more; kubectl remembers it for hours."""

        def known() -> bool:
            try:
                listed = self.kubectl("api-resources", "--cached=false", "--output=name").split()
            except AssertionError:  # not all groups can be asked for their kinds yet
                return False
            return set(kinds).isdisjoint(listed) if gone else set(kinds) <= set(listed)

        eventually(known)

    def kubeconfig(self, token: str | None = None, namespace: str | None = None, port: int | None = None) -> Path:
        """A kubeconfig for the bearer of ``token``, or for nobody; ``port``: of what leads to the API server."""
        path = self._folder / f"{next(self._count)}.kubeconfig"
        url = self.url if port is None else f"https://127.0.0.1:{port}"
        return write_kubeconfig(path, url, authority=self.authority, token=token, namespace=namespace)

    def api(self, token: str | None, timeout: float = LONG, port: int | None = None) -> KubeApi:
        """Our own client for the bearer of ``token``, or for nobody."""
        return connect({"KUBECONFIG": str(self.kubeconfig(token, port=port))}, SystemClock(), timeout=timeout)

    @contextmanager
    def away(self) -> Iterator[None]:
        """The API server takes connections and answers nothing, until it goes on where it stopped."""
        os.kill(self._process, signal.SIGSTOP)
        try:
            threads = Path(f"/proc/{self._process}/task")  # each stops when it next runs, on a busy machine later
            eventually(lambda: all(_stopped(thread) for thread in threads.iterdir()))
            yield
        finally:
            os.kill(self._process, signal.SIGCONT)


def _stopped(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextmanager
def running(assets: Path) -> Iterator[Cluster]:
    """A cluster from the programs in ``assets``, gone with all it wrote when the block ends.

    :raises ClusterFailed: it did not start.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gha-step-cluster-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        authority = Authority(folder / "pki")
        server = authority.issue("kube-apiserver")
        write_key(folder / "pki" / "service-accounts.key")
        etcd, peers, secure = free_port(), free_port(), free_port()
        etcd_url, peers_url = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
        _start(
            stack,
            folder,
            assets / "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peers_url}",
            f"--initial-advertise-peer-urls={peers_url}",
            f"--initial-cluster=default={peers_url}",
            "--unsafe-no-fsync",
        )
        process = _start(
            stack,
            folder,
            assets / "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={secure}",
            f"--cert-dir={folder / 'pki'}",
            f"--client-ca-file={authority.certificate}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'pki' / 'service-accounts.key'}",
            f"--service-account-signing-key-file={folder / 'pki' / 'service-accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
        )
        url = f"https://127.0.0.1:{secure}"
        _await_ready(url, authority.certificate, process, folder / "kube-apiserver.log")
        yield Cluster(folder, url, authority, assets / "kubectl", process.pid)


def _start(stack: ExitStack, folder: Path, program: Path, *flags: str) -> "subprocess.Popen[bytes]":
    log: IO[bytes] = stack.enter_context((folder / f"{program.name}.log").open("wb"))
    environ = {"HOME": str(folder), "PATH": os.environ.get("PATH", "")}
    process = subprocess.Popen([program, *flags], cwd=folder, env=environ, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)  # nothing of it is kept, so nothing needs an orderly end
    return process


def _await_ready(url: str, authority: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    trust = ssl.create_default_context(cafile=str(authority))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    deadline = time.monotonic() + START_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with direct.open(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise ClusterFailed("kube-apiserver is not ready:\n" + log.read_text(errors="replace")[-4000:])
