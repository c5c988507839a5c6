"""One server, a well-behaved project that it serves, and what is measured of both."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.abuse.caller import ELSEWHERE, PROJECT_TOKEN, Caller
from tests.abuse.in_kubernetes import in_cluster, put_secret
from tests.abuse.victim import VICTIM, Measured
from tests.bench.programs import StandIn, stand_in
from tests.support.certificates import Authority
from tests.support.cluster import Cluster
from tests.support.process import Served
from tests.support.secrets import write_secret

_NICE: Final = ("nice", "-n", str(ELSEWHERE))


class Site:
    """A server with its victim."""

    def __init__(
        self, server: Served, github: StandIn, folder: Path, authority: Path | None, cluster: Cluster | None
    ) -> None:
        self.server = server
        self.github = github
        self.folder = folder
        self.authority = authority  # of the gRPC server, where steps are then executed
        self.cluster = cluster  # where Secrets and records are
        self.address = urlsplit(server.url).netloc
        self.attacker = Caller(self.address, server.grpc_target, authority, f"p{server.process.pid}-")  # no step twice
        self.refusals: Counter[str] = Counter()
        self.victim: subprocess.Popen[str]

    def watch(self, seconds: float) -> Measured:
        """The victim dispatches, one promotion after the other, for so long."""
        assert self.victim.stdin is not None
        assert self.victim.stdout is not None
        self.victim.stdin.write(f"{seconds}\n")
        self.victim.stdin.flush()
        seen = json.loads(self.victim.stdout.readline())
        return Measured(seen["times"], Counter(seen["failures"]), float(seen["health"]))

    def secret(self, project: str, url: str, **more: str) -> None:
        """Credentials of a project."""
        data = {"accessToken": "a-token-of-many-characters", "baseURL": url, **more}
        if self.cluster is None:
            write_secret(self.server.secrets, project, **data)
        else:
            put_secret(self.cluster, project, data)

    def memory(self) -> float:
        """The most that was resident, MiB."""
        lines = Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    @contextmanager
    def hostile(self, kind: str) -> Iterator[str]:
        """A hostile server; its URL."""
        process = subprocess.Popen(
            [*_NICE, sys.executable, "-m", "tests.abuse.hostile", kind], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def program(self, name: str, *arguments: object) -> Iterator[None]:
        """An attacker in a process of its own."""
        environ = os.environ | ({} if self.authority is None else {"ABUSE_CA": str(self.authority)})
        process = subprocess.Popen(
            [*_NICE, sys.executable, "-m", "tests.abuse.attacker", name, *map(str, arguments)],
            process_group=0,  # no session of its own: to Linux's scheduler each is worth as much as all others
            env=environ,
        )
        try:
            yield
            if process.poll() is not None:
                raise AssertionError(f"the attacker {name} has ended by itself")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def site(folder: Path, *, tls: bool = False, cluster: Cluster | None = None, **environment: str) -> Iterator[Site]:
    """A server, its victim and the victim's GitHub.

    :param tls: gRPC has a certificate, and the victim calls over it.
    :param cluster: where Secrets and records are.
    """
    given = {"GHA_STEP_LOG_LEVEL": "info", "GHA_STEP_GRPC_LISTEN": "127.0.0.1:0"} | environment
    authority = Authority(folder / "authority")
    if tls:
        issued = authority.issue("server")
        given |= {"GHA_STEP_GRPC_TLS_CERT": str(issued.certificate), "GHA_STEP_GRPC_TLS_KEY": str(issued.key)}
    if cluster is not None:
        given |= in_cluster(cluster)
    with stand_in() as github:
        server = Served(folder, given, fresh=True)
        try:
            made = Site(server, github, folder, authority.certificate if tls else None, cluster)
            made.secret(VICTIM, github.url)
            write_secret(server.secrets, VICTIM, "gha-step", token=PROJECT_TOKEN)
            given_to_victim = [made.address, server.grpc_target, str(made.authority or "")]
            if environment.get("GHA_STEP_PROJECT_API") == "on":
                given_to_victim.append("rest")
            command = [sys.executable, "-m", "tests.abuse.victim", *given_to_victim]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made.victim:
                try:
                    yield made
                finally:
                    made.victim.kill()
        finally:
            server.kill()
