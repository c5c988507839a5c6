"""The generated parts of the documentation: tables made from the models, so that they cannot go stale.

    python -m tests.docs --check   names the files that are not current (exit 1)
    python -m tests.docs --write   writes them

The JSON Schemas in docs/schemas are generated as a whole. In the pages, a generated part
stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

import argparse
import logging
import re
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import import_module
from json import dumps
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gha_step.contract.result import Output
from gha_step.settings import described
from gha_step.steps.cancel import config as cancel_config
from gha_step.steps.cancel.config import CancelWorkflowConfig
from gha_step.steps.dispatch import config as dispatch_config
from gha_step.steps.dispatch.config import DispatchOutput, DispatchWorkflowConfig
from gha_step.steps.repository import Credentials, RepositoryConfig
from gha_step.steps.run_fields import RunOutput
from gha_step.steps.wait import config as wait_config
from gha_step.steps.wait.config import WaitForWorkflowConfig, WaitForWorkflowOutput
from tests.deploy.manifests import DEPLOY, documents

ROLES: Final = (
    "step-plugin/project/role",
    "step-plugin/git-credentials/role",
    "step-plugin/shared-credentials/role",
    "service/project/role",
    "service/clusterrole",
    "service/git-credentials/role",
    "service/refresh/role",
    "service/shared-credentials/role",
    "step-plugin/cancel-on-abort/role",
    "service/cancel-on-abort/clusterrole",
    "service/cancel-on-abort/role",
    "cancel-on-abort/clusterrole",
    "cancel-on-abort/role",
    "cancel-on-abort/project/role",
    "cancel-on-abort/git-credentials/role",
    "cancel-on-abort/shared-credentials/role",
    "port/role",
    "port/git-credentials/role",
    "port/prune/role",
    "crd/clusterrole",
)
BOUNDS: Final = (  # what, the module below gha_step, its constant, and the unit (B: bytes)
    ("a call's body over `step.execute` and gRPC", "inbound.body", "MAX_BODY", "B"),
    ("a call's body over REST", "inbound.rest.resource", "MAX_CONFIG", "B"),
    ("values and keys in a body", "inbound.body", "MAX_VALUES", ""),
    ("large bodies of all calls; one project gets a quarter", "inbound.room", "ROOM", "B"),
    ("bodies of more than 8 KiB being received at once over HTTP", "inbound.room", "RECEIVED", ""),
    ("… silence of one while others wait", "inbound.room", "GRACE", "s"),
    ("values and keys in a body that need not wait for large bodies", "inbound.room", "FEW", ""),
    ("wait for the next large body after one that took long to parse", "inbound.room", "LONGEST_REST", "s"),
    ("wait for room before a large body is refused", "inbound.room", "REFUSED_AFTER", "s"),
    ("connections on which the rest of a refused body is read at once", "inbound.dropping", "AT_ONCE", ""),
    ("… for", "inbound.dropping", "LINGER", "s"),
    ("keys of a config, or of a mapping in it", "contract.values", "MAX_KEYS", ""),
    ("problems listed for one config", "contract.values", "MAX_PROBLEMS", ""),
    ("HTTP connections without a valid bearer", "inbound.connections", "UNPROVED", ""),
    ("… with one; beyond that the one without a call for longest is closed", "inbound.connections", "PROVED", ""),
    ("time from connecting to the end of a request's head", "inbound.connections", "HEAD_WITHIN", "s"),
    ("a request's head, a chunk's extensions, or the trailers", "inbound.connections", "LONGEST_HEAD", "B"),
    ("header fields of a request", "inbound.connections", "MOST_FIELDS", ""),
    ("parts of a body, plus one for every 256 bytes", "inbound.connections", "MOST_PARTS", ""),
    ("HTTP connections with an unread response", "inbound.connections", "UNREAD", ""),
    ("time to read a response", "inbound.connections", "UNREAD_WITHIN", "s"),
    ("connections accepted before those already open are served", "inbound.door", "AT_A_TIME", ""),
    ("calls per second and address without a valid bearer", "inbound.unproved_calls", "MOST", ""),
    ("… answered over HTTP without a delay", "inbound.connections", "ANSWERED_AT_ONCE", ""),
    ("… delay of the others", "inbound.unproved_calls", "PAUSE", "s"),
    ("HTTP connections per second and address that break a bound", "inbound.unproved_calls", "MISUSES", ""),
    ("time between two readings of the metrics while more scrapers wait", "inbound.scrapes", "LONGEST_REST", "s"),
    ("pipelined requests on a connection", "inbound.connections", "AHEAD", ""),
    ("… connections at once that sent more, and are ended a moment later", "inbound.connections", "HELD", ""),
    ("idle time of an HTTP connection", "inbound.process", "KEEP_ALIVE", "s"),
    ("concurrent first reads of project tokens", "inbound.rest.project_tokens", "MAX_READS", ""),
    ("gRPC connections", "inbound.grpc.server", "MAX_CONNECTIONS", ""),
    ("… without a valid bearer", "inbound.grpc.connections", "UNPROVED", ""),
    (
        "gRPC calls per second and address without a valid bearer that are refused at once",
        "inbound.grpc.connections",
        "REFUSED",
        "",
    ),
    ("metadata of a gRPC call", "inbound.grpc.server", "MAX_METADATA", "B"),
    ("Runs accepted per second; one whose message has arrived counts twice", "inbound.grpc.accepting", "RUNS", ""),
    ("… bytes of its message that count as one more; 64 KiB at most", "inbound.grpc.accepting", "BYTES", "bytes"),
    ("Executes accepted per second while over 128 have sent no message", "inbound.grpc.accepting", "EXECUTES", ""),
    ("calls per second of all methods except Run and Execute", "inbound.grpc.accepting", "OTHERS", ""),
    ("… burst of either after a quiet time", "inbound.grpc.accepting", "AT_ONCE", ""),
    ("concurrent gRPC calls on one connection", "inbound.grpc.server", "MAX_STREAMS", ""),
    ("gRPC calls of one method waiting to be accepted", "inbound.grpc.server", "MAX_PENDING", ""),
    ("concurrent gRPC calls", "inbound.grpc.server", "MAX_CALLS", ""),
    ("Runs among them; one project gets three quarters", "inbound.grpc.server", "MAX_RUNS", ""),
    ("configs of all waiting Runs; one project gets three quarters", "inbound.grpc.server", "KEPT_BY_RUNS", "B"),
    ("gRPC messages being received at once", "inbound.grpc.server", "READING", ""),
    ("… of methods that need no bearer", "inbound.grpc.server", "READING_OPEN", ""),
    ("large gRPC messages received but not yet parsed", "inbound.grpc.server", "MOST_LARGE", "B"),
    ("a message of a method that needs no bearer", "inbound.grpc.server", "MAX_OPEN_MESSAGE", "B"),
    ("time from a gRPC call to its message", "inbound.grpc.server", "MESSAGE_WITHIN", "s"),
    ("… of a method that needs no bearer", "inbound.grpc.server", "OPEN_MESSAGE_WITHIN", "s"),
    ("concurrent webhook deliveries", "inbound.webhook", "AT_ONCE", ""),
    ("a webhook delivery", "inbound.webhook", "MAX_DELIVERY", "B"),
    ("… values and keys in it", "inbound.webhook", "MAX_VALUES", ""),
    ("share of a core that a project gets even when others wait", "inbound.pace", "ANYBODYS", ""),
    ("threads for calls", "wiring.server", "CALLS", ""),
    ("threads for dispatches", "wiring.core", "TASKS", ""),
    ("inputs of all dispatches under way; one project gets three quarters", "steps.dispatch.step", "INPUTS", "B"),
    ("threads for polling runs", "wiring.core", "LOOKS", ""),
    ("threads for cancelling runs", "wiring.core", "CANCELS", ""),
    ("threads for installation tokens", "wiring.core", "TOKENS", ""),
    ("threads for POSTs without a response for a long time", "wiring.core", "LATE", ""),
    ("connecting to GitHub: all addresses, proxy, TLS", "github.connection", "CONNECT_SECONDS", "s"),
    ("addresses tried for one host name", "github.connection", "MOST_ADDRESSES", ""),
    ("GitHub's response, from the start of the request", "github.client", "ANSWER_WITHIN", "s"),
    ("the response to a dispatch; a late one is read for up to 300 s", "steps.dispatch.attempt", "ANSWER_WITHIN", "s"),
    ("the head of a response", "github.exchange", "MAX_HEAD", "B"),
    ("parts of a response", "github.exchange", "MAX_EVENTS", ""),
    ("header fields of a response", "github.exchange", "MAX_FIELDS", ""),
    ("heads, chunk framing and trailers of a response", "github.exchange", "MAX_FRAMING", "B"),
    ("the body of a response, except listings", "github.client", "MAX_BODY_ELSEWHERE", "B"),
    ("what is kept of a response other than 200", "github.exchange", "MAX_KEPT", "B"),
    (
        "large responses of GitHub servers, and as much of the API server; one project has one at a time",
        "large_answers",
        "ROOM",
        "B",
    ),
    ("punctuation (`,:[{`) in a large response", "large_answers", "MOST_MARKS", ""),
    ("escape sequences in a large response", "large_answers", "MOST_ESCAPES", ""),
    ("digits of long numbers in a large response", "large_answers", "MOST_DIGITS", ""),
    ("GitHub's text quoted in a message", "github.messages", "LONGEST_WORDS", "characters"),
    ("a response that may repeat a secret", "github.messages", "LONGEST_WITH_SECRETS", "B"),
    ("a name quoted in a message", "github.messages", "LONGEST_TEXT", "characters"),
    ("a link", "github.messages", "LONGEST_LINK", "characters"),
    ("runs, jobs or artifacts on one page", "github.messages", "MOST_ENTRIES", ""),
    ("runs in one listing", "github.listings", "MOST_RUNS", ""),
    ("a workflow's outputs", "github.artifacts", "MAX_OBJECT", "B"),
    ("… values and keys in them", "github.artifacts", "MOST_VALUES", ""),
    ("Port's response", "inbound.port.client", "MAX_BODY", "B"),
    ("… with a listing or claimed runs", "inbound.port.client", "MAX_LISTING", "B"),
    ("a Kafka message", "inbound.port.messages", "MAX_MESSAGE", "B"),
    ("values and keys in a message or response of Port", "inbound.port.wire_json", "MOST_VALUES", ""),
    ("jobs read of one run", "github.run_reader", "MOST_JOBS", ""),
    ("a response of the API server", "kube", "MAX_ANSWER", "B"),
    ("… a Lease that orders dispatches", "ledger.kubernetes", "MOST_LEASE", "B"),
    ("… time without another one after a Lease was larger, per namespace", "kube", "LONG_REST", "s"),
    ("Secrets with Git credentials in a namespace", "credentials.kubernetes", "MOST_LABELLED", ""),
    ("… their data", "credentials.kubernetes", "MOST_LISTED", "B"),
    ("a request to the API server", "kube", "TIMEOUT", "s"),
    ("connections to the API server; one namespace gets three quarters", "kube", "CONNECTIONS", ""),
    ("… for one namespace while requests are made for others", "kube", "BESIDE_OTHERS", ""),
    (
        "records of one namespace that a decision, a count or a round reads",
        "ledger.kubernetes",
        "MOST_OF_NAMESPACE",
        "B",
    ),
    ("a reason in a record", "ledger.bounds", "REASON", "B"),
    ("servers with metrics of their own; the rest are `other`", "telemetry", "MOST_HOSTS", ""),
    ("entries of each cache", "contract.memory", "MOST", ""),
    ("… their bytes, except for the caches below", "contract.memory", "ROOM", "B"),
    ("state of the runs that steps wait for", "steps.wait.run_poller", "WATCHES", "B"),
    ("outputs of runs", "steps.wait.run_poller", "KEPT_OUTPUTS", "B"),
    ("listings of runs", "github.listings", "KEPT", "B"),
    ("records of what was sent", "steps.dispatch.journal", "WITNESSES", "B"),
    ("a base URL", "github.endpoint", "LONGEST", "characters"),
)
TESTED: Final = {  # by the test that shows it: the bounds
    "abuse": ("steps.dispatch.attempt.ANSWER_WITHIN",),
    "cancel/test_cancelling.py": ("wiring.core.CANCELS",),
    "contract/test_dispatch_workflow.py": (
        "contract.values.MAX_KEYS",
        "contract.values.MAX_PROBLEMS",
    ),
    "dispatch/test_record_bounds.py": ("steps.dispatch.step.INPUTS",),
    "contract/test_memory.py": (
        "contract.memory.MOST",
        "contract.memory.ROOM",
        "steps.dispatch.journal.WITNESSES",
    ),
    "github/test_api.py": ("github.messages.LONGEST_WORDS",),
    "github/test_runs.py": ("github.messages.LONGEST_WITH_SECRETS", "github.messages.MOST_ENTRIES"),
    "github/test_connection.py": (
        "github.connection.CONNECT_SECONDS",
        "github.connection.MOST_ADDRESSES",
    ),
    "github/test_endpoint.py": ("github.endpoint.LONGEST",),
    "github/test_exchange.py": (
        "github.client.ANSWER_WITHIN",
        "github.exchange.MAX_HEAD",
        "github.exchange.MAX_EVENTS",
        "github.exchange.MAX_FIELDS",
        "github.exchange.MAX_FRAMING",
        "github.client.MAX_BODY_ELSEWHERE",
        "github.exchange.MAX_KEPT",
    ),
    "test_large_answers.py": (
        "large_answers.ROOM",
        "large_answers.MOST_MARKS",
        "large_answers.MOST_ESCAPES",
        "large_answers.MOST_DIGITS",
    ),
    "github/test_listings.py": (
        "github.listings.KEPT",
        "github.listings.MOST_RUNS",
    ),
    "inbound/port/test_claims.py": ("inbound.port.client.MAX_LISTING",),
    "inbound/port/test_client.py": ("inbound.port.client.MAX_BODY",),
    "inbound/port/test_messages.py": (
        "inbound.port.messages.MAX_MESSAGE",
        "inbound.port.wire_json.MOST_VALUES",
    ),
    "inbound/test_connections.py": (
        "inbound.connections.UNPROVED",
        "inbound.connections.PROVED",
        "inbound.connections.AHEAD",
        "inbound.connections.HELD",
        "inbound.room.RECEIVED",
        "inbound.room.GRACE",
        "inbound.connections.ANSWERED_AT_ONCE",
        "inbound.connections.UNREAD",
        "inbound.connections.UNREAD_WITHIN",
        "inbound.door.AT_A_TIME",
        "inbound.unproved_calls.MISUSES",
        "inbound.unproved_calls.MOST",
        "inbound.unproved_calls.PAUSE",
        "inbound.connections.MOST_FIELDS",
        "inbound.connections.MOST_PARTS",
        "inbound.connections.HEAD_WITHIN",
        "inbound.connections.LONGEST_HEAD",
        "inbound.process.KEEP_ALIVE",
    ),
    "inbound/test_early_answers.py": ("inbound.dropping.AT_ONCE", "inbound.dropping.LINGER"),
    "inbound/test_grpc.py": (
        "inbound.grpc.server.MAX_CALLS",
        "inbound.grpc.server.MAX_METADATA",
        "inbound.grpc.server.MOST_LARGE",
    ),
    "inbound/test_grpc_bounds.py": (
        "inbound.grpc.accepting.RUNS",
        "inbound.grpc.accepting.BYTES",
        "inbound.grpc.accepting.EXECUTES",
        "inbound.grpc.accepting.OTHERS",
        "inbound.grpc.accepting.AT_ONCE",
        "inbound.grpc.server.MAX_CONNECTIONS",
        "inbound.grpc.server.MAX_RUNS",
        "inbound.grpc.server.KEPT_BY_RUNS",
        "inbound.grpc.server.MAX_STREAMS",
        "inbound.grpc.server.MAX_PENDING",
        "inbound.grpc.server.READING",
        "inbound.grpc.server.READING_OPEN",
        "inbound.grpc.server.MAX_OPEN_MESSAGE",
        "inbound.grpc.server.MESSAGE_WITHIN",
        "inbound.grpc.server.OPEN_MESSAGE_WITHIN",
    ),
    "inbound/test_grpc_connections.py": (
        "inbound.grpc.connections.UNPROVED",
        "inbound.grpc.connections.REFUSED",
    ),
    "inbound/test_http.py": (
        "inbound.body.MAX_BODY",
        "inbound.room.REFUSED_AFTER",
    ),
    "inbound/test_pace.py": ("inbound.pace.ANYBODYS",),
    "inbound/test_project_tokens.py": ("inbound.rest.project_tokens.MAX_READS",),
    "inbound/test_projects.py": ("inbound.rest.resource.MAX_CONFIG",),
    "inbound/test_room.py": (
        "inbound.body.MAX_VALUES",
        "inbound.room.FEW",
        "inbound.room.LONGEST_REST",
        "inbound.room.ROOM",
    ),
    "inbound/test_scrapes.py": ("inbound.scrapes.LONGEST_REST",),
    "inbound/test_webhook.py": (
        "inbound.webhook.AT_ONCE",
        "inbound.webhook.MAX_DELIVERY",
        "inbound.webhook.MAX_VALUES",
    ),
    "ledger/test_bounds.py": ("ledger.bounds.REASON",),
    "ledger/test_kubernetes.py": ("ledger.kubernetes.MOST_LEASE", "kube.LONG_REST"),
    "git_credentials/test_labelled.py": (
        "credentials.kubernetes.MOST_LABELLED",
        "credentials.kubernetes.MOST_LISTED",
    ),
    "ledger/test_much_of_one_namespace.py": ("ledger.kubernetes.MOST_OF_NAMESPACE",),
    "test_kube.py": (
        "kube.MAX_ANSWER",
        "kube.TIMEOUT",
        "kube.CONNECTIONS",
        "kube.BESIDE_OTHERS",
    ),
    "test_runtime.py": (
        "wiring.server.CALLS",
        "wiring.core.TASKS",
        "wiring.core.LOOKS",
        "wiring.core.TOKENS",
        "wiring.core.LATE",
    ),
    "test_telemetry.py": ("telemetry.MOST_HOSTS",),
    "wait/test_looks.py": (
        "steps.wait.run_poller.WATCHES",
        "github.run_reader.MOST_JOBS",
    ),
    "wait/test_outcome.py": (
        "github.messages.LONGEST_TEXT",
        "github.messages.LONGEST_LINK",
    ),
    "wait/test_outputs.py": (
        "steps.wait.run_poller.KEPT_OUTPUTS",
        "github.artifacts.MAX_OBJECT",
        "github.artifacts.MOST_VALUES",
    ),
}
ROOT: Final = Path(__file__).resolve().parents[1]
PART: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


FORMS: Final = {  # of the repository, by the version that brought it
    "v1.9": ("repoURL", "insecureSkipTLSVerify"),
    "v1.8": ("credentials", "owner", "repo"),
}


def repository_table(form: str) -> str:
    """The part of the config that all steps share, in one of its forms."""
    fields = FORMS[form]
    required = {
        name
        for name in fields
        if any(
            problem.startswith(f"config.{name}:")
            for problem in RepositoryConfig.mismatches({other: "" for other in fields if other != name})
        )
    }
    return _table(CONFIG_HEAD, _fields(RepositoryConfig, lambda name: name in fields, required))


def config_table(model: type[RepositoryConfig]) -> str:
    """A step's own config, field by field."""
    shared = {info.alias for info in RepositoryConfig.model_fields.values()}
    return _table(CONFIG_HEAD, _fields(model, lambda name: name not in shared))


