"""The only module that constructs everything."""

import secrets as randomness
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from gha_step.contract.errors import StepError
from gha_step.contract.secret import Token
from gha_step.contract.values import ConfigModel
from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.secrets import SecretReader
from gha_step.github.bounds import Bounds
from gha_step.github.budgets import Budgets
from gha_step.github.client import PyGithubClient
from gha_step.github.connection import SocketConnector
from gha_step.github.servers import Servers
from gha_step.ledger.record import Owner
from gha_step.ledger.storage import objection
from gha_step.ledger.store import LedgerUnusable, Store
from gha_step.runtime import SystemClock, ThreadWorkers
from gha_step.servers.auth import TokenFileError, read_token_file
from gha_step.servers.http import Readiness, http_app
from gha_step.servers.process import ListenError, ServerProcess
from gha_step.servers.waiting import Execution
from gha_step.settings import NO_TLS, NO_TOKEN, NOT_SERVED, Address, Settings, SqliteLedger
from gha_step.steps.access import Access
from gha_step.steps.app_tokens import AppTokens
from gha_step.steps.dispatch_workflow import DispatchWorkflow
from gha_step.steps.dispatching import Dispatching
from gha_step.steps.listings import Listings
from gha_step.steps.observing import Observing
from gha_step.steps.outcome import StepKind
from gha_step.steps.registry import Steps
from gha_step.steps.wait_for_workflow import WaitForWorkflow
from gha_step.telemetry import Telemetry

if TYPE_CHECKING:
    from gha_step.kube import KubeApi

CALLS = 64  # threads for calls: each reads a Secret and a record
TASKS = 256  # threads for dispatches: each may wait half a minute for GitHub
LOOKS = 64  # threads for looks at runs: each may wait ten seconds for GitHub
TOKENS = 16  # threads for installation tokens: each may wait half a minute for GitHub
PROOFS = 32  # threads for the tokens of projects: each reads a Secret
LATE = 256  # threads for POSTs that have been silent for long


class StartError(StepError):
    """The server cannot start: one line that names the variable or path and the mend."""


def build(settings: Settings, environment: Mapping[str, str]) -> ServerProcess:
    """A bound server, not yet running.

    :param environment: where Kubernetes and its tools tell how to reach the API server.

    :raises StartError: it cannot be.
    """
    try:
        token = None if settings.token_file in (NO_TOKEN, NOT_SERVED) else read_token_file(Path(settings.token_file))
    except TokenFileError as error:
        raise StartError(f"GHA_STEP_TOKEN_FILE: {error}") from None
    clock = SystemClock()
    telemetry = Telemetry()
    cluster = _cluster(settings, environment)
    projects = _projects(settings, cluster)
    secrets = _secrets(settings, cluster)
    try:
        store = _ledger(settings.ledger, cluster, projects, environment)
    except LedgerUnusable as error:
        raise StartError(f"GHA_STEP_LEDGER: {error}") from None
    counted = store.census
    if settings.ledger == "kubernetes":
        from gha_step.ledger.recount import Recount

        counted = Recount(counted, clock, ThreadWorkers(1, "count")).census
    telemetry.watch_ledger(counted)
    bounds = Bounds(hosts=settings.github_hosts or frozenset(), shared=settings.project_api)
    connector = SocketConnector(bounds, _api_server_hosts(environment, cluster))
    servers = Servers()
    tasks = ThreadWorkers(TASKS, "task")
    client = PyGithubClient(connector, clock)
    dispatching = Dispatching(
        store=store,
        connector=connector,
        client=client,
        listings=Listings(client, servers, clock, tasks, telemetry),
        servers=servers,
        clock=clock,
        tasks=tasks,
        late_readers=ThreadWorkers(LATE, "late"),
        owner=Owner(pod=settings.pod_uid or None, incarnation=randomness.token_hex(16)),
        new_nonce=lambda: randomness.token_hex(16),
        settle=settings.settle,
        telemetry=telemetry,
        look_back=settings.ledger != "kubernetes" and settings.ledger.lifetime_pod,
    )
    observing = Observing(
        client=client,
        servers=servers,
        budgets=Budgets(),
        clock=clock,
        workers=ThreadWorkers(LOOKS, "look"),
        telemetry=telemetry,
    )
    app_tokens = AppTokens(
        client=client, servers=servers, clock=clock, workers=ThreadWorkers(TOKENS, "token"), telemetry=telemetry
    )
    access = Access(
        secrets,
        allow_http=settings.allow_http,
        shared_namespace=settings.shared_namespace or None,
        app_tokens=app_tokens,
    )
    kinds: list[StepKind] = [
        DispatchWorkflow(access=access, dispatching=dispatching, clock=clock),
        WaitForWorkflow(access=access, observing=observing, clock=clock),
    ]
    steps = Steps(kinds, projects=projects, clock=clock)
    calls = ThreadWorkers(CALLS, "call")
    execution = Execution(
        steps,
        workers=calls,
        clock=clock,
        telemetry=telemetry,
        reply_within=settings.reply_within,
    )
    readiness = Readiness()
    project_api = None
    if settings.project_api:
        from gha_step.servers.project_tokens import ProjectTokens  # their cost is for those who use them
        from gha_step.servers.projects import ProjectApi
        from gha_step.servers.promotions import Promotions

        project_api = ProjectApi(
            execution,
            ProjectTokens(secrets, workers=ThreadWorkers(PROOFS, "proof"), clock=clock),
            None if cluster is None else Promotions(cluster),
            workers=calls,
            clock=clock,
            telemetry=telemetry,
            draining=lambda: readiness.draining,
        )
    served = None if settings.token_file == NOT_SERVED else execution
    http, app = settings.http_listen, None
    if http is not None:
        app = http_app(
            execution=served,
            token=token,
            readiness=readiness,
            collect=telemetry.exposition,
            projects=project_api,
        )
    try:
        server = ServerProcess(
            app=app,
            host=http.host if http else "",
            port=http.port if http else 0,
            readiness=readiness,
            execution=execution,
            on_the_wire=lambda: dispatching.on_the_wire,
            begin_no_more=dispatching.drain,
            clock=clock,
            reply_within=settings.reply_within,
        )
    except ListenError as error:
        raise StartError(f"GHA_STEP_HTTP_LISTEN: {error}: write another address") from None
    if settings.grpc_listen is not None:
        _listen_for_grpc(server, settings, settings.grpc_listen, steps.configs, served, token, readiness)
    return server


