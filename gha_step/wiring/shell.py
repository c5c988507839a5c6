"""``gha-step run`` from the command line to the step's end: token, key, ledger, and outputs."""

import os
import secrets as randomness
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, Literal

from gha_step.contract.errors import LedgerError, LedgerUnavailable
from gha_step.contract.json_text import compact_json
from gha_step.contract.quoting import quoted
from gha_step.contract.request import Step, StepRequest
from gha_step.contract.result import Status, StepResult
from gha_step.contract.secret import Token
from gha_step.credentials.token_shape import too_plain, unfit
from gha_step.github.connection import SocketConnector
from gha_step.github.diagnosis import why_not_shown
from gha_step.github.dispatch import Workflow
from gha_step.github.egress import Egress
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.errors import BadEndpoint, GitHubError, Refused
from gha_step.github.messages import shown
from gha_step.github.runs import RunReference
from gha_step.github.workflow_file import Unreadable
from gha_step.inbound.shell import outputs
from gha_step.inbound.shell.check import Dispatch, Found
from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.files import ledgers_of_run, read_text
from gha_step.inbound.shell.follower import Follower, Interrupted, Signals
from gha_step.inbound.shell.invocation import COMMANDS, NAMES, Wanted, by_file, by_flags
from gha_step.inbound.shell.jobs import Jobs
from gha_step.inbound.shell.key import ShellKey, key_of, objection
from gha_step.inbound.shell.progress import Progress
from gha_step.ledger.record import Owner, Record, State
from gha_step.ledger.store import LedgerHeld, LedgerUnusable, Store
from gha_step.proxies import BadProxy, Proxies
from gha_step.runtime import SystemClock, ThreadWorkers
from gha_step.settings import Settings, SettingsError, SqliteLedger
from gha_step.steps.access import GivenToken
from gha_step.steps.cancel import config as cancel
from gha_step.steps.dispatch import config as dispatch
from gha_step.steps.dispatch.input_check import check_inputs
from gha_step.steps.dispatch.step import parse_config
from gha_step.steps.wait import config as wait
from gha_step.telemetry import Telemetry, configure_logging
from gha_step.wiring.core import Core, objection_to

if TYPE_CHECKING:
    from gha_step.github.client import Client

PROJECT: Final = "shell"  # of keys whose ledger is no namespace
TOKENS: Final = ("GH_TOKEN", "GITHUB_TOKEN")
MAX_TOKEN: Final = 10_000  # bytes
LONGEST: Final = 500  # characters of what a workflow file has to say
FAILED: Final = 1
UNKNOWN: Final = 3  # whether anything was dispatched
LOOK_AGAIN: Final = 0.2  # seconds, for a ledger that another command holds
_SETTINGS: Final = ("ALLOW_HTTP", "GITHUB_HOSTS", "LEDGER", "LOG_FORMAT", "LOG_LEVEL", "POD_UID", "SETTLE")
_IN_A_POD: Final = {
    dispatch.KIND: "three ways: --ledger kubernetes; --ledger sqlite:PATH on a volume that outlives the pod; or "
    "--ledger 'sqlite:PATH?lifetime=pod' with --correlation-input, by which the run is found again",
    cancel.KIND: "two ways: --ledger kubernetes; or --ledger sqlite:PATH on a volume that outlives the pod: a new pod "
    "would not know which attempt of the run is meant",
}


def run(flags: Namespace, environment: Mapping[str, str]) -> int:
    """One step to its end; the command's exit code.

    :raises StepError: it cannot begin, and has sent nothing.
    """
    clock = SystemClock()
    progress = Progress(sys.stderr, clock, terminal=sys.stderr.isatty())
    token = _token(flags.token_file, environment)
    wanted = _wanted(flags, token.subject.removeprefix("the token in "))
    for note in wanted.notes:
        progress.say(note)
    files = _output_files(environment)
    with ExitStack() as stack:
        signals = stack.enter_context(_signals())
        try:
            return _Run(wanted, flags, environment, token, files, clock, progress, signals, stack).run()
        except Interrupted as interruption:  # while it waited for the ledger
            progress.say(f"gha-step: {interruption}: this command has sent nothing")
            return FAILED