def output_table(model: type[Output]) -> str:
    """What a step leaves in ``output``."""
    return _table(("Name", "Type", "Description"), _outputs(model.model_json_schema(by_alias=True)))


def settings_table() -> str:
    """Every setting of ``gha-step serve``."""
    rows = [(f"`{s.variable}`", f"`{s.default}`" if s.default else "", s.description) for s in described()]
    return _table(("Variable", "Default", "Meaning"), rows)


def messages_table(name: str) -> str:
    """What users are told of each mistake, by making it."""
    from .messages.cases import TABLES, tell  # starts an emulated GitHub for each

    return _table(("Mistake", "Message"), [(case.mistake, tell(case)) for case in TABLES[name]])


def port_messages_table() -> str:
    """What a Port run is told of each mistake in its action."""
    from .messages.port_cases import rows

    return _table(("Mistake in the action", "Message of the Port run"), rows())


def permissions_table() -> str:
    """Every rule of the roles in deploy/, with the comment above it."""
    rows = []
    for path in ROLES:
        (role,) = documents(DEPLOY / f"{path}.yaml")
        why = re.findall(r"((?:^  # .*\n)+)  - apiGroups", (DEPLOY / f"{path}.yaml").read_text(), re.MULTILINE)
        for rule, comment in zip(role["rules"], why, strict=True):
            (group,), (resource,) = rule["apiGroups"], rule["resources"]
            names = ", ".join(f"`{name}`" for name in rule.get("resourceNames", ()))
            what = f"`{resource}{'.' if group else ''}{group}`" + (f": {names}" if names else "")
            meaning = " ".join(line.strip().removeprefix("# ") for line in comment.splitlines())
            rows.append(
                (f"`{path.rpartition('/')[0]}`", what, ", ".join(f"`{verb}`" for verb in rule["verbs"]), meaning)
            )
    return _table(("Folder", "Resource", "Verbs", "What for"), rows)


