"""What tests of every folder share: a real kube-apiserver, one for the whole run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.cluster import Cluster, missing, running

# How long an example takes says how busy the machine is, and nothing about the program.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """See `tests.support.cluster`; its tests are skipped, and say so, where there is none."""
    absent = missing(os.environ)
    if absent:
        pytest.skip(absent)
    with running(Path(os.environ["KUBEBUILDER_ASSETS"])) as started:
        yield started