class _Run:
    """One invocation, from its key to its exit code."""

    def __init__(
        self,
        wanted: Wanted,
        flags: Namespace,
        environment: Mapping[str, str],
        token: Token,
        files: tuple[Path, ...],
        clock: SystemClock,
        progress: Progress,
        signals: Signals,
        stack: ExitStack,
    ) -> None:
        self._wanted = wanted
        self._json = flags.output == "json"
        self._files = files
        self._progress = progress
        self._output: dict[str, Any] = {}
        self._lost = False  # whether outputs could not be written
        named = ("--ledger", flags.ledger) if flags.ledger else ("GHA_STEP_LEDGER", environment.get("GHA_STEP_LEDGER"))
        try:
            settings = _settings(environment, named[1])
        except SettingsError as error:
            raise UsageError(str(error).replace("GHA_STEP_LEDGER:", f"{named[0]}:")) from None
        self._access = given = _server(flags, environment, token, wanted, settings.allow_http)
        in_kubernetes = wanted.recorded and settings.ledger == "kubernetes" and bool(named[1])
        cluster = _cluster(environment) if in_kubernetes else None
        project = flags.project or (cluster.own_namespace() if cluster else None)
        if cluster is not None and not project:
            raise UsageError("--project: is needed: --ledger kubernetes keeps records in the namespace that it names")
        self._key = _key(wanted, flags, environment, project or PROJECT)
        lifetime_pod = False
        if cluster is not None:
            from gha_step.ledger.kubernetes import KubernetesStore

            self._store: Store = KubernetesStore(cluster, frozenset({self._key.caller.project}))
        else:
            ledger = self._place(settings.ledger if named[1] else None, environment, stack)
            lifetime_pod = ledger.lifetime_pod
            self._store = self._open(ledger.path, signals)
        self._core = Core(
            store=self._store,
            secrets=given,
            connector=_connector(settings, environment),
            clock=clock,
            workers=ThreadWorkers,
            owner=Owner(pod=settings.pod_uid or None, incarnation=randomness.token_hex(16)),
            new_nonce=lambda: randomness.token_hex(16),
            settle=settings.settle,
            telemetry=Telemetry(),
            allow_http=settings.allow_http,
            look_back=lifetime_pod,
        )
        stack.callback(self._core.close)
        self._follower = Follower(
            self._core.steps,
            workers=ThreadWorkers(2, "step"),
            clock=clock,
            signals=signals,
            progress=progress,
            begin_no_more=self._core.drain,
            on_the_wire=lambda: self._core.on_the_wire,
        )

    # ------------------------------------------------------------------ the ledger

    def _place(
        self, named: Literal["kubernetes"] | SqliteLedger | None, environment: Mapping[str, str], stack: ExitStack
    ) -> SqliteLedger:
        """The file of the ledger: the one that is named, else one for this key. :raises StepError: it cannot be."""
        if not self._wanted.recorded:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gha-step-"))
            return SqliteLedger(Path(folder) / "ledger.db", lifetime_pod=True)
        ways = f"In a pod there are {_IN_A_POD[self._wanted.kind]}"
        if isinstance(named, SqliteLedger):
            ledger = named
            if ledger.lifetime_pod and self._wanted.kind == cancel.KIND:
                raise UsageError(f"--ledger: ?lifetime=pod is for a dispatch only. {ways}")
            if ledger.lifetime_pod and parse_config(self._wanted.config).correlation_input is None:
                raise UsageError(f"--ledger: ?lifetime=pod needs --correlation-input. {ways}")
        else:
            ledger = SqliteLedger(ledgers_of_run(environment) / f"{self._key.hash}.db", lifetime_pod=False)
        if (why := objection_to(ledger, environment)) is not None:
            in_kubernetes = "KUBERNETES_SERVICE_HOST" in environment
            fix = ways if in_kubernetes else "name another place: --ledger sqlite:PATH"
            raise LedgerUnusable(f"the ledger {ledger.path}: {why}. {fix}")
        with suppress(OSError):  # the store says what is wrong
            ledger.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return ledger

    def _open(self, path: Path, signals: Signals) -> Store:
        """The store, once no other command holds it."""
        from gha_step.ledger.sqlite import SqliteStore

        said = False
        while True:
            try:
                return SqliteStore(path)
            except LedgerHeld:
                if not said:
                    self._progress.say(
                        f"another command holds the ledger {path}, as for the same key: waiting until it has ended"
                    )
                said = True
            with suppress(Empty):
                if (name := signals.get(timeout=LOOK_AGAIN)) is not None:
                    raise Interrupted(name)

    # ------------------------------------------------------------------ the steps

    def run(self) -> int:
        return self._run() or (FAILED if self._lost else 0)

    def _run(self) -> int:
        kind = self._wanted.kind
        if not self._wanted.recorded:
            return self._followed(kind, self._wanted.config)
        dispatches = kind == dispatch.KIND
        config = (parse_config if dispatches else cancel.CancelWorkflowConfig.parse)(self._wanted.config)
        record = self._record()
        if (why := objection(self._key, record, config)) is not None:
            raise UsageError(why)
        what = "dispatch" if dispatches else "cancel"
        more = f" (to continue this {what}, repeat the command with {self._key.flags})"
        self._progress.say(f"key: {self._key.text}{more if self._key.origin == 'made' else ''}")
        if dispatches and record is not None and record.final:
            self._progress.say("this key was used before: the answer comes from its record, and nothing is sent again")
        code = self._followed(kind, self._wanted.config)
        if code == 0 and self._wanted.then_wait is not None:
            return self._followed(wait.KIND, self._wanted.wait_for(int(self._output["runID"])))
        return code

    def _followed(self, kind: str, config: dict[str, Any]) -> int:
        """The exit code of one step."""
        request = StepRequest(self._key.caller, Step(kind=kind, config=config))
        try:
            result: StepResult | None = self._follower.follow(request, self._jobs(kind, config))
            interrupted = ""
        except Interrupted as interruption:
            result, interrupted = interruption.result, str(interruption)
        output = {} if result is None else result.output_to_wire()
        self._output |= output
        self._write(output)
        code = self._code(kind, result)
        if interrupted and kind == dispatch.KIND and self._wanted.then_wait is not None:
            code = code or FAILED  # it was to wait for the run's end as well
        if interrupted:
            self._progress.say(self._goodbye(interrupted, kind, result, code))
        elif kind == dispatch.KIND and self._recorded() == State.REJECTED:
            self._progress.say(
                "gha-step: nothing was dispatched, and this key has ended: fix the cause and use another --key"
            )
        if output.get("inputsChanged"):
            self._progress.say(
                f"warning: {self._key.flags} was dispatched with other inputs than this command has; the run has "
                "those, and nothing was sent again. To dispatch these, use another --key"
            )
        if kind != dispatch.KIND or code or self._wanted.then_wait is None:
            self._print()
        return code

    def _jobs(self, kind: str, config: dict[str, Any]) -> Jobs | None:
        """Those of the run that is waited for, where somebody watches."""
        if kind != wait.KIND or not self._progress.terminal:
            return None
        parsed = wait.WaitForWorkflowConfig.parse(config)
        place = self._access.repository(self._key.caller.project, parsed)
        run = RunReference(place.endpoint, place.owner, place.name, parsed.run_id)
        return Jobs(self._core.client, run, place.token)

    def _code(self, kind: str, result: StepResult | None) -> int:
        if result is not None and result.status is Status.SUCCEEDED:
            return 0
        if kind != dispatch.KIND or (result is not None and "runID" in result.output_to_wire()):
            return FAILED
        return FAILED if self._recorded() in (None, State.RESERVED, State.REJECTED) else UNKNOWN

    def _record(self) -> Record | None:
        return self._store.read(self._key.caller.project, self._key.hash)

    def _recorded(self) -> State | Literal["unreadable"] | None:
        """Where the ledger has this key; ``None``: nothing was ever dispatched for it."""
        try:
            record = self._record()
        except (LedgerUnavailable, LedgerError):
            return "unreadable"
        return None if record is None else record.state

    def _goodbye(self, name: str, kind: str, result: StepResult | None, code: int) -> str:
        known = "" if result is None or result.message is None else f" {result.message.rstrip('.')}."
        if not self._wanted.recorded:
            return f"gha-step: {name}.{known} The run continues; repeat the command to wait for it again"
        if kind == cancel.KIND:
            return f"gha-step: {name}.{known} The same command with {self._key.flags} continues this cancel"
        if not known and code == FAILED:
            known = " Nothing was dispatched."
        return f"gha-step: {name}.{known} The same command with {self._key.flags} continues this dispatch"

    # ------------------------------------------------------------------ what it leaves behind

    def _write(self, output: Mapping[str, Any]) -> None:
        text = outputs.key_values(output, f"end-{randomness.token_hex(8)}")
        for path in self._files:
            try:
                with path.open("a") as file:
                    file.write(text)
            except OSError as error:
                self._lose(str(path), error)

    def _print(self) -> None:
        delimiter = f"end-{randomness.token_hex(8)}"
        text = compact_json(self._output) + "\n" if self._json else outputs.key_values(self._output, delimiter)
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):  # as under `| head`
                self._lose("stdout", error)

    def _lose(self, where: str, error: OSError) -> None:
        self._lost = True
        again = f"; the same command with {self._key.flags} gives them again" if self._wanted.recorded else ""
        self._progress.say(f"gha-step: {where}: the outputs cannot be written ({error.strerror}){again}")