def alarms_table() -> str:
    """Every alarm of the PrometheusRule, and what to do about it."""
    (rules,) = documents(DEPLOY / "service/alarms/prometheusrule.yaml")
    rows = [
        (
            f"`{rule['alert']}`",
            rule["labels"]["severity"],
            *(
                re.sub(r"{{ \$labels\.(\w+) }}", lambda label: label[1].upper(), rule["annotations"][name])
                for name in ("summary", "description")
            ),
        )
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
    ]
    return _table(("Alarm", "Severity", "What it says", "What it means, and what to do"), rows)


def bounds_table() -> str:
    """What limits what others can make this process hold, read or wait for: from the constants themselves."""
    rows = []
    for what, module, name, unit in BOUNDS:
        value = getattr(import_module(f"gha_step.{module}"), name)
        size = f"{value >> 20} MiB" if unit == "B" and value >= 1 << 20 else f"{value >> 10} KiB" if unit == "B" else ""
        test = next(f"`{test}`" for test, bounds in TESTED.items() if f"{module}.{name}" in bounds)
        rows.append((what, size or f"{value:,.12g}{f' {unit}' if unit else ''}", f"`{module}.{name}`", test))
    return _table(("What", "At most", "Constant", "Tested by, in `tests/`"), rows)


PARTS: Final[dict[str, Callable[[], str]]] = {
    "repository": lambda: repository_table("v1.9"),
    "repository-by-secret": lambda: repository_table("v1.8"),
    "dispatch-config": lambda: config_table(DispatchWorkflowConfig),
    "dispatch-output": lambda: output_table(DispatchOutput),
    "wait-config": lambda: config_table(WaitForWorkflowConfig),
    "wait-output": lambda: output_table(WaitForWorkflowOutput),
    "cancel-config": lambda: config_table(CancelWorkflowConfig),
    "cancel-output": lambda: output_table(RunOutput),
    "settings": settings_table,
    **{
        name: partial(messages_table, name)
        for name in ("messages", "messages-repo-url", "messages-wait", "messages-cancel")
    },
    "messages-port": port_messages_table,
    "permissions": permissions_table,
    "alarms": alarms_table,
    "bounds": bounds_table,
}
CONFIG_HEAD: Final = ("Name", "Type", "Required", "Description")


