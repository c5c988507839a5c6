"""The environment, parsed once into frozen settings. It opens no file and no socket.

Each variable's name, default and meaning stand here only; `--help` and docs/settings.md are made from them.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from gha_step.contract.duration import format_duration, parse_duration
from gha_step.contract.errors import StepError
from gha_step.contract.quoting import quoted

PREFIX: Final = "GHA_STEP_"
NO_TOKEN: Final = "none"  # noqa: S105  a switch, not a token
NOT_SERVED: Final = "off"
NO_TLS: Final = "none"
LIFETIME_POD: Final = "?lifetime=pod"
PORT_WAYS: Final = frozenset({"claims", "kafka"})

# Kubernetes itself sets such variables in every pod beside a Service that is named gha-step, gha-step-grpc or -port.
_SERVICE_LINK: Final = re.compile(
    r"GHA_STEP_(?:(?:GRPC|PORT|PORTIO)_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)"
)


class SettingsError(StepError):
    """A setting is wrong: the message is one line that names the variable and the fix."""


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine (or pod) can call. A name other than `localhost` counts as open."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _refuse(text: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{text}", {"text": text})


def _address(text: object) -> object:
    if not isinstance(text, str):
        return text
    if text == "off":
        return None
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:\s]*)):([0-9]{1,5})", text)
    if not found or int(found[3]) > 65535:
        raise _refuse(f"{quoted(text)} is not an address; write one such as 0.0.0.0:9790, or off")
    return Address(found[1] or found[2] or "0.0.0.0", int(found[3]))  # noqa: S104  probes come to the pod's IP


def _duration(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return parse_duration(text)
    except ValueError as error:
        raise _refuse(f"{quoted(text)} is not a duration; {error}") from None


def _secrets(text: object) -> object:
    if text == "kubernetes" or isinstance(text, Path):
        return text
    if isinstance(text, str) and text.startswith("dir:") and len(text) > 4:
        return Path(text[4:])
    raise _refuse(f"{quoted(text)} is not a place for Secrets; write kubernetes, or dir:PATH")


@dataclass(frozen=True)
class SqliteLedger:
    """A ledger in a file. ``lifetime_pod``: it is understood that it dies with the pod."""

    path: Path
    lifetime_pod: bool


def _ledger(text: object) -> object:
    if isinstance(text, str) and text.startswith("sqlite:") and len(text) > 7:
        path = text[7:].removesuffix(LIFETIME_POD)
        return SqliteLedger(Path(path), lifetime_pod=path != text[7:])
    if text == "kubernetes":
        return text
    raise _refuse(f"{quoted(text)} is not a ledger; write sqlite:PATH, or kubernetes")


def _hosts(text: object) -> object:
    if not isinstance(text, str):
        return text
    names = frozenset(name.strip().lower().rstrip(".") for name in text.split(",") if name.strip())
    for name in sorted(names):
        if not re.fullmatch(r"[0-9a-z]([-0-9a-z.]*[0-9a-z])?|[0-9a-f:]*:[0-9a-f:.]*", name):
            raise _refuse(
                f"{quoted(name)} is not a host name; write names without scheme and port, such as "
                "github.com,ghe.example.com"
            )
    return names or None


def _suffixes(text: object) -> object:
    if isinstance(text, str):
        text = _hosts(",".join(name.strip().removeprefix("*").lstrip(".") for name in text.split(",")))
    return frozenset() if text is None else text


def _switch(text: object) -> object:
    if text in ("on", "off", True, False):
        return text in ("on", True)
    raise _refuse(f"{quoted(text)} is not a switch; write on or off")


def _boolean(text: object) -> object:
    if text in ("true", "false", True, False):
        return text in ("true", True)
    raise _refuse(f"{quoted(text)} is not a boolean; write true or false")


def _namespace(text: str) -> str:
    if text and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise _refuse(
            f"{quoted(text)} is not the name of a namespace; write one such as kargo-shared-resources, or leave it "
            "empty"
        )
    return text


def _between(least: str, most: str, why: str = "") -> AfterValidator:
    """A time span within bounds."""

    def check(seconds: float) -> float:
        if not parse_duration(least) <= seconds <= parse_duration(most):
            raise _refuse(f"{format_duration(seconds)} is out of range; write {least} to {most}{why}")
        return seconds

    return AfterValidator(check)


def _list(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _projects(text: object) -> object:
    names = _list(text)
    return frozenset(names) or None if isinstance(names, tuple) else names


def _ways(text: object) -> object:
    """The ways in from Port."""
    ways = frozenset(named) if isinstance(named := _list(text), tuple) else text
    if ways == {"off"}:
        return frozenset()
    if not isinstance(ways, frozenset) or not ways or not ways <= PORT_WAYS:
        raise _refuse(f"{quoted(text)} is no way in from Port; write claims, kafka, both with a comma, or off")
    return ways


def _repositories(text: object) -> object:
    names = _list(text)
    for name in names if isinstance(names, tuple) else ():
        if not re.fullmatch(r"[^/\s]+/[^/\s]+", name):
            raise _refuse(
                f"{quoted(name)} is not a pattern for repositories; write owner/name, such as my-org/deploy-*"
            )
    return names


Duration = BeforeValidator(_duration)
Names = Annotated[tuple[str, ...], BeforeValidator(_list)]


class Settings(BaseModel):
    """All settings of ``gha-step serve``."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True)

    http_listen: Annotated[Address | None, BeforeValidator(_address)] = Field(
        default="0.0.0.0:9790",
        description="Address of the HTTP server, or `off`.",  # type: ignore[assignment]
    )
    grpc_listen: Annotated[Address | None, BeforeValidator(_address)] = Field(
        default="off",  # type: ignore[assignment]
        description="Address of the gRPC server, e.g. `0.0.0.0:9791`, or `off`.",
    )
    grpc_tls_cert: str = Field(
        default="",
        description="PEM file with the certificate of the gRPC server and any intermediate certificates; reloaded "
        "when it is renewed. Required except on loopback, or `none` for plaintext, for example behind a service "
        "mesh that encrypts.",
    )
    grpc_tls_key: str = Field(default="", description="PEM file with the private key of `GHA_STEP_GRPC_TLS_CERT`.")
    grpc_tls_client_ca: str = Field(
        default="",
        description="PEM file with the CA of gRPC callers: only callers with a certificate of that CA can connect. "
        "They need the bearer token as well.",
    )
    token_file: str = Field(
        default="/var/run/kargo/token",
        min_length=1,
        description="File with the bearer token for `step.execute` and gRPC. `none`: no token needed, on loopback "
        "addresses only. `off`: neither is served.",
    )
    secrets: Annotated[Literal["kubernetes"] | Path, BeforeValidator(_secrets)] = Field(
        default="kubernetes",
        description="Where to read Secrets: `kubernetes`, or `dir:PATH` with `PATH/<namespace>/<secret>/<key>`.",
    )
    ledger: Annotated[Literal["kubernetes"] | SqliteLedger, BeforeValidator(_ledger)] = Field(
        default="sqlite:gha-step.db",  # type: ignore[arg-type]
        description="Where dispatches are recorded: `sqlite:PATH`, for one process on one machine. Inside Kubernetes "
        "a file that is lost with the pod is refused, unless you accept that with `sqlite:PATH?lifetime=pod`. "
        "`kubernetes`: as WorkflowDispatches in each project's namespace, for any number of replicas.",
    )
    ledger_keep: Annotated[float, Duration, _between("168h", "87600h")] = Field(
        default="2160h",  # type: ignore[assignment]
        description="Age at which records that have ended lose their details in a sqlite ledger, and at which "
        "`gha-step ledger prune` deletes records that are no longer needed from Kubernetes: a Go duration, at "
        "least 168h.",
    )
    projects: Annotated[frozenset[str] | None, BeforeValidator(_projects)] = Field(
        default=None,
        description="Projects to serve when Secrets come from Kubernetes, separated by commas, `*` for all. Default: "
        "the pod's own namespace.",
    )
    project_api: Annotated[bool, BeforeValidator(_switch)] = Field(
        default="off",  # type: ignore[assignment]
        description="`on`: serve the REST resource for stock Kargo, to callers with the token in the Secret `gha-step` "
        "of the project's namespace.",
    )
    shared_namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        default="kargo-shared-resources",
        description="Namespace of Kargo's Git credentials that all projects share, for steps with `repoURL`. Empty: "
        "none.",
    )
    allow_http: Annotated[bool, BeforeValidator(_boolean)] = Field(
        default=False, description="Allow `http` base URLs that are not on loopback."
    )
    github_hosts: Annotated[frozenset[str] | None, BeforeValidator(_hosts)] = Field(
        default=None,
        description="GitHub servers to connect to, separated by commas, e.g. `github.com,ghe.example.com`. Default: "
        "any.",
    )
    artifact_hosts: Annotated[frozenset[str], BeforeValidator(_suffixes)] = Field(
        default="*.blob.core.windows.net,*.actions.githubusercontent.com",  # type: ignore[arg-type]
        description="Hosts, besides GitHub itself, that a workflow's outputs may be downloaded from: host names "
        "separated by commas, each including its subdomains. The default is where GitHub stores artifacts; set it "
        "for a GitHub Enterprise Server with storage of its own.",
    )
    settle: Annotated[float, Duration, _between("0s", "4m")] = Field(
        default="20s",  # type: ignore[assignment]
        description="Time after which GitHub certainly lists a new run, if it returns no run ID: a Go duration.",
    )
    reply_within: Annotated[float, Duration, _between("100ms", "25s", " (one host gives up after 30 s)")] = Field(
        default="5s",  # type: ignore[assignment]
        description="Maximum time for an answer: a Go duration, at most 25s.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["json", "text"] = Field(default="json", description="`json` or `text`, on stderr.")
    pod_uid: str = Field(
        default="",
        description="The pod's `metadata.uid`, from the downward API: a restarted container then knows at once that "
        "its predecessor is gone.",
    )
    cancel_on_abort: Literal["own", "all", "off"] = Field(
        default="own",
        description="Which steps with `cancelOnAbort` this process watches the Promotion of. `own`: those that it "
        "serves, while it runs. `all`: those of all its projects, one replica for all, whichever process "
        "dispatched them and even after the Promotion is deleted; needs Kubernetes. `off`: none.",
    )
    portio: Annotated[frozenset[str], BeforeValidator(_ways)] = Field(
        default="off",  # type: ignore[arg-type]
        description="How to get runs from Port: `claims`, `kafka`, or both with a comma.",
    )
    portio_api: str = Field(
        default="https://api.port.io",
        description="Port's API: `https://api.us.port.io` for organisations in the US region. `http` on loopback only.",
    )
    portio_project: Annotated[str, AfterValidator(_namespace)] = Field(
        default="",
        description="Project (namespace) with Port's Secrets and the records of its runs. Default: the pod's own "
        "namespace.",
    )
    portio_secret: str = Field(
        default="port-credentials",
        min_length=1,
        description="Secret with Port's `clientId` and `clientSecret`; read again for each request to Port. While "
        "Port refuses the login gha-step tries once a minute, so a corrected Secret works within 60 s.",
    )
    portio_github_secret: str = Field(
        default="github-credentials",
        min_length=1,
        description="Secret with `accessToken`, or with a GitHub App's keys, for Port's dispatches, and `baseURL` "
        "unless it is github.com. `git`: Kargo's own Git credentials, by the repository's URL.",
    )
    portio_github_org: str = Field(default="", description="Owner of the repository for actions that do not set one.")
    portio_repos: Annotated[tuple[str, ...], BeforeValidator(_repositories)] = Field(
        default=(),
        description="Repositories in which Port may start workflows: patterns such as `my-org/deploy-*`, separated "
        "by commas. Default: all that the token has access to.",
    )
    portio_decrypt: Names = Field(
        default=(),
        description="`kafka` only: names of workflow inputs that Port encrypts (`aes256-gcm`), separated by commas; "
        "gha-step decrypts them before the dispatch.",
    )
    portio_installation: str = Field(
        default="gha-step",
        min_length=1,
        max_length=200,
        description="`claims` only: the installation ID that actions name. Nothing else may use it.",
    )
    portio_poll: Annotated[float, Duration, _between("1s", "60s")] = Field(
        default="3s",  # type: ignore[assignment]
        description="Time to wait after a claim that returned nothing: a Go duration.",
    )
    portio_visibility: Annotated[float, Duration, _between("1s", "600s")] = Field(
        default="120s",  # type: ignore[assignment]
        description="How long Port hides a claimed run from others: a Go duration.",
    )
    portio_places: int = Field(
        default=200, ge=1, le=1000, description="Maximum number of runs whose dispatch is not decided yet."
    )
    portio_queue: Annotated[float, Duration, _between("1s", "72h")] = Field(
        default="1h",  # type: ignore[assignment]
        description="Maximum wait before a dispatch, for whatever reason: a Go duration. After that nothing is "
        "dispatched.",
    )
    portio_timeout: Annotated[float, Duration, _between("1s", "72h")] = Field(
        default="300s",  # type: ignore[assignment]
        description="How long to look for a dispatched run if GitHub returns no run ID: a Go duration.",
    )
    portio_unknown: Annotated[float, Duration, _between("0s", "24h")] = Field(
        default="1h",  # type: ignore[assignment]
        description="How long to wait before reporting an end to Port if it cannot be known whether the run was "
        "dispatched: a Go duration.",
    )
    portio_cancel: Literal["off", "on", "force"] = Field(
        default="off",
        description="`on`: cancel the workflow run when a person sets its Port run to FAILURE. `force`: also "
        "force-cancel it 6 minutes later.",
    )
    portio_org_id: str = Field(
        default="",
        max_length=200,
        description="`kafka` only: Port's ID of the organisation. Default: the one in the token.",
    )
    portio_kafka_topic: str = Field(
        default="", max_length=249, description="Topic with the messages. Default: `ORG_ID.github.runs`."
    )
    portio_kafka_group: str = Field(
        default="",
        max_length=249,
        description="Consumer group; Port requires it to start with `ORG_ID.`. Default: `ORG_ID.gha-step`.",
    )
    portio_kafka_offset_reset: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where a new group starts: `earliest` or `latest`."
    )
    portio_kafka_brokers: Names = Field(
        default=(),
        description="`host:port`, separated by commas. Default: the brokers that Port returns with the login.",
    )
    portio_kafka_security: Literal["SASL_SSL", "SASL_PLAINTEXT", "SSL", "PLAINTEXT"] = Field(
        default="SASL_SSL", description="`SASL_SSL`, `SASL_PLAINTEXT`, `SSL` or `PLAINTEXT`."
    )
    portio_kafka_ca: str = Field(default="", description="PEM file with the CA of the brokers. Default: the system's.")
    github_webhook_secret_file: str = Field(
        default="off",
        min_length=1,
        description="File with the secret of GitHub's webhook, which makes gha-step poll runs earlier; serves `POST "
        "/github/webhook`. `off`: not served.",
    )
    kargo_refresh: Annotated[bool, BeforeValidator(_switch)] = Field(
        default="off",  # type: ignore[assignment]
        description="`on`: a delivery of that webhook also makes stock Kargo (1.11 and later) check the Promotion "
        "that waits for the run at once. Needs permission to patch Promotions: `deploy/service/refresh`.",
    )

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings in the variables whose names start with ``GHA_STEP_``.

        :raises SettingsError: one line that names the first wrong variable and the fix.
        """
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name)
        }
        if unknown := sorted(given.keys() - cls.model_fields.keys()):
            raise SettingsError(_unknown(variable(unknown[0]), [variable(name) for name in cls.model_fields]))
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = str(problem["loc"][0])
            raise SettingsError(f"{variable(name)}: {_words(problem)}") from None
        return _checked(settings)


def _checked(settings: Settings) -> Settings:
    listeners = {"http_listen": settings.http_listen, "grpc_listen": settings.grpc_listen}
    if not any(listeners.values()):
        raise SettingsError(
            "GHA_STEP_HTTP_LISTEN: with off here and in GHA_STEP_GRPC_LISTEN there is nothing to serve; write an "
            "address in one of them"
        )
    if settings.project_api and settings.http_listen is None:
        raise SettingsError("GHA_STEP_PROJECT_API: on needs HTTP; write an address in GHA_STEP_HTTP_LISTEN")
    for name, address in listeners.items():
        if settings.token_file == NO_TOKEN and address is not None and not address.is_loopback:
            raise SettingsError(
                f"GHA_STEP_TOKEN_FILE: none is allowed on loopback only, but {variable(name)} is {address}; listen on "
                "127.0.0.1, or name a token file"
            )
    if settings.github_webhook_secret_file != NOT_SERVED and settings.http_listen is None:
        raise SettingsError("GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE: needs HTTP; write an address in GHA_STEP_HTTP_LISTEN")
    if settings.kargo_refresh and (settings.github_webhook_secret_file == NOT_SERVED or not settings.project_api):
        raise SettingsError(
            "GHA_STEP_KARGO_REFRESH: on needs GHA_STEP_GITHUB_WEBHOOK_SECRET_FILE, and GHA_STEP_PROJECT_API=on"
        )
    if settings.grpc_listen is not None:
        _check_tls(settings, settings.grpc_listen)
    return settings


def _check_tls(settings: Settings, address: Address) -> None:
    if settings.grpc_tls_cert in ("", NO_TLS):
        for name in ("grpc_tls_key", "grpc_tls_client_ca"):
            if getattr(settings, name):
                raise SettingsError(f"{variable(name)}: needs a certificate in GHA_STEP_GRPC_TLS_CERT")
        if not settings.grpc_tls_cert and not address.is_loopback:
            raise SettingsError(
                f"GHA_STEP_GRPC_TLS_CERT: is required, because GHA_STEP_GRPC_LISTEN is {address} and not on loopback; "
                "name a certificate file, or write none for plaintext"
            )
    elif not settings.grpc_tls_key:
        raise SettingsError("GHA_STEP_GRPC_TLS_KEY: is required; name the file with the key of GHA_STEP_GRPC_TLS_CERT")


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


class Setting(NamedTuple):
    """One setting as `--help` and docs/settings.md show it. ``default``: as one would write it; '' if it has none."""

    field: str
    variable: str
    default: str
    description: str


def described() -> list[Setting]:
    """All settings, in order."""
    return [
        Setting(
            field=name,
            variable=variable(name),
            default="" if info.default in (None, "", ()) else str(info.default).replace("False", "false"),
            description=info.description or "",
        )
        for name, info in Settings.model_fields.items()
    ]


def _words(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "setting":
            return problem["msg"]
        case "literal_error":
            return f"{quoted(problem['input'])} is not one of {problem['ctx']['expected']}"
        case _:
            return problem["msg"][:1].lower() + problem["msg"][1:]


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f"{name}: there is no such setting" + (f"; did you mean {close[0]}?" if close else "")
