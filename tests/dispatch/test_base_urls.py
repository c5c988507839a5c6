"""Where a Secret's baseURL leads, and what the log says of it."""

from pathlib import Path

import pytest

from gha_step.github.connection import Connection
from gha_step.github.endpoint import Endpoint
from gha_step.github.errors import Unreachable
from tests.support.calls import config
from tests.support.core import Program
from tests.support.network import FaultyConnector
from tests.support.secrets import write_secret


def test_a_page_of_ghe_com_is_taken_for_its_api_and_the_log_says_so_once(
    program: Program, secrets: Path, connector: FaultyConnector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked: set[str] = set()

    def refuse(endpoint: Endpoint) -> Connection | None:
        asked.add(endpoint.base)
        raise Unreachable("down")

    connector.on_connect = refuse
    write_secret(secrets, accessToken="x", baseURL="https://ACME.ghe.com")
    for alias in ("first", "second"):
        program.call(config(), alias=alias)
    assert asked == {"https://api.acme.ghe.com"}
    (line,) = [message for message in caplog.messages if "its API is" in message]
    assert "https://acme.ghe.com; its API is https://api.acme.ghe.com" in line