def _fields(
    model: type[BaseModel], wanted: Callable[[str], bool], required: Collection[str] = (), prefix: str = ""
) -> list[tuple[str, ...]]:
    properties = model.model_json_schema(by_alias=True)["properties"]
    rows: list[tuple[str, ...]] = []
    for info in model.model_fields.values():
        name = str(info.alias)
        if not wanted(name):
            continue
        if info.annotation == Credentials | None:
            rows += _fields(Credentials, lambda _: True, prefix=f"{name}.")
            continue
        meaning = info.description or ""
        if info.default not in (None, PydanticUndefined):
            shown = str(info.default).lower() if isinstance(info.default, bool) else info.default
            meaning += f" Default: `{shown}`."
        needed = "Y" if info.is_required() or name in required else "N"
        rows.append((f"`{prefix}{name}`", _type(properties[name]), needed, meaning))
        for inner in get_args(info.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                rows += _fields(inner, lambda _: True, prefix=f"{prefix}{name}.")
    return rows


def _outputs(schema: dict[str, Any], prefix: str = "") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, property_ in schema["properties"].items():
        rows.append((f"`{prefix}{name}`", _type(property_), property_.get("description", "")))
        inner = property_.get("anyOf", [property_])[0]
        reference = inner.get("items", inner).get("$ref", "").removeprefix("#/$defs/")
        if reference:
            within = f"{prefix}{name}{'[]' if 'items' in inner else ''}."
            rows += _outputs(schema | schema["$defs"][reference], within)
    return rows


def _type(property_: dict[str, Any]) -> str:
    """The JSON type in which a value is meant: the first of those that are taken, and what may stand in its place."""
    first, *others = property_.get("anyOf", [property_])
    words = [word for other in others for word in other.get("enum", ()) if word not in ("true", "false")]
    return " or ".join(f"`{name}`" for name in (first.get("type", "object"), *words))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def schemas() -> dict[Path, str]:
    """The JSON Schema of each step's config, for editors, by file."""
    configs: dict[str, type[RepositoryConfig]] = {
        dispatch_config.KIND: DispatchWorkflowConfig,
        wait_config.KIND: WaitForWorkflowConfig,
        cancel_config.KIND: CancelWorkflowConfig,
    }
    return {
        ROOT / "docs/schemas" / f"{kind}.json": dumps(model.json_schema(), indent=2, ensure_ascii=False) + "\n"
        for kind, model in configs.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.docs", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write instead of checking")
    parser.add_argument("--check", action="store_true", help="check (the default)")
    options = parser.parse_args()
    logging.getLogger("gha_step").addHandler(logging.NullHandler())  # what the mistakes of the messages log
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        current = PART.sub(lambda part: part[1] + PARTS[part[2]]() + part[3], text)
        if current != text:
            stale.append(path.name)
            if options.write:
                path.write_text(current)
    for path, current in schemas().items():
        if not path.exists() or path.read_text() != current:
            stale.append(path.name)
            if options.write:
                path.parent.mkdir(exist_ok=True)
                path.write_text(current)
    if stale and not options.write:
        print(f"not current: {', '.join(stale)}; run `make fix`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