def against_workflow_files(
    dispatches: Sequence[Dispatch], flags: Namespace, environment: Mapping[str, str]
) -> list[Found]:
    """What the workflow files say against the steps of a file that `gha-step check` has read: one request for each.

    :raises StepError: there is no token, or no such server.
    """
    from gha_step.github.client import Client

    settings = _settings(environment, None)
    access = _server(
        flags, environment, _token(flags.token_file, environment), Wanted(dispatch.KIND, {}), settings.allow_http
    )
    client = Client(_connector(settings, environment), SystemClock(), Telemetry())
    return [found for sends in dispatches for found in _against_its_file(sends, access, client)]


def _against_its_file(sends: Dispatch, access: GivenToken, client: "Client") -> list[Found]:
    config = sends.config
    place = access.repository(PROJECT, config)
    workflow = Workflow(place.endpoint, place.owner, place.name, config.workflow_file, config.ref)
    inputs = dict(config.inputs) | ({config.correlation_input: "x"} if config.correlation_input else {})
    try:
        problems = check_inputs(workflow, inputs, place.token, client)
    except Refused as refusal:
        why = why_not_shown(refusal, workflow, place.token, client)
        return [Found(sends.line, f"{sends.subject}{workflow}: {why}")]
    except (Unreadable, GitHubError) as error:
        return [Found(sends.line, f"{sends.subject}{workflow}: {error}")]
    # Of a value that Kargo evaluates, only the name can be judged.
    opened = tuple(f"{name!r} " for name in sends.open_inputs)
    told = [one for one in problems if not one.startswith(opened) or "is not declared" in one] if opened else problems
    return [Found(sends.line, f"{sends.subject}{workflow}: {shown(one, LONGEST)}") for one in told]


