"""Every query of the dashboard, asked of a real Prometheus that scrapes the real server, finds data."""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gha_step.emulator import GitHub, serve
from gha_step.emulator.port import example
from tests.deploy.manifests import DEPLOY
from tests.support.calls import BEARER, config
from tests.support.host import KargoHost, Promotion, Step
from tests.support.port import port_secrets
from tests.support.ports import free_port
from tests.support.process import Served, served
from tests.support.secrets import example_secret

BOARD: dict[str, Any] = json.loads((DEPLOY / "service/dashboard/gha-step.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PORTIO = {"GHA_STEP_PORTIO": "claims", "GHA_STEP_PORTIO_PROJECT": "port", "GHA_STEP_PORTIO_API": "http://127.0.0.1:1"}
WITHIN = 240.0  # seconds until Prometheus has scraped often enough


def test_the_panels_have_ids_places_and_words_of_their_own() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = [(x, y) for panel in panels for x, y in cells(panel["gridPos"])]
    assert len(taken) == len(set(taken))
    assert all(panel["description"] for panel in panels)


def cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            assert x < 24
            yield x, y


def test_it_shows_no_metric_that_the_server_does_not_have(tmp_path: Path) -> None:
    with served(tmp_path, GHA_STEP_PROJECT_API="on", **PORTIO) as server:
        text = server.ask(path="/metrics")[1].decode()
    known = set(re.findall(r"^# TYPE (gha_step_\w+)", text, re.MULTILINE))
    known |= {f"{name}_bucket" for name in known}
    for _, query in QUERIES:
        assert set(re.findall(r"gha_step_\w+", query)) <= known, query


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str) -> list[dict[str, Any]]:
        """:raises urllib.error.HTTPError: it is no query."""
        with DIRECT.open(f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=60) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found


@contextmanager
def prometheus(folder: Path, *servers: Served) -> Iterator[Prometheus]:
    """One that scrapes the servers every second."""
    program = shutil.which("prometheus")
    assert program, "prometheus is not there (Debian: apt-get install prometheus)"
    targets = [server.url.removeprefix("http://") for server in servers]
    scrape = {"job_name": "gha-step", "scrape_interval": "1s", "static_configs": [{"targets": targets}]}
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def use(server: Served, url: str, ghes_url: str) -> None:
    """A dispatch that ends, a look at its run, a mistake, and a dispatch whose run is not yet told from others."""
    example_secret(server.secrets, url)
    host, promotion = KargoHost(server.url, BEARER, pace=0.1), Promotion("demo")
    dispatched = host.run(promotion, Step("dispatch", config()))
    assert dispatched.status == "Succeeded", dispatched
    where = {name: config()[name] for name in ("credentials", "owner", "repo")}
    host.call(promotion, Step("wait", where | {"runID": dispatched.run_id}, kind="gha-wait-for-workflow"))
    host.run(promotion, Step("refused", config(ref="nowhere")))
    example_secret(server.secrets, ghes_url, project="ghes")
    for _ in range(3):
        heard = host.call(Promotion("ghes"), Step("dispatch", config(timeout="300")))
        assert heard.status == "Running", heard


@pytest.mark.alarms
def test_every_query_of_the_dashboard_finds_data(tmp_path: Path) -> None:
    github, ghes = GitHub(), GitHub("ghes-3.19")
    port_secrets(tmp_path / "service" / "secrets", "https://github.example.com")
    with (
        serve(github) as url,
        serve(ghes) as ghes_url,
        served(tmp_path / "sidecar", GHA_STEP_SETTLE="120s") as sidecar,
        serve(example()) as port_url,
        served(
            tmp_path / "service", GHA_STEP_PROJECT_API="on", **(PORTIO | {"GHA_STEP_PORTIO_API": port_url})
        ) as service,  # it connects to no GitHub on a loopback address
        prometheus(tmp_path, sidecar, service) as asked,
    ):
        waiting = dict.fromkeys(QUERIES, "not asked")
        deadline = time.monotonic() + WITHIN
        used = False
        while waiting and time.monotonic() < deadline:
            try:
                if not used and len(asked.ask("gha_step_ready == 1")) == 2:
                    use(sidecar, url, ghes_url)
                    service.ask("PUT", "/api/v1/projects/demo/dispatches/p/a", {}, token="wrong")
                    used = True
                for title, query in list(waiting):
                    found = asked.ask(query.replace("$__rate_interval", "1m"))
                    if any(float(sample["value"][1]) == float(sample["value"][1]) for sample in found):  # not NaN
                        del waiting[title, query]
            except OSError as error:
                if isinstance(error, urllib.error.HTTPError) and error.code < 500:  # 503: it is still starting
                    raise
            time.sleep(0.5)
        assert not waiting, waiting
