"""What a dispatch asks of the API server, counted."""

from pathlib import Path

import pytest

from gha_step.credentials.kubernetes import KubernetesSecrets
from gha_step.ledger.keys import step_key
from gha_step.ledger.kubernetes import RECORDS, KubernetesStore
from tests.support.api_server import ApiServer, answer, as_secret, status, stores
from tests.support.cluster import api_at
from tests.support.core import Program, Start

SECRET = "/api/v1/namespaces/demo/secrets/github"
ALL = RECORDS.path("demo")


@pytest.fixture
def program(process: Start, server: ApiServer, secrets: Path, tmp_path: Path) -> Program:
    data = {file.name: file.read_bytes() for file in (secrets / "demo" / "github").iterdir()}
    server.objects[SECRET] = as_secret("github", data)
    api = api_at(server.url, tmp_path)
    return process(store=KubernetesStore(api, None), secrets=KubernetesSecrets(api))


def test_a_dispatch_asks_for_secret_and_record_creates_it_and_updates_it_once_all_over_one_connection(
    program: Program, server: ApiServer
) -> None:
    for number in (1, 2):
        missing = answer(404, status(404, "NotFound", "no", "one"))
        server.scripted.extend([answer(200, server.objects[SECRET]), missing, stores(1), stores(2)])
        assert program.call(promotionUID=f"uid-{number}").status == "Succeeded"
        record = f"{ALL}/{step_key('demo', f'uid-{number}', 'dispatch')}"
        asked = [("GET", SECRET), ("GET", record), ("POST", ALL), ("PUT", record)]
        assert [(one.method, one.path.partition("?")[0]) for one in server.requests[-4:]] == asked
        assert len(server.requests) == 4 * number
    assert server.connections == 1