def _token(file: str | None, environment: Mapping[str, str]) -> Token:
    """:raises UsageError: there is none, or what is there is none."""
    if file is not None:
        named, text = f"--token-file {file}", read_text(file, "--token-file", MAX_TOKEN)
    else:
        name = next((name for name in TOKENS if environment.get(name)), None)
        if name is None:
            raise UsageError("no token: set GH_TOKEN or GITHUB_TOKEN, or use --token-file")
        named, text = name, environment[name]
    text = text.strip()
    if not text:
        raise UsageError(f"{named}: is empty: put a GitHub token there")
    if (why := unfit(text) or too_plain(text)) is not None:
        raise UsageError(f"{named}: {why}")
    return Token(text, f"the token in {named}")


def _key(wanted: Wanted, flags: Namespace, environment: Mapping[str, str], project: str) -> ShellKey:
    within: tuple[str, ...] = ()
    if wanted.kind == cancel.KIND:  # so that one CI step may dispatch, and clean up
        within = ("cancel", str(cancel.CancelWorkflowConfig.parse(wanted.config).run_id))
    return key_of(
        key=flags.key,
        promotion=flags.promotion,
        alias=flags.alias,
        project=project,
        environment=environment,
        new_key=f"run-{randomness.token_hex(8)}",
        within=within,
    )