def _listen_for_grpc(
    server: ServerProcess,
    settings: Settings,
    address: Address,
    configs: Mapping[str, type[ConfigModel]],
    execution: Execution | None,
    token: Token | None,
    readiness: Readiness,
) -> None:
    from gha_step.servers.grpc import GrpcServer  # its cost is for those who use it
    from gha_step.servers.tls import TlsFileError, TlsFiles

    tls = None
    if settings.grpc_tls_cert not in ("", NO_TLS):
        authority = Path(settings.grpc_tls_client_ca) if settings.grpc_tls_client_ca else None
        tls = TlsFiles(Path(settings.grpc_tls_cert), Path(settings.grpc_tls_key), authority)
    try:
        server.listen(
            GrpcServer(
                host=address.host,
                port=address.port,
                execution=execution,
                configs=configs,
                token=token,
                readiness=readiness,
                tls=tls,
            )
        )
    except TlsFileError as error:
        raise StartError(f"GHA_STEP_GRPC_TLS_{error.which}: {error}") from None
    except ListenError as error:
        raise StartError(f"GHA_STEP_GRPC_LISTEN: {error}: write another address") from None


def _cluster(settings: Settings, environment: Mapping[str, str]) -> "KubeApi | None":
    """The API server, where a setting needs one. Nothing is asked of it: it may be away while we start."""
    if "kubernetes" not in (settings.secrets, settings.ledger):
        return None
    # 155 ms and 35 MB: only those pay who use it, and before the server is ready.
    from gha_step.kube import AccessUnknown, connect

    try:
        return connect(environment, SystemClock())
    except AccessUnknown as error:
        named = "GHA_STEP_SECRETS" if settings.secrets == "kubernetes" else "GHA_STEP_LEDGER"
        raise StartError(f"{named}: {error}") from None


def _projects(settings: Settings, cluster: "KubeApi | None") -> frozenset[str] | None:
    """The projects that are served; ``None``: all."""
    projects = settings.projects
    if (
        projects is None
        and cluster is not None
        and settings.secrets == "kubernetes"
        and settings.token_file != NOT_SERVED
    ):
        own = cluster.own_namespace()
        if own is None:
            raise StartError(
                "GHA_STEP_PROJECTS: this process does not know its own namespace: name the projects to serve"
            )
        return frozenset({own})
    return None if projects is None or "*" in projects else projects


def _secrets(settings: Settings, cluster: "KubeApi | None") -> SecretReader:
    """Where Secrets come from."""
    if isinstance(settings.secrets, Path):
        if not settings.secrets.is_dir():
            raise StartError(f"GHA_STEP_SECRETS: {settings.secrets} is not a directory: make it, or name another")
        return DirectorySecrets(settings.secrets)
    from gha_step.credentials.kubernetes import KubernetesSecrets

    assert cluster is not None
    return KubernetesSecrets(cluster)


def _ledger(
    ledger: Literal["kubernetes"] | SqliteLedger,
    cluster: "KubeApi | None",
    projects: frozenset[str] | None,
    environment: Mapping[str, str],
) -> Store:
    """The ledger's store. :raises LedgerUnusable: it cannot be kept there."""
    if ledger == "kubernetes":
        from gha_step.ledger.kubernetes import KubernetesStore

        assert cluster is not None
        return KubernetesStore(cluster, projects)
    from gha_step.ledger.sqlite import SqliteStore

    try:
        mountinfo = Path("/proc/self/mountinfo").read_text()
    except OSError:  # not Linux: nothing is known of the place
        mountinfo = ""
    why = objection(
        PurePosixPath(ledger.path.parent.resolve()),
        mountinfo,
        in_kubernetes="KUBERNETES_SERVICE_HOST" in environment,
        lifetime_pod=ledger.lifetime_pod,
    )
    if why is not None:
        raise LedgerUnusable(why)
    return SqliteStore(ledger.path)


def _api_server_hosts(environment: Mapping[str, str], cluster: "KubeApi | None") -> frozenset[str]:
    named = (environment.get("KUBERNETES_SERVICE_HOST", ""), "" if cluster is None else cluster.host)
    return frozenset(host for host in named if host)
