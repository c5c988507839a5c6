"""How each server is asked, and when that is learned and forgotten."""

import pytest

from gha_step.github.dispatch import RUN_DETAILS
from gha_step.github.endpoint import resolve_endpoint
from gha_step.github.messages import API_2022, API_2026, VERSION_HEADER, VERSION_SELECTED, Dialect
from gha_step.github.server_capabilities import AGAIN_AFTER, ServerCapabilities
from tests.support.clock import VirtualClock

GITHUB = resolve_endpoint(None, allow_http=False)
GHES = resolve_endpoint("https://ghe.example.com", allow_http=False)
OTHER = resolve_endpoint("https://other.example.com", allow_http=False)
NEW, OLD, OLD_WITHOUT_KEY = Dialect(API_2026), Dialect(API_2022), Dialect(API_2022, key_known=False)


def version(text: str) -> dict[str, str]:
    return {"x-github-enterprise-version": text}


@pytest.mark.parametrize(
    ("base", "seen", "expected"),
    [
        (None, {}, NEW),
        ("https://api.octocorp.ghe.com", {}, NEW),
        ("https://ghe.example.com", {}, OLD),
        ("https://ghe.example.com", version("3.19.4"), OLD),
        ("https://ghe.example.com", version("3.20.0"), OLD),
        ("https://ghe.example.com", version("3.20.0") | {VERSION_SELECTED: API_2022}, OLD),
        ("https://ghe.example.com", version("3.21.0") | {VERSION_SELECTED: API_2022}, NEW),
        ("https://ghe.example.com", version("4.0.0") | {VERSION_SELECTED: API_2022}, NEW),
        ("https://ghe.example.com", version("3.21.0"), OLD),  # our header may be lost on the way
    ],
)
def test_the_new_version_is_asked_where_it_is_known_to_be(
    base: str | None, seen: dict[str, str], expected: Dialect
) -> None:
    servers, endpoint = ServerCapabilities(VirtualClock()), resolve_endpoint(base, allow_http=False)
    servers.saw(endpoint, seen, OLD)
    assert servers.dialect(endpoint) == expected


def test_the_new_version_never_asks_for_details_by_the_key() -> None:
    assert not NEW.asks_details
    assert OLD.asks_details
    assert not OLD_WITHOUT_KEY.asks_details


def test_a_refusal_holds_for_its_own_base_and_version() -> None:
    servers = ServerCapabilities(VirtualClock())
    servers.refused(GHES, OLD, RUN_DETAILS)
    assert servers.dialect(GHES) == OLD_WITHOUT_KEY
    assert servers.dialect(OTHER) == OLD
    servers.refused(GHES, OLD_WITHOUT_KEY, VERSION_HEADER)
    assert servers.dialect(GHES) == NEW
    servers.refused(GHES, NEW, VERSION_HEADER)
    assert servers.dialect(GHES) == Dialect(None)  # in which our key was never refused
    assert servers.dialect(GITHUB) == NEW


def test_a_server_that_was_upgraded_is_known_anew() -> None:
    servers = ServerCapabilities(VirtualClock())
    servers.saw(GHES, version("3.20.3"), OLD)
    servers.refused(GHES, OLD, RUN_DETAILS)
    servers.answered_dispatch(GHES, OLD_WITHOUT_KEY, names_run=False)

    servers.saw(GHES, {}, OLD_WITHOUT_KEY)
    assert servers.dialect(GHES) == OLD_WITHOUT_KEY
    assert servers.names_runs(GHES) is False
    servers.saw(GHES, version("3.21.0") | {VERSION_SELECTED: API_2022}, OLD_WITHOUT_KEY)
    assert servers.dialect(GHES) == NEW
    assert servers.names_runs(GHES) is True


def test_once_an_hour_a_read_names_the_version_that_was_refused_and_a_dispatch_never_does() -> None:
    clock = VirtualClock()
    servers = ServerCapabilities(clock)
    servers.answered_dispatch(GITHUB, NEW, names_run=False)
    clock.forward(AGAIN_AFTER - 1)
    assert servers.dialect_to_read(GITHUB) == OLD
    clock.forward(1)
    assert servers.dialect(GITHUB) == OLD
    assert [servers.dialect_to_read(GITHUB) for _ in range(2)] == [NEW, OLD]
    servers.saw(GITHUB, {}, NEW)  # an answer that does not say
    servers.saw(GITHUB, {VERSION_SELECTED: API_2022}, NEW)  # the header did not arrive
    servers.saw(GITHUB, {VERSION_SELECTED: API_2026}, OLD)  # not to what was asked
    assert servers.dialect(GITHUB) == OLD
    clock.forward(AGAIN_AFTER)
    assert servers.dialect_to_read(GITHUB) == NEW
    servers.saw(GITHUB, {VERSION_SELECTED: API_2026}, NEW)
    assert servers.dialect(GITHUB) == servers.dialect_to_read(GITHUB) == NEW


def test_where_both_versions_are_refused_each_is_asked_for_again() -> None:
    clock = VirtualClock()
    servers = ServerCapabilities(clock)
    for dialect in (OLD, NEW):
        servers.refused(GHES, dialect, VERSION_HEADER)
    clock.forward(AGAIN_AFTER)
    assert [servers.dialect_to_read(GHES) for _ in range(3)] == [OLD, NEW, Dialect(None)]


def test_the_key_that_was_refused_is_sent_again_after_an_hour() -> None:
    clock = VirtualClock()
    servers = ServerCapabilities(clock)
    servers.refused(GHES, OLD, RUN_DETAILS)
    clock.forward(AGAIN_AFTER - 1)
    assert servers.dialect(GHES) == servers.dialect_to_read(GHES) == OLD_WITHOUT_KEY
    clock.forward(1)
    assert servers.dialect(GHES) == OLD
    servers.refused(GHES, OLD, RUN_DETAILS)
    assert servers.dialect(GHES) == OLD_WITHOUT_KEY


def test_what_a_dispatch_shows_is_remembered_for_its_dialect_until_another_shows_otherwise() -> None:
    servers = ServerCapabilities(VirtualClock())
    assert servers.names_runs(GHES) is None
    servers.answered_dispatch(GHES, OLD, names_run=False)
    assert servers.names_runs(GHES) is False
    servers.answered_dispatch(GHES, OLD, names_run=True)
    assert servers.names_runs(GHES) is True


def test_a_204_to_the_new_version_takes_it_from_this_base_alone() -> None:
    servers = ServerCapabilities(VirtualClock())
    servers.answered_dispatch(GITHUB, NEW, names_run=False)
    assert servers.dialect(GITHUB) == OLD
    assert servers.names_runs(GITHUB) is True  # with our key, the run is named