def _wanted(flags: Namespace, token_name: str) -> Wanted:
    if flags.what in COMMANDS:
        return by_flags(flags, token_name)
    text = read_text(flags.what, "gha-step run takes dispatch, wait, cancel, or a file with a step")
    return by_file(text, flags.what, flags, token_name)


def _settings(environment: Mapping[str, str], ledger: str | None) -> Settings:
    """Those settings of the server that count here too; the log tells errors only, which the result does not."""
    given = {f"GHA_STEP_{name}": environment.get(f"GHA_STEP_{name}", "") for name in _SETTINGS}
    given = {name: value for name, value in given.items() if value}
    if ledger:
        given["GHA_STEP_LEDGER"] = ledger
    settings = Settings.parse(given)
    configure_logging(
        settings.log_level if "GHA_STEP_LOG_LEVEL" in given else "error",
        settings.log_format if "GHA_STEP_LOG_FORMAT" in given else "text",
    )
    return settings


def _server(
    flags: Namespace, environment: Mapping[str, str], token: Token, wanted: Wanted, allow_http: bool
) -> GivenToken:
    """The token, and the server for which it is. :raises UsageError: there is no such server."""
    if flags.base_url and wanted.by_repo_url:
        raise UsageError("--base-url: cannot be combined with a repository's URL, which sets the server")
    named = "--base-url" if flags.base_url else "GITHUB_API_URL"
    url = None if wanted.by_repo_url else flags.base_url or environment.get("GITHUB_API_URL")
    try:
        endpoint = resolve_endpoint(url, allow_http=allow_http)
    except BadEndpoint as error:
        raise UsageError(f"{named}: {quoted(url)} {error}") from None
    names = NAMES if getattr(flags, "what", None) in COMMANDS else {}  # in a file fields have their own names
    endpoint = replace(endpoint, named_by=named if url else f"{named} (missing: github.com)")
    return GivenToken(token, endpoint, allow_http, names)


def _connector(settings: Settings, environment: Mapping[str, str]) -> SocketConnector:
    try:
        proxies = Proxies.parse(environment)
    except BadProxy as error:
        raise UsageError(str(error)) from None
    return SocketConnector(Egress(hosts=settings.github_hosts or frozenset(), shared=False), proxies=proxies)


def _cluster(environment: Mapping[str, str]) -> Any:
    from gha_step.kube import AccessUnknown, connect

    try:
        return connect(environment, SystemClock())
    except AccessUnknown as error:
        raise UsageError(f"--ledger: {error}") from None


def _output_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that take outputs, before anything is sent. :raises UsageError: one cannot be written."""
    named = [(name, environment[name]) for name in outputs.FILES if environment.get(name)]
    for name, path in named:
        try:
            Path(path).open("a").close()
        except OSError as error:
            raise UsageError(f"{name}: {path} cannot be written ({error.strerror}): outputs would be lost") from None
    return tuple(Path(path) for _, path in named)


@contextmanager
def _signals() -> Iterator[Signals]:
    """Ctrl-C, SIGTERM and a closed terminal, as values, while this goes on. What nohup ignores stays ignored."""
    came: Signals = Signals()
    before = {
        number: signal.signal(number, lambda which, _: came.put(signal.Signals(which).name))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
