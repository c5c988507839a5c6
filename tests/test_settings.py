"""The environment, and what of it is refused."""

from pathlib import Path
from typing import Any

import pytest

from gha_step.settings import Address, Settings, SettingsError, SqliteLedger, described, variable
from gha_step.wiring.core import ARTIFACT_HOSTS
from tests.support.rows import each_row


def parse(**values: str) -> Settings:
    return Settings.parse({f"GHA_STEP_{name}": value for name, value in values.items()})


def problem(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(**values)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = Settings.parse({})
    assert settings.http_listen == Address("0.0.0.0", 9790)
    assert settings.token_file == "/var/run/kargo/token"
    assert settings.secrets == "kubernetes"
    assert settings.ledger == SqliteLedger(Path("gha-step.db"), lifetime_pod=False)
    assert (settings.settle, settings.reply_within) == (20, 5)
    assert (settings.allow_http, settings.projects, settings.project_api) == (False, None, False)
    assert settings.artifact_hosts == ARTIFACT_HOSTS
    assert settings.shared_namespace == "kargo-shared-resources"
    assert (settings.log_level, settings.log_format) == ("info", "json")


def test_other_variables_are_not_looked_at() -> None:
    assert Settings.parse({"PATH": "/bin", "GHA_STEPS": "x", "XGHA_STEP_Y": "z"}) == Settings.parse({})


@each_row(
    ("name", "value", "field", "parsed"),
    [
        ("HTTP_LISTEN", "127.0.0.1:1", "http_listen", Address("127.0.0.1", 1)),
        ("HTTP_LISTEN", "[::1]:65535", "http_listen", Address("::1", 65535)),
        ("HTTP_LISTEN", ":9790", "http_listen", Address("0.0.0.0", 9790)),
        ("HTTP_LISTEN", "localhost:0", "http_listen", Address("localhost", 0)),
        ("GRPC_LISTEN", "off", "grpc_listen", None),
        ("GRPC_LISTEN", "127.0.0.1:9791", "grpc_listen", Address("127.0.0.1", 9791)),
        ("SECRETS", "dir:/run/secrets", "secrets", Path("/run/secrets")),
        ("LEDGER", "sqlite:/data/x.db", "ledger", SqliteLedger(Path("/data/x.db"), lifetime_pod=False)),
        ("LEDGER", "sqlite:x.db?lifetime=pod", "ledger", SqliteLedger(Path("x.db"), lifetime_pod=True)),
        ("LEDGER", "kubernetes", "ledger", "kubernetes"),
        ("PROJECTS", "a, b,,", "projects", frozenset({"a", "b"})),
        ("PROJECTS", "*", "projects", frozenset({"*"})),
        ("PROJECTS", " , ", "projects", None),
        ("SHARED_NAMESPACE", "common", "shared_namespace", "common"),
        ("SHARED_NAMESPACE", "", "shared_namespace", ""),
        ("PROJECT_API", "on", "project_api", True),
        ("PROJECT_API", "off", "project_api", False),
        ("GITHUB_HOSTS", "", "github_hosts", None),
        ("ARTIFACT_HOSTS", "", "artifact_hosts", frozenset()),
        ("ARTIFACT_HOSTS", "*.s3.Example.com, .a.b,minio", "artifact_hosts", {"s3.example.com", "a.b", "minio"}),
        ("GITHUB_HOSTS", "GitHub.com., 10.0.0.7,fd00::1,", "github_hosts", {"github.com", "10.0.0.7", "fd00::1"}),
        ("ALLOW_HTTP", "true", "allow_http", True),
        ("ALLOW_HTTP", "false", "allow_http", False),
        ("SETTLE", "0s", "settle", 0),
        ("SETTLE", "4m", "settle", 240),
        ("REPLY_WITHIN", "25s", "reply_within", 25),
        ("REPLY_WITHIN", "100ms", "reply_within", 0.1),
        ("LOG_FORMAT", "text", "log_format", "text"),
        ("PORTIO", "off", "portio", frozenset()),
        ("PORTIO", "claims", "portio", frozenset({"claims"})),
        ("PORTIO", "kafka, claims,", "portio", frozenset({"claims", "kafka"})),
        ("PORTIO_REPOS", "my-org/deploy-*, other/x,", "portio_repos", ("my-org/deploy-*", "other/x")),
        ("PORTIO_DECRYPT", "password, password,key", "portio_decrypt", ("password", "key")),
        ("PORTIO_POLL", "1s", "portio_poll", 1),
        ("PORTIO_POLL", "60s", "portio_poll", 60),
        ("PORTIO_VISIBILITY", "10m", "portio_visibility", 600),
        ("PORTIO_PLACES", "1000", "portio_places", 1000),
        ("PORTIO_QUEUE", "72h", "portio_queue", 259_200),
        ("PORTIO_TIMEOUT", "2h", "portio_timeout", 7200),
        ("PORTIO_UNKNOWN", "0s", "portio_unknown", 0),
        ("PORTIO_CANCEL", "force", "portio_cancel", "force"),
        ("PORTIO_KAFKA_BROKERS", "a:9196,b:9196", "portio_kafka_brokers", ("a:9196", "b:9196")),
    ],
)
def test_a_setting_is_read(name: str, value: str, field: str, parsed: Any) -> None:
    assert getattr(parse(**{name: value}), field) == parsed


def test_port_is_off_and_its_numbers_are_those_of_the_documentation() -> None:
    settings = Settings.parse({})
    assert settings.portio == frozenset()
    assert (settings.portio_poll, settings.portio_visibility, settings.portio_places) == (3, 120, 200)
    assert (settings.portio_queue, settings.portio_timeout, settings.portio_unknown) == (3600, 300, 3600)
    assert (settings.portio_cancel, settings.portio_repos, settings.portio_kafka_brokers) == ("off", (), ())
    assert settings.github_webhook_secret_file == "off"


QUOTED = ("SECRETS", "LEDGER", "SETTLE", "REPLY_WITHIN", "LOG_LEVEL", "LOG_FORMAT", "PROJECT_API", "ALLOW_HTTP")


@each_row(
    ("name", "value"),
    [
        ("HTTP_LISTEN", ""),
        ("HTTP_LISTEN", "9790"),
        ("HTTP_LISTEN", "0.0.0.0"),
        ("HTTP_LISTEN", "0.0.0.0:65536"),
        ("HTTP_LISTEN", "0.0.0.0:-1"),
        ("HTTP_LISTEN", "::1:9790"),
        ("HTTP_LISTEN", "http://0.0.0.0:9790"),
        ("HTTP_LISTEN", "0.0.0.0:9790 "),
        ("HTTP_LISTEN", "0.0.0.0:٩"),
        ("HTTP_LISTEN", "off"),
        ("GRPC_LISTEN", "9791"),
        ("GRPC_LISTEN", "on"),
        ("GRPC_LISTEN", ""),
        ("PROJECT_API", "yes"),
        ("PROJECT_API", ""),
        ("TOKEN_FILE", ""),
        ("SECRETS", ""),
        ("SECRETS", "dir:"),
        ("SECRETS", "Kubernetes"),
        ("LEDGER", "sqlite:"),
        ("LEDGER", "Kubernetes"),
        ("LEDGER", "kubernetes:demo"),
        ("LEDGER", "/data/x.db"),
        ("GITHUB_HOSTS", "https://github.com"),
        ("GITHUB_HOSTS", "github.com:443"),
        ("GITHUB_HOSTS", "*.ghe.com"),
        ("GITHUB_HOSTS", "github.com, ghé.example.com"),
        ("ALLOW_HTTP", "yes"),
        ("ALLOW_HTTP", "1"),
        ("ALLOW_HTTP", ""),
        ("SETTLE", "-1s"),
        ("SETTLE", "20"),
        ("SETTLE", "300s"),
        ("REPLY_WITHIN", "0s"),
        ("REPLY_WITHIN", "0.099s"),
        ("REPLY_WITHIN", "25.1s"),
        ("REPLY_WITHIN", "-5s"),
        ("REPLY_WITHIN", "forever"),
        ("LOG_LEVEL", "INFO"),
        ("LOG_FORMAT", "yaml"),
        ("PORTIO", ""),
        ("PORTIO", "on"),
        ("PORTIO", "claims,off"),
        ("PORTIO", "claims,webhook"),
        ("PORTIO_REPOS", "my-org"),
        ("PORTIO_REPOS", "https://github.com/my-org/x"),
        ("PORTIO_POLL", "999ms"),
        ("PORTIO_POLL", "61s"),
        ("PORTIO_VISIBILITY", "0s"),
        ("PORTIO_VISIBILITY", "11m"),
        ("PORTIO_PLACES", "0"),
        ("PORTIO_PLACES", "1001"),
        ("PORTIO_PLACES", "many"),
        ("PORTIO_QUEUE", "0s"),
        ("PORTIO_QUEUE", "73h"),
        ("PORTIO_UNKNOWN", "-1s"),
        ("PORTIO_UNKNOWN", "25h"),
        ("PORTIO_CANCEL", "yes"),
        ("PORTIO_PROJECT", "My Project"),
        ("PORTIO_SECRET", ""),
        ("PORTIO_INSTALLATION", ""),
        ("PORTIO_KAFKA_OFFSET_RESET", "largest"),
        ("PORTIO_KAFKA_SECURITY", "ssl"),
        ("GITHUB_WEBHOOK_SECRET_FILE", ""),
        ("KARGO_REFRESH", "on"),  # without a webhook
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    said = problem(**{name: value})
    assert said.startswith(f"GHA_STEP_{name}: ")
    if name in QUOTED:
        assert value in said


# ---------------------------------------------------------------- gRPC

OPEN = "0.0.0.0:9791"
LOCAL = "127.0.0.1:9791"


@pytest.mark.parametrize(
    "values",
    [
        {"GRPC_LISTEN": LOCAL},
        {"GRPC_LISTEN": "[::1]:9791"},
        {"GRPC_LISTEN": LOCAL, "GRPC_TLS_CERT": "none"},
        {"GRPC_LISTEN": OPEN, "GRPC_TLS_CERT": "none"},
        {"GRPC_LISTEN": OPEN, "GRPC_TLS_CERT": "/tls.crt", "GRPC_TLS_KEY": "/tls.key"},
        {"GRPC_LISTEN": OPEN, "GRPC_TLS_CERT": "/c", "GRPC_TLS_KEY": "/k", "GRPC_TLS_CLIENT_CA": "/ca"},
        {"GRPC_LISTEN": LOCAL, "HTTP_LISTEN": "off"},
        {"GRPC_LISTEN": LOCAL, "HTTP_LISTEN": "127.0.0.1:1", "TOKEN_FILE": "none"},
        {"GRPC_LISTEN": LOCAL, "HTTP_LISTEN": "off", "TOKEN_FILE": "none"},
        {"GRPC_LISTEN": "off", "GRPC_TLS_CERT": "/tls.crt"},
    ],
)
def test_grpc_is_in_plaintext_on_loopback_or_where_it_is_said(values: dict[str, str]) -> None:
    parse(**values)


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({"GRPC_LISTEN": OPEN}, "GRPC_TLS_CERT", "0.0.0.0:9791"),
        ({"GRPC_LISTEN": "gha-step:9791"}, "GRPC_TLS_CERT", "write none for plaintext"),
        ({"GRPC_LISTEN": OPEN, "GRPC_TLS_CERT": "/c"}, "GRPC_TLS_KEY", "the key of GHA_STEP_GRPC_TLS_CERT"),
        ({"GRPC_LISTEN": LOCAL, "GRPC_TLS_KEY": "/k"}, "GRPC_TLS_KEY", "needs a certificate"),
        (
            {"GRPC_LISTEN": OPEN, "GRPC_TLS_CERT": "none", "GRPC_TLS_CLIENT_CA": "/ca"},
            "GRPC_TLS_CLIENT_CA",
            "needs a certificate",
        ),
        ({"GRPC_LISTEN": "off", "HTTP_LISTEN": "off"}, "HTTP_LISTEN", "GHA_STEP_GRPC_LISTEN"),
        ({"GRPC_LISTEN": LOCAL, "HTTP_LISTEN": "off", "PROJECT_API": "on"}, "PROJECT_API", "GHA_STEP_HTTP_LISTEN"),
        (
            {"GRPC_LISTEN": OPEN, "GRPC_TLS_CERT": "none", "HTTP_LISTEN": "127.0.0.1:1", "TOKEN_FILE": "none"},
            "TOKEN_FILE",
            "GHA_STEP_GRPC_LISTEN is 0.0.0.0:9791",
        ),
        ({"GRPC_LISTEN": LOCAL, "TOKEN_FILE": "none"}, "TOKEN_FILE", "GHA_STEP_HTTP_LISTEN is 0.0.0.0:9790"),
        (
            {"GRPC_LISTEN": LOCAL, "HTTP_LISTEN": "off", "GITHUB_WEBHOOK_SECRET_FILE": "/x"},
            "GITHUB_WEBHOOK_SECRET_FILE",
            "GHA_STEP_HTTP_LISTEN",
        ),
    ],
)
def test_what_of_grpc_does_not_fit_together_is_refused(values: dict[str, str], name: str, words: str) -> None:
    said = problem(**values)
    assert said.startswith(f"GHA_STEP_{name}: ")
    assert words in said


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("LEDGERS", "GHA_STEP_LEDGER"), ("HTTP_LISTENER", "GHA_STEP_HTTP_LISTEN"), ("TOKENFILE", "GHA_STEP_TOKEN_FILE")],
)
def test_an_unknown_setting_is_refused_with_the_nearest_known_one(name: str, nearest: str) -> None:
    said = problem(**{name: "x"})
    assert said.startswith(f"GHA_STEP_{name}: there is no such setting")
    assert f"did you mean {nearest}?" in said


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_9790_TCP",
        "PORT_9790_TCP_ADDR",
        "PORT_SERVICE_HOST",
        "PORT_PORT_9790_TCP",
        "PORT_9791_TCP_PROTO",
        "GRPC_SERVICE_HOST",
        "GRPC_PORT_9791_TCP",
    ],
)
def test_what_kubernetes_sets_beside_a_service_named_gha_step_is_no_setting(name: str) -> None:
    assert parse(**{name: "tcp://10.0.0.1:9790"}) == Settings.parse({})


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:9790", "localhost:9790", "127.9.9.9:1"])
def test_without_a_token_only_loopback_is_served(address: str) -> None:
    assert parse(TOKEN_FILE="none", HTTP_LISTEN=address).token_file == "none"


