"""From settings to a listening server: the interfaces over one core, and the errors of a failed start."""

import secrets as randomness
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gha_step.contract.errors import StepError
from gha_step.contract.secret import Token
from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.secrets import SecretReader
from gha_step.github.connection import SocketConnector
from gha_step.github.egress import Egress
from gha_step.github.errors import BadEndpoint
from gha_step.inbound.bearer import FileToken, TokenFileError, read_token_file
from gha_step.inbound.execution import Execution
from gha_step.inbound.http import http_app
from gha_step.inbound.pace import Pace
from gha_step.inbound.process import ListenError, ServerProcess
from gha_step.inbound.readiness import Readiness
from gha_step.inbound.refused_callers import RefusedCallers
from gha_step.inbound.web import ASGIApp
from gha_step.ledger.record import Owner, State
from gha_step.ledger.store import LedgerUnusable, Standing, Store
from gha_step.proxies import BadProxy, Proxies
from gha_step.runtime import Clock, SystemClock, ThreadWorkers
from gha_step.settings import NO_TLS, NO_TOKEN, NOT_SERVED, Address, Settings
from gha_step.telemetry import DELIVERIES, PROJECT_STATUSES, REFRESHES, Telemetry, log, subject
from gha_step.wiring.core import Core, objection_to

if TYPE_CHECKING:
    from gha_step.inbound.rest.refreshing import Refreshing
    from gha_step.inbound.rest.resource import ProjectApi
    from gha_step.inbound.webhook import Webhook
    from gha_step.kube import KubeApi
    from gha_step.ledger.leader import Leader
    from gha_step.ledger.shrinking import Shrinking
    from gha_step.wiring.abort import AbortParts
    from gha_step.wiring.port import PortParts

CALLS = 64  # threads for calls: each reads a Secret and a record
PROOFS = 32  # threads for the tokens of projects: each reads a Secret


class StartError(StepError):
    """The server cannot start: one line that names the variable or path and the fix."""


class Beside(Protocol):
    """Work that a process does by itself, on threads of its own."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Begin nothing more; also where it was not started, or was stopped before."""


