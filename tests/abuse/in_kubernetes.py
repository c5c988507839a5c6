"""A real API server for Secrets and records, and what a project can do there that slows everybody down."""

import base64
import json
import os
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from gha_step.kube import AlreadyExists, KubeError
from gha_step.ledger.keys import step_key
from gha_step.ledger.kubernetes import GATES, RECORDS, KubernetesStore
from gha_step.ledger.record import Candidate, Owner, Record, State, Target
from tests.abuse.caller import ELSEWHERE
from tests.abuse.victim import VICTIM
from tests.ledger.clusters import LEDGER_RULES, install
from tests.support.certificates import Authority
from tests.support.cluster import Cluster

ATTACKER: Final = "attacker"
_WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def prepare(cluster: Cluster) -> None:
    """The namespaces of both projects, and a ServiceAccount with just the rights that are needed."""
    install(cluster)
    for project in (VICTIM, ATTACKER):
        cluster.admin.create("/api/v1/namespaces", {"metadata": {"name": project}})
    cluster.service_account(VICTIM)
    for project in (VICTIM, ATTACKER):
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["github"], "verbs": ["get"]}
        cluster.allow(project, [rule, *LEDGER_RULES], account=f"{VICTIM}:default")


def in_cluster(cluster: Cluster) -> dict[str, str]:
    """The settings of a server there."""
    return {
        "KUBECONFIG": str(cluster.kubeconfig(cluster.service_account(VICTIM), VICTIM)),
        "GHA_STEP_SECRETS": "kubernetes",
        "GHA_STEP_LEDGER": "kubernetes",
        "GHA_STEP_PROJECTS": f"{VICTIM},{ATTACKER}",
    }


def put_secret(cluster: Cluster, project: str, data: dict[str, str]) -> None:
    """The Secret `github` of a project."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    body = {"metadata": {"name": "github"}, "data": encoded}
    path = f"/api/v1/namespaces/{project}/secrets"
    try:
        cluster.admin.create(path, body)
    except AlreadyExists:
        cluster.admin.replace(f"{path}/github", body)


def write_aliases(cluster: Cluster, url: str, count: int) -> None:
    """So many records of one Promotion, each of which looks for its run."""
    _write_records(cluster, url, count, "crowded", state=State.RESERVED)


def write_fat_records(cluster: Cluster, url: str, count: int) -> None:
    """So many records of 900 KB, made by hand: sent, never ended, and their runs are looked for."""
    _write_records(
        cluster,
        url,
        count,
        "fat",
        state=State.ACCEPTED_WITHOUT_ID,
        sending_at=time.time(),
        nonce="n",
        owner=Owner(incarnation="i"),
        seen=tuple(Candidate(id=number, url="http://x/" + "x" * 4_000) for number in range(225)),
    )


def _write_records(cluster: Cluster, url: str, count: int, promotion: str, **fields: Any) -> None:
    store = KubernetesStore(cluster.admin, None)
    target = Target(api_base=f"{url}/api/v3", repo="myorg/my-app", workflow="deploy.yml", ref="main")

    def write(number: int) -> None:
        parts = (ATTACKER, f"uid-{promotion}", f"alias-{number}")
        record = Record(
            key=step_key(*parts),
            key_parts=parts,
            promotion=promotion,
            target=target,
            inputs_hash="0" * 64,
            timeout=600,
            created_at=time.time(),
            **fields,
        )
        with suppress(AlreadyExists):
            store.write(record)

    with ThreadPoolExecutor(8) as workers:
        for _ in workers.map(write, range(count)):
            pass


@contextmanager
def fat_leases(cluster: Cluster) -> Iterator[None]:
    """Each Lease of the attacker gets 1 MiB more, and other contents again and again."""
    stop = threading.Event()

    def fatten() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), ELSEWHERE)
        path, turn = GATES.path(ATTACKER), 0
        while not stop.wait(0.1):
            with suppress(KubeError):
                for lease in cluster.admin.items(path):
                    turn += 1
                    owner = {"apiVersion": "v1", "kind": "ConfigMap", "uid": "u"}
                    lease["metadata"]["ownerReferences"] = [
                        owner | {"name": f"{turn}-{number}" + "x" * 1_000} for number in range(1_000)
                    ]
                    with suppress(KubeError):
                        cluster.admin.replace(GATES.path(ATTACKER, lease["metadata"]["name"]), lease)

    thread = threading.Thread(target=fatten, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class _Slow(BaseHTTPRequestHandler):
    seconds = 0.0

    def do_POST(self) -> None:
        review: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.seconds)
        answer = {"uid": review["request"]["uid"], "allowed": True}
        content = json.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": answer})
        with suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def slow_webhook(cluster: Cluster, folder: Path, seconds: float) -> Iterator[None]:
    """An admission webhook for the attacker's records that lets all of them in, after so long."""
    authority = Authority(folder / "webhook")
    issued = authority.issue("webhook")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Slow", (_Slow,), {"seconds": seconds}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rule = {"apiGroups": [RECORDS.group], "apiVersions": ["*"], "resources": [RECORDS.plural]}
    webhook = {
        "name": "slow.example.com",
        "clientConfig": {
            "url": f"https://127.0.0.1:{server.server_address[1]}/",
            "caBundle": base64.b64encode(authority.certificate.read_bytes()).decode(),
        },
        "rules": [rule | {"operations": ["CREATE", "UPDATE"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ATTACKER}},
        "timeoutSeconds": 20,
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    made = cluster.admin.create(_WEBHOOKS, {"metadata": {"name": "slow"}, "webhooks": [webhook]})
    try:
        yield
    finally:
        cluster.admin.delete(f"{_WEBHOOKS}/slow", made["metadata"]["uid"], made["metadata"]["resourceVersion"])
        server.shutdown()