@pytest.mark.parametrize("address", ["0.0.0.0:9790", ":9790", "[::]:9790", "10.0.0.1:1", "localhost.example.com:1"])
def test_without_a_token_no_other_address_is_served(address: str) -> None:
    assert "loopback only" in problem(TOKEN_FILE="none", HTTP_LISTEN=address)


def test_where_step_execute_is_not_served_any_address_will_do() -> None:
    assert parse(TOKEN_FILE="off", HTTP_LISTEN="0.0.0.0:1").token_file == "off"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.parse({}).log_level = "debug"  # type: ignore[misc]


def test_every_setting_is_described_with_the_default_that_it_has() -> None:
    for setting in described():
        assert setting.variable == variable(setting.field)
        assert setting.description.endswith(".")
        if setting.default:
            assert getattr(Settings.parse({setting.variable: setting.default}), setting.field) == getattr(
                Settings.parse({}), setting.field
            )


@pytest.mark.parametrize("value", [" ", "..", "a/b", "Common", "a.b", "-a", "a" * 64, "a\n"])
def test_a_shared_namespace_that_can_be_none_is_refused(value: str) -> None:
    assert problem(SHARED_NAMESPACE=value).startswith(f"GHA_STEP_SHARED_NAMESPACE: {value!r} is not the name")