class Server:
    """One process's worth of gha_step: its core, and the ways in to it."""

    def __init__(
        self,
        core: Core,
        process: ServerProcess,
        port: "PortParts | None" = None,
        beside: Sequence[Beside] = (),
    ) -> None:
        """:param beside: what goes on besides calls and Port."""
        self.core = core
        self.port = port
        self._beside = beside
        self._process = process

    @property
    def url(self) -> str:
        """Where HTTP answers."""
        return self._process.url

    @property
    def urls(self) -> tuple[str, ...]:
        """Where all of it answers."""
        return self._process.urls

    def run(self, *, signals: bool = True) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`, and drain."""
        if self.port is not None:
            self.port.start()
        for one in self._beside:
            one.start()
        self._process.run(signals=signals)

    def stop(self) -> None:
        """Begin to stop, from any thread."""
        self._process.stop()

    def close(self) -> None:
        """Let go of the ledger, once nothing is served any more."""
        for one in self._beside:
            one.stop()
        if self.port is not None:
            self.port.close()
        self.core.close()


def build(settings: Settings, environment: Mapping[str, str], clock: Clock | None = None) -> Server:
    """A bound server, not yet running.

    :param environment: where Kubernetes and its tools tell how to reach the API server.
    :param clock: the machine's own, if none is given.

    :raises StartError: it cannot be.
    """
    return _Parts(settings, environment, clock or SystemClock()).server()


class _Parts:
    """What one server is made of: first what every part stands on, then the parts that its settings ask for."""

    def __init__(self, settings: Settings, environment: Mapping[str, str], clock: Clock) -> None:
        self._settings = settings
        self._environment = environment
        self._clock = clock
        try:
            self._proxies = Proxies.parse(environment)
        except BadProxy as error:
            raise StartError(str(error)) from None
        self._token = _bearer(settings, clock)
        self._telemetry = telemetry = Telemetry()
        self._cluster = _cluster(settings, environment, clock)
        projects = _projects(settings, self._cluster)
        self._secrets = _secrets(settings, self._cluster)
        self._store = _ledger(settings, self._cluster, projects, environment)
        telemetry.watch_ledger(self._census())
        pace = Pace()
        workers = partial(ThreadWorkers, spend=pace.spend)
        self._core = core = self._made_core(projects, workers)
        self._calls = workers(CALLS, "call")
        self._execution = Execution(
            core.steps,
            workers=self._calls,
            clock=clock,
            telemetry=telemetry,
            reply_within=settings.reply_within,
            pace=pace,
        )
        self._served = None if settings.token_file == NOT_SERVED else self._execution
        self._readiness = readiness = Readiness()
        self._refused = RefusedCallers(clock, telemetry)
        telemetry.expect(core.steps.kinds, State)
        telemetry.watch_readiness(lambda: readiness.serving)

    def server(self) -> Server:
        """See `build`."""
        settings, core = self._settings, self._core
        port, aborts = self._port(), self._aborts()
        if port is not None and self._served is None and not settings.project_api:
            self._readiness.useless = lambda: port.refused
        refreshing = self._refreshing()
        http = settings.http_listen
        try:
            process = ServerProcess(
                app=None if http is None else self._app(refreshing),
                host=http.host if http else "",
                port=http.port if http else 0,
                readiness=self._readiness,
                execution=self._execution,
                on_the_wire=lambda: core.on_the_wire,
                begin_no_more=lambda: _begin_no_more(core, port, aborts),
                clock=self._clock,
            )
        except ListenError as error:
            raise StartError(f"GHA_STEP_HTTP_LISTEN: {error}: write another address") from None
        if settings.grpc_listen is not None:
            self._listen_for_grpc(process, settings.grpc_listen)
        beside = (self._shrinking(), aborts, refreshing)
        return Server(core, process, port, [one for one in beside if one is not None])

    # ---------------------------------------------------------------- the core

    def _made_core(self, projects: frozenset[str] | None, workers: Callable[[int, str], ThreadWorkers]) -> Core:
        settings, cluster = self._settings, self._cluster
        hosts = (self._environment.get("KUBERNETES_SERVICE_HOST", ""), "" if cluster is None else cluster.host)
        egress = Egress(hosts=settings.github_hosts or frozenset(), shared=settings.project_api)
        return Core(
            store=self._store,
            secrets=self._secrets,
            connector=SocketConnector(egress, frozenset(hosts) - {""}, proxies=self._proxies),
            clock=self._clock,
            workers=workers,
            owner=Owner(pod=settings.pod_uid or None, incarnation=randomness.token_hex(16)),
            new_nonce=lambda: randomness.token_hex(16),
            settle=settings.settle,
            telemetry=self._telemetry,
            projects=projects,
            allow_http=settings.allow_http,
            shared_namespace=settings.shared_namespace or None,
            artifact_hosts=settings.artifact_hosts,
            look_back=settings.ledger != "kubernetes" and settings.ledger.lifetime_pod,
        )

    def _census(self) -> Callable[[], dict[str, Standing]]:
        """How the records are counted for the metrics."""
        from gha_step.ledger.recount import Paced, Recount

        if self._settings.ledger != "kubernetes":
            return Paced(self._store.census, self._clock).census
        return Recount(self._store.census, self._clock, ThreadWorkers(1, "count")).census

    # ---------------------------------------------------------------- the ways in

    def _app(self, refreshing: "Refreshing | None") -> ASGIApp:
        return http_app(
            execution=self._served,
            token=self._token,
            readiness=self._readiness,
            refused=self._refused,
            collect=self._telemetry.exposition,
            resources=[one for one in (self._project_api(refreshing), self._webhook()) if one is not None],
        )

    def _project_api(self, refreshing: "Refreshing | None") -> "ProjectApi | None":
        settings, cluster, readiness = self._settings, self._cluster, self._readiness
        if not settings.project_api:
            return None
        from gha_step.inbound.promotions import Promotions
        from gha_step.inbound.rest.project_tokens import ProjectTokens  # their cost is for those who use them
        from gha_step.inbound.rest.resource import KINDS, ProjectApi

        self._telemetry.project_requests.expect((*(name.decode() for name in KINDS), "none"), PROJECT_STATUSES)
        return ProjectApi(
            self._execution,
            ProjectTokens(
                self._secrets,
                workers=ThreadWorkers(PROOFS, "proof"),
                clock=self._clock,
                lets_in=cluster.lets_in if cluster is not None and settings.secrets == "kubernetes" else lambda: True,
            ),
            None if cluster is None else Promotions(cluster),
            workers=self._calls,
            clock=self._clock,
            telemetry=self._telemetry,
            refused=self._refused,
            draining=lambda: readiness.draining,
            waits=(lambda run_id, project, promotion: None) if refreshing is None else refreshing.waits,
        )

    def _webhook(self) -> "Webhook | None":
        path = self._settings.github_webhook_secret_file
        if path == NOT_SERVED:
            return None
        from gha_step.inbound.webhook import Webhook

        def secret() -> Token:
            return read_token_file(Path(path), "the secret of GitHub's webhook", "")

        try:
            secret()
        except TokenFileError as error:
            raise StartError(f"GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE: {error}") from None
        self._telemetry.deliveries.expect(DELIVERIES)
        return Webhook(secret=secret, hint=self._core.waking.hint, telemetry=self._telemetry, refused=self._refused)

    def _listen_for_grpc(self, process: ServerProcess, address: Address) -> None:
        from gha_step.inbound.grpc.server import GrpcServer  # its cost is for those who use it
        from gha_step.inbound.tls import TlsFileError, TlsFiles

        settings, tls = self._settings, None
        if settings.grpc_tls_cert not in ("", NO_TLS):
            authority = Path(settings.grpc_tls_client_ca) if settings.grpc_tls_client_ca else None
            tls = TlsFiles(Path(settings.grpc_tls_cert), Path(settings.grpc_tls_key), authority)
        try:
            process.listen(
                GrpcServer(
                    host=address.host,
                    port=address.port,
                    execution=self._served,
                    configs=self._core.steps.configs,
                    token=self._token,
                    readiness=self._readiness,
                    refused=self._refused,
                    tls=tls,
                    waking=self._core.waking,
                )
            )
        except TlsFileError as error:
            raise StartError(f"GHA_STEP_GRPC_TLS_{error.which}: {error}") from None
        except ListenError as error:
            raise StartError(f"GHA_STEP_GRPC_LISTEN: {error}: write another address") from None

    def _port(self) -> "PortParts | None":
        """Port's ways in, where they are on. :raises StartError: a setting is wrong."""
        settings, cluster, store = self._settings, self._cluster, self._store
        if not settings.portio:
            return None
        from gha_step.ledger.leader import Alone, LeaseLeader  # their cost is for those who use them
        from gha_step.wiring.port import PortParts

        project = settings.portio_project or _own_namespace(cluster)
        if not project:
            raise StartError("GHA_STEP_PORTIO_PROJECT: this process does not know its own namespace: set it to one")
        leader: Leader = Alone()
        if settings.ledger == "kubernetes":
            from gha_step.ledger.kubernetes import KubernetesStore

            assert cluster is not None
            store = KubernetesStore(cluster, frozenset({project}))
            leader = LeaseLeader(cluster, project, self._core.owner.incarnation, self._clock)
        try:
            parts = PortParts(
                settings,
                self._core,
                project=project,
                secrets=self._secrets,
                connector=SocketConnector(proxies=self._proxies),
                store=store,
                leader=leader,
                clock=self._clock,
                workers=ThreadWorkers,
                telemetry=self._telemetry,
            )
        except BadEndpoint as error:
            raise StartError(f"GHA_STEP_PORTIO_API: {error}") from None
        if "claims" in settings.portio:
            parts.add_claims()
        if "kafka" in settings.portio:
            self._add_kafka(parts)
        return parts

    def _add_kafka(self, parts: "PortParts") -> None:
        named = self._settings.portio_kafka_ca
        if named and not Path(named).is_file():
            raise StartError(f"GHA_STEP_PORTIO_KAFKA_CA: {named} is not a file: set it to a PEM file with the CA")
        try:
            parts.add_kafka(named or self._environment.get("SSL_CERT_FILE", ""))
        except ImportError:
            raise StartError(
                "GHA_STEP_PORTIO: kafka needs the package confluent-kafka, which is not installed (there is none for "
                "Python 3.15 yet): run gha-step on Python 3.11 to 3.14, or leave kafka out"
            ) from None

    # ---------------------------------------------------------------- what goes on beside calls

    def _aborts(self) -> "AbortParts | None":
        """What watches Promotions for cancelOnAbort. :raises StartError: it is asked for, and cannot be."""
        settings, cluster, store = self._settings, self._cluster, self._store
        everybodys = settings.cancel_on_abort == "all"
        if cluster is None or settings.cancel_on_abort == "off":
            if everybodys:
                raise StartError("GHA_STEP_CANCEL_ON_ABORT: all reads Promotions: it needs GHA_STEP_LEDGER=kubernetes")
            self._core.follow = _warn_once()
            return None
        from gha_step.wiring.abort import AbortParts

        lease = cluster.own_namespace() if everybodys and not store.exclusive else None
        if everybodys and not store.exclusive and lease is None:
            raise StartError(
                "GHA_STEP_CANCEL_ON_ABORT: all needs a Lease, and this process does not know its own namespace"
            )
        return AbortParts(
            self._core,
            cluster=cluster,
            lease=lease,
            pod=settings.pod_uid or None if settings.ledger == "kubernetes" else None,
            clock=self._clock,
            workers=ThreadWorkers,
            telemetry=self._telemetry,
        )

    def _refreshing(self) -> "Refreshing | None":
        """What refreshes waiting Promotions, where it is on. :raises StartError: there are none to refresh."""
        if not self._settings.kargo_refresh:
            return None
        from gha_step.inbound.rest.refresh import press
        from gha_step.inbound.rest.refreshing import Refreshing
        from gha_step.ledger.kubernetes import KubernetesStore

        if self._cluster is None:
            raise StartError(
                "GHA_STEP_KARGO_REFRESH: on needs Kubernetes, where Promotions are: write kubernetes in GHA_STEP_LEDGER"
            )
        self._telemetry.refreshes.expect(REFRESHES)
        recorded = self._store.of_run if isinstance(self._store, KubernetesStore) else lambda run_id: ()
        made = Refreshing(
            partial(press, self._cluster), recorded, clock=self._clock, workers=ThreadWorkers, telemetry=self._telemetry
        )
        self._core.waking.listen(made.hint)
        return made

    def _shrinking(self) -> "Shrinking | None":
        """In Kubernetes a record goes with its Promotion; in a file it stays, and gets smaller."""
        if self._settings.ledger == "kubernetes":
            return None
        from gha_step.ledger.shrinking import Shrinking
        from gha_step.ledger.sqlite import SqliteStore

        assert isinstance(self._store, SqliteStore)
        return Shrinking(self._store, self._settings.ledger_keep, self._clock, ThreadWorkers(1, "shrink"))


def _begin_no_more(core: Core, port: "PortParts | None", aborts: "AbortParts | None") -> None:
    if port is not None:
        port.drain()
    if aborts is not None:
        aborts.stop()
    core.drain()


def _warn_once() -> Callable[[str, str], None]:
    """For steps with cancelOnAbort in a process that watches no Promotions."""
    told = False

    def follow(project: str, _: str) -> None:
        nonlocal told
        if not told:
            words = "cancelOnAbort: this process watches no Promotions, so it cancels no run (GHA_STEP_CANCEL_ON_ABORT)"
            log.warning(words, extra=subject((project, ""), ""))
        told = True

    return follow


def _bearer(settings: Settings, clock: Clock) -> Token | None:
    if settings.token_file in (NO_TOKEN, NOT_SERVED):
        return None
    try:
        return FileToken(Path(settings.token_file), clock)
    except TokenFileError as error:
        raise StartError(f"GHA_STEP_TOKEN_FILE: {error}") from None


def _cluster(settings: Settings, environment: Mapping[str, str], clock: Clock) -> "KubeApi | None":
    """The API server, where a setting needs one. Nothing is asked of it: it may be away while we start."""
    if "kubernetes" not in (settings.secrets, settings.ledger):
        return None
    # 155 ms and 35 MB: only those pay who use it, and before the server is ready.
    from gha_step.kube import AccessUnknown, connect

    try:
        return connect(environment, clock)
    except AccessUnknown as error:
        named, without = "GHA_STEP_LEDGER", "keep the ledger in a file: sqlite:PATH"
        if settings.secrets == "kubernetes":
            named, without = "GHA_STEP_SECRETS", "read Secrets from files: dir:PATH, with PATH/<project>/<secret>/<key>"
        fix = "" if "KUBERNETES_SERVICE_HOST" in environment else f", or {without}"
        raise StartError(f"{named}: {error}{fix}") from None


def _own_namespace(cluster: "KubeApi | None") -> str | None:
    return None if cluster is None else cluster.own_namespace()


def _projects(settings: Settings, cluster: "KubeApi | None") -> frozenset[str] | None:
    """The projects that are served; ``None``: all."""
    projects, hosts = settings.projects, settings.token_file != NOT_SERVED
    if projects is None and settings.portio and not hosts and not settings.project_api:
        return frozenset({settings.portio_project or _own_namespace(cluster) or ""}) - {""} or None
    if projects is None and cluster is not None and settings.secrets == "kubernetes" and hosts:
        own = cluster.own_namespace()
        if own is None:
            raise StartError(
                "GHA_STEP_PROJECTS: this process does not know its own namespace: set it to the projects to serve"
            )
        return frozenset({own})
    return None if projects is None or "*" in projects else projects


def _secrets(settings: Settings, cluster: "KubeApi | None") -> SecretReader:
    """Where Secrets come from."""
    if isinstance(settings.secrets, Path):
        if not settings.secrets.is_dir():
            raise StartError(f"GHA_STEP_SECRETS: {settings.secrets} is not a directory: create it, or use another")
        return DirectorySecrets(settings.secrets)
    from gha_step.credentials.kubernetes import KubernetesSecrets

    assert cluster is not None
    return KubernetesSecrets(cluster, settings.shared_namespace)


def _ledger(
    settings: Settings,
    cluster: "KubeApi | None",
    projects: frozenset[str] | None,
    environment: Mapping[str, str],
) -> Store:
    """The ledger's store. :raises StartError: it cannot be kept there."""
    ledger = settings.ledger
    if ledger == "kubernetes":
        from gha_step.ledger.kubernetes import KubernetesStore

        assert cluster is not None
        return KubernetesStore(cluster, projects, holds=settings.cancel_on_abort == "all")
    from gha_step.ledger.sqlite import SqliteStore

    try:
        if (why := objection_to(ledger, environment)) is not None:
            raise LedgerUnusable(why)
        return SqliteStore(ledger.path)
    except LedgerUnusable as error:
        raise StartError(f"GHA_STEP_LEDGER: {error}") from None
