"""What scenarios play on."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from .plays import Ended, played
from .site import PATIENT, Site, site


@pytest.fixture
def github_com(tmp_path: Path) -> Iterator[Site]:
    """GitHub's newest API, where an answer names the run."""
    with site(tmp_path, "github.com", reply_within=PATIENT) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Site]:
    """Likewise; calls are answered within 0.3 s, however slow GitHub is."""
    with site(tmp_path, "github.com", reply_within=0.3) as made:
        yield made


@pytest.fixture(scope="session")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Future[Ended]]]:
    """All plays of this package, under way at once; by generation and name."""
    with played(tmp_path_factory.mktemp("plays")) as under_way:
        yield under_way


@pytest.fixture(autouse=True)
def _begun_early(request: pytest.FixtureRequest) -> None:
    """The plays are on their way while other tests of this package run."""
    if request.node.get_closest_marker("soak") is None:
        request.getfixturevalue("plays")
