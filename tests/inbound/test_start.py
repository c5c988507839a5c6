"""A failed start: exit code 2, and exactly one line on stderr that names the variable and the fix."""

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gha_step.ledger.sqlite import SqliteStore
from tests.support.calls import BEARER
from tests.support.process import run_command, run_here


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With which it would start."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "token").write_text(BEARER)
    return {
        "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
        "GHA_STEP_TOKEN_FILE": str(tmp_path / "token"),
        "GHA_STEP_SECRETS": f"dir:{tmp_path / 'secrets'}",
        "GHA_STEP_LEDGER": f"sqlite:{tmp_path / 'ledger.db'}",
    }


def failed(environment: dict[str, str], *flags: str, as_process: bool = False) -> str:
    """The one line."""
    done = (run_command if as_process else run_here)("serve", *flags, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert BEARER not in line
    return line


Spoil = Callable[[Path, dict[str, str]], None]


def setting(name: str, value: str) -> Spoil:
    def spoil(folder: Path, environment: dict[str, str]) -> None:
        environment[name] = value.format(folder=folder)

    return spoil


def garbage(folder: Path, environment: dict[str, str]) -> None:
    (folder / "ledger.db").write_bytes(b"garbage" * 1000)


def foreign(folder: Path, environment: dict[str, str]) -> None:
    with closing(sqlite3.connect(folder / "ledger.db")) as database:
        database.execute("CREATE TABLE x (y)")
        database.commit()


def future(folder: Path, environment: dict[str, str]) -> None:
    SqliteStore(folder / "ledger.db").close()
    with closing(sqlite3.connect(folder / "ledger.db")) as database:
        database.execute("PRAGMA user_version=7")


def empty_token(folder: Path, environment: dict[str, str]) -> None:
    (folder / "token").write_text("\n")


CASES: dict[str, tuple[Spoil, str, str]] = {
    "token file missing": (
        setting("GHA_STEP_TOKEN_FILE", "{folder}/nowhere"),
        "GHA_STEP_TOKEN_FILE",
        "--token-file none",
    ),
    "promotions to watch, and no API server": (
        setting("GHA_STEP_CANCEL_ON_ABORT", "all"),
        "GHA_STEP_CANCEL_ON_ABORT",
        "GHA_STEP_LEDGER=kubernetes",
    ),
    "token file empty": (empty_token, "GHA_STEP_TOKEN_FILE", "is empty"),
    "token file a directory": (setting("GHA_STEP_TOKEN_FILE", "{folder}"), "GHA_STEP_TOKEN_FILE", "cannot be read"),
    "no token off loopback": (
        lambda folder, environment: environment.update(
            {"GHA_STEP_TOKEN_FILE": "none", "GHA_STEP_HTTP_LISTEN": "0.0.0.0:0"}
        ),
        "GHA_STEP_TOKEN_FILE",
        "loopback only",
    ),
    "ledger garbage": (garbage, "GHA_STEP_LEDGER", "ledger.db"),
    "ledger foreign": (foreign, "GHA_STEP_LEDGER", "not a ledger"),
    "ledger of the future": (future, "GHA_STEP_LEDGER", "schema 7"),
    "ledger directory missing": (setting("GHA_STEP_LEDGER", "sqlite:{folder}/no/l.db"), "GHA_STEP_LEDGER", "l.db"),
    "ledger a directory": (setting("GHA_STEP_LEDGER", "sqlite:{folder}/secrets"), "GHA_STEP_LEDGER", "secrets"),
    "ledger of an unknown kind": (
        setting("GHA_STEP_LEDGER", "postgres:x"),
        "GHA_STEP_LEDGER",
        "'postgres:x' is not a ledger",
    ),
    "ledger without a cluster": (
        setting("GHA_STEP_LEDGER", "kubernetes"),
        "GHA_STEP_LEDGER",
        "or keep the ledger in a file: sqlite:PATH",
    ),
    "ledger without a path": (setting("GHA_STEP_LEDGER", "sqlite:"), "GHA_STEP_LEDGER", "write sqlite:PATH"),
    "secrets missing": (setting("GHA_STEP_SECRETS", "dir:{folder}/nowhere"), "GHA_STEP_SECRETS", "not a directory"),
    "secrets of an unknown kind": (
        setting("GHA_STEP_SECRETS", "vault"),
        "GHA_STEP_SECRETS",
        "'vault' is not a place for Secrets",
    ),
    "secrets without a cluster": (
        setting("GHA_STEP_SECRETS", "kubernetes"),
        "GHA_STEP_SECRETS",
        "or read Secrets from files: dir:PATH",
    ),
    "address no address": (setting("GHA_STEP_HTTP_LISTEN", "9790"), "GHA_STEP_HTTP_LISTEN", "'9790' is not an address"),
    "address not ours": (setting("GHA_STEP_HTTP_LISTEN", "192.0.2.1:9790"), "GHA_STEP_HTTP_LISTEN", "192.0.2.1"),
    "address unresolvable": (
        setting("GHA_STEP_HTTP_LISTEN", "gha-step-tests.invalid:9790"),
        "GHA_STEP_HTTP_LISTEN",
        "gha-step-tests.invalid",
    ),
    "nothing to serve": (setting("GHA_STEP_HTTP_LISTEN", "off"), "GHA_STEP_HTTP_LISTEN", "nothing to serve"),
    "reply limit too long": (setting("GHA_STEP_REPLY_WITHIN", "26s"), "GHA_STEP_REPLY_WITHIN", "26s is out of range"),
    "reply limit a number": (setting("GHA_STEP_REPLY_WITHIN", "5"), "GHA_STEP_REPLY_WITHIN", "Go duration"),
    "unknown setting": (setting("GHA_STEP_LEDGERS", "x"), "GHA_STEP_LEDGERS", "did you mean GHA_STEP_LEDGER?"),
    "log level unknown": (setting("GHA_STEP_LOG_LEVEL", "loud"), "GHA_STEP_LOG_LEVEL", "'loud' is not one of"),
    "proxy of another kind": (
        setting("HTTPS_PROXY", "socks5://p:1080"),
        "HTTPS_PROXY",
        "socks5:// proxies are not supported",
    ),
    "proxy that is no URL": (
        setting("https_proxy", "http://p:port"),
        "https_proxy",
        "write http://proxy.example.com:3128",
    ),
    "line breaks in a value": (setting("GHA_STEP_LEDGER", "sqlite:{folder}/a\nb/c"), "GHA_STEP_LEDGER", ""),
}


AS_PROCESS = ("token file missing", "secrets without a cluster")  # and the one ledger of two processes


@pytest.mark.parametrize("case", CASES)
def test_a_start_that_fails_is_one_line_that_names_the_variable_and_the_fix(
    tmp_path: Path, environment: dict[str, str], case: str
) -> None:
    spoil, name, words = CASES[case]
    spoil(tmp_path, environment)
    environment |= {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    line = failed(environment, as_process=case in AS_PROCESS)
    assert name in line
    assert words in line


def test_an_address_that_is_taken_is_named(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = failed(environment | {"GHA_STEP_HTTP_LISTEN": address})
    assert "GHA_STEP_HTTP_LISTEN" in line
    assert address in line


def test_a_second_server_on_the_same_ledger_does_not_start(tmp_path: Path, environment: dict[str, str]) -> None:
    with closing(SqliteStore(tmp_path / "ledger.db")):
        line = failed(environment, as_process=True)
    assert "GHA_STEP_LEDGER" in line
    assert "held by another process" in line


def test_a_flag_wins_over_its_variable_and_fails_by_the_same_name(environment: dict[str, str]) -> None:
    assert "GHA_STEP_LEDGER: 'nonsense' is not a ledger" in failed(environment, "--ledger", "nonsense")


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no tmpfs here")
def test_inside_kubernetes_a_ledger_that_dies_with_the_pod_must_be_asked_for(environment: dict[str, str]) -> None:
    environment |= {"GHA_STEP_LEDGER": f"sqlite:/dev/shm/gha-step-{os.getpid()}.db", "KUBERNETES_SERVICE_HOST": "::1"}
    environment |= {"GHA_STEP_HTTP_LISTEN": "192.0.2.1:1"}  # it must not get as far as this
    try:
        assert "lifetime=pod" in failed(environment)
    finally:
        for file in Path("/dev/shm").glob(f"gha-step-{os.getpid()}.db*"):
            file.unlink()
