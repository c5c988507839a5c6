"""What tests of every folder share: a real kube-apiserver, one for the whole run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, missing, running


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """See `tests.cluster`; its tests are skipped, and say so, where there is none."""
    absent = missing(os.environ)
    if absent:
        pytest.skip(absent)
    with running(Path(os.environ["KUBEBUILDER_ASSETS"])) as started:
        yield started
