"""The Kubernetes client: one request on the wire per call, and what each answer means to a caller."""

import contextlib
import functools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from gha_step.kube import (
    BESIDE_OTHERS,
    CONNECTIONS,
    FIRST_PAGE,
    MAX_ANSWER,
    RECENT,
    AccessUnknown,
    AlreadyExists,
    Conflict,
    Denied,
    Forbidden,
    Invalid,
    KubeApi,
    KubeError,
    KubeUnavailable,
    NotFound,
    NotServed,
    Unauthorized,
    connect,
)
from gha_step.large_answers import ROOM, SMALL
from gha_step.runtime import SystemClock
from tests.support.api_server import (
    ApiServer,
    Scripted,
    answer,
    closed,
    cut_short,
    dripping,
    patience,
    reset,
    serving,
    silent,
    status,
    then_closed,
)
from tests.support.certificates import Authority
from tests.support.clock import LONG, VirtualClock, eventually, soon
from tests.support.cluster import Cluster, api_at, write_kubeconfig

OBJECTS: Final = "/apis/gha-step.dev/v1/namespaces/project-a/workflowdispatches"
OBJECT: Final = f"{OBJECTS}/one"
STORED: Final = {
    "kind": "WorkflowDispatch",
    "title": "größe ☃",
    "metadata": {"name": "one", "resourceVersion": "7"},
}
BEARER: Final = "eyJhbGciOiJFUzI1NiJ9.a-service-account-token"
CALLS: Final[dict[str, Callable[[KubeApi], object]]] = {
    "GET": lambda api: api.get(OBJECT),
    "POST": lambda api: api.create(OBJECTS, STORED),
    "PUT": lambda api: api.replace(OBJECT, STORED),
    "list": lambda api: list(api.items(OBJECTS)),
}
NO_ANSWERS: Final = [
    reset,
    closed,
    cut_short,
    silent,
    dripping(0.05),
    answer(200, b""),
    answer(200, b"<html>sign in</html>"),
    answer(200, b'{"metadata": {"generation": NaN}}'),
    answer(200, b"[" * 100_000),
    answer(200, b"\xff\xfe"),
    answer(200, [STORED]),
    answer(307, b"", {"Location": "/elsewhere"}),
    answer(408, b"", {"Connection": "close"}),
    answer(410, status(410, "Expired", "too old resource version")),
    answer(413, b"", {"Retry-After": "0"}),
    answer(429, status(429, "TooManyRequests", "too many requests"), {"Retry-After": "0"}),
    answer(500, status(500, "InternalError", "etcdserver: leader changed"), {"Retry-After": "0"}),
    answer(502, b"bad gateway"),
    answer(503, status(503, "ServiceUnavailable", "shutting down"), {"Retry-After": "0"}),
    answer(504, status(504, "Timeout", "etcdserver: request timed out")),
]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


client = functools.partial(api_at, token=BEARER)


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> KubeApi:
    return client(server.url, tmp_path)


# Each request once


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trouble", NO_ANSWERS)
def test_a_request_without_a_clear_answer_is_sent_once(
    server: ApiServer, tmp_path: Path, call: str, trouble: Scripted
) -> None:
    server.scripted.extend([trouble] * 3)
    expected = Invalid if trouble.__name__ == "answer 413" else KubeUnavailable
    with pytest.raises(expected):
        CALLS[call](client(server.url, tmp_path, timeout=patience(trouble)))
    eventually(lambda: server.requests)
    time.sleep(0.01)  # for a second one to arrive
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trouble", [reset, closed, cut_short, answer(503, b"", {"Retry-After": "0"})])
def test_a_request_on_a_connection_that_served_before_is_sent_once(
    server: ApiServer, api: KubeApi, call: str, trouble: Scripted
) -> None:
    server.scripted.extend([answer(200, STORED), trouble, trouble, trouble])
    api.get(OBJECT)
    with pytest.raises(KubeUnavailable):
        CALLS[call](api)
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(server: ApiServer, api: KubeApi, code: int) -> None:
    with serving() as elsewhere:
        server.scripted.append(answer(code, b"", {"Location": f"{elsewhere.url}{OBJECT}"}))
        with pytest.raises(KubeUnavailable):
            api.replace(OBJECT, STORED)
        assert elsewhere.requests == []
    assert len(server.requests) == 1


def test_a_write_that_nobody_answers_ends_with_its_time_out(server: ApiServer, tmp_path: Path) -> None:
    server.scripted.append(silent)
    with soon(), pytest.raises(KubeUnavailable, match=r"no answer within 2 s"):
        client(server.url, tmp_path, timeout=2).replace(OBJECT, STORED)


def test_an_answer_that_drips_ends_with_the_time_out_of_the_whole_request(server: ApiServer, tmp_path: Path) -> None:
    server.scripted.append(dripping(0.01))  # 100,000 bytes: a quarter of an hour
    with soon(), pytest.raises(KubeUnavailable, match=r"within 2 s"):
        client(server.url, tmp_path, timeout=2).get(OBJECT)


def test_the_rest_of_an_answer_has_only_the_rest_of_the_time(server: ApiServer, tmp_path: Path) -> None:
    class AlmostOver(SystemClock):
        times = iter([0.0, 0.0, 19.95, 20.0, 20.0])

        def monotonic(self) -> float:
            return next(self.times)

    server.scripted.append(dripping(30))
    with soon(), pytest.raises(KubeUnavailable, match="no answer within 20 s"):
        client(server.url, tmp_path, timeout=20, clock=AlmostOver()).get(OBJECT)


def test_an_answer_beyond_all_measure_is_not_read_to_its_end(server: ApiServer, tmp_path: Path) -> None:
    server.scripted.extend([answer(200, b" " * (5 << 20)), answer(200, b" " * 2000)])
    with pytest.raises(KubeUnavailable, match="an answer of more than 4194304 bytes"):
        client(server.url, tmp_path).get(OBJECT)
    with pytest.raises(KubeUnavailable, match="an answer of more than 1000 bytes"):
        client(server.url, tmp_path).get(OBJECT, most=1000)


def test_who_has_written_which_field_is_not_kept(server: ApiServer, api: KubeApi) -> None:
    managed = {"metadata": {"name": "one", "managedFields": [{"fieldsV1": {"f:data": {}}}]}}
    server.scripted.append(answer(200, {"items": [managed, "odd"], "metadata": {}}))
    assert list(api.items(OBJECTS)) == [{"metadata": {"name": "one"}}, "odd"]
    server.objects[OBJECT] = managed
    assert api.get(OBJECT) == {"metadata": {"name": "one"}}


def test_what_is_large_and_finds_no_room_is_no_answer(server: ApiServer, tmp_path: Path) -> None:
    api = client(server.url, tmp_path, timeout=0.2)
    held = api._large.place("another")
    assert held.grow(ROOM, 0.0)
    server.objects[OBJECT] = STORED | {"data": "x" * (SMALL - 1000)}
    assert api.get(OBJECT)
    server.objects[OBJECT] = STORED | {"data": "x" * SMALL}
    with pytest.raises(KubeUnavailable, match="there is no memory for it now"):
        api.get(OBJECT)
    held.leave()
    assert api.get(OBJECT)


def test_a_connection_is_kept_for_the_next_request(server: ApiServer, api: KubeApi) -> None:
    server.scripted.extend([answer(200, STORED), answer(404, status(404, "NotFound", "no", "one"))])
    api.get(OBJECT)
    with pytest.raises(NotFound):
        api.get(OBJECT)
    with pytest.raises(NotFound):
        api.get(OBJECT)
    assert (len(server.requests), server.connections) == (3, 1)


def test_a_kept_connection_that_the_server_has_closed_meanwhile_is_replaced(server: ApiServer, api: KubeApi) -> None:
    server.scripted.extend([then_closed(answer(200, STORED)), answer(200, STORED)])
    api.get(OBJECT)
    eventually(lambda: server.ended)
    assert api.replace(OBJECT, STORED) == STORED
    assert (len(server.requests), server.connections) == (2, 2)


# What is sent


def test_a_get_asks_for_the_newest_as_json_with_our_token(server: ApiServer, api: KubeApi) -> None:
    server.objects[OBJECT] = STORED
    assert api.get(OBJECT) == STORED
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("GET", OBJECT, b"")
    assert request.headers["Authorization"] == f"Bearer {BEARER}"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"].startswith("gha-step/")


def test_a_query_is_encoded(server: ApiServer, api: KubeApi) -> None:
    server.scripted.append(answer(200, {"items": [], "metadata": {}}))
    assert list(api.items(OBJECTS, {"labelSelector": "a=b,c d"})) == []
    assert server.requests[0].path == f"{OBJECTS}?limit={FIRST_PAGE}&labelSelector=a%3Db%2Cc+d"


@pytest.mark.parametrize(("call", "path"), [("POST", OBJECTS), ("PUT", OBJECT)])
def test_a_write_carries_the_object_and_gives_what_was_stored(
    server: ApiServer, api: KubeApi, call: str, path: str
) -> None:
    stored = {**STORED, "metadata": {"name": "one", "resourceVersion": "8"}}
    server.scripted.append(answer(201 if call == "POST" else 200, stored))
    assert CALLS[call](api) == stored
    (request,) = server.requests
    assert (request.method, request.path) == (call, path)
    body = '{"kind":"WorkflowDispatch","title":"größe ☃","metadata":{"name":"one","resourceVersion":"7"}}'
    assert request.body == body.encode()
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("broken", [dripping(0.01), silent, cut_short, reset, closed], ids=lambda how: how.__name__)
def test_a_request_that_fails_leaves_its_connection_to_those_who_wait(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Scripted
) -> None:
    monkeypatch.setattr("gha_step.kube.CONNECTIONS", 2)
    server.objects[OBJECT] = STORED
    api = client(server.url, tmp_path, timeout=patience(broken))
    for number in (1, 2):
        server.scripted.append(broken)
        with pytest.raises(KubeUnavailable):
            api.get(OBJECT)
        eventually(lambda: len(server.requests) == number)  # noqa: B023  called here
    api._timeout = LONG
    del api._urlopen  # which was made with the limit before
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: api.get(OBJECT), range(8))) == [STORED] * 8
    assert server.connections <= 2 + 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_hold_is_not_sent(server: ApiServer, api: KubeApi, value: float) -> None:
    with pytest.raises(ValueError):
        api.create(OBJECTS, {"value": value})
    assert server.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "api/v1",
        "//api",
        "/api//v1",
        "/api/v1/",
        "/api/../v1",
        "/api/v1/namespaces/..",
        "/api/./v1",
        "/api/%2e%2e/v1",
        "/api/v1?watch=1",
        "/api/v1#x",
        "/api/v 1",
        "/api/v1\n",
        "/api/v1/ä",
        "/@host/x",
    ],
)
def test_what_is_no_plain_path_is_refused_and_not_sent(server: ApiServer, api: KubeApi, path: str) -> None:
    with pytest.raises(ValueError):
        api.get(path)
    assert server.requests == []


def test_a_list_comes_page_by_page_and_only_as_it_is_used(server: ApiServer, api: KubeApi) -> None:
    pages = [
        {"items": [{"n": 1}, {"n": 2}], "metadata": {"continue": "a/b="}},
        *({"items": [], "metadata": {"continue": f"{number}"}} for number in range(4)),
        {"items": [{"n": 3}], "metadata": {"continue": ""}},
    ]
    server.scripted.extend(answer(200, page) for page in pages)
    found = api.items(OBJECTS, {"labelSelector": "x"})
    assert server.requests == []
    assert [one["n"] for one in found] == [1, 2, 3]
    assert [request.path.partition("?")[2] for request in server.requests] == [
        "limit=50&labelSelector=x",
        "limit=100&labelSelector=x&continue=a%2Fb%3D",
        *(f"limit={limit}&labelSelector=x&continue={number}" for number, limit in enumerate((200, 400, 500, 500))),
    ]


def test_a_list_that_goes_on_with_the_same_page_again_and_again_is_no_list(server: ApiServer, api: KubeApi) -> None:
    server.scripted.extend([answer(200, {"items": [{"n": 1}], "metadata": {"continue": "a"}})] * 3)
    with pytest.raises(KubeUnavailable, match="the same page twice"):
        list(api.items(OBJECTS))
    assert len(server.requests) == 2


def test_of_a_list_the_metadata_alone_can_be_asked_for(server: ApiServer, api: KubeApi) -> None:
    empty: dict[str, object] = {"kind": "PartialObjectMetadataList", "items": None, "metadata": {}}
    server.scripted.extend([answer(200, {"items": [{"metadata": {}}], "metadata": {}}), answer(200, empty)])
    assert list(api.items(OBJECTS, metadata_only=True)) == [{"metadata": {}}]
    assert list(api.items(OBJECTS, metadata_only=True)) == []
    assert server.requests[0].headers["Accept"] == "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def test_a_page_that_is_too_long_is_asked_for_in_smaller_ones(server: ApiServer, api: KubeApi) -> None:
    large = answer(200, {"items": ["x" * MAX_ANSWER], "metadata": {}})
    pages = [{"items": [{"n": 1}], "metadata": {"continue": "a"}}, {"items": [{"n": 2}], "metadata": {}}]
    server.scripted.extend([large, answer(200, pages[0]), large, answer(200, pages[1])])
    assert [one["n"] for one in api.items(OBJECTS)] == [1, 2]
    assert [request.path.partition("?")[2] for request in server.requests] == [
        "limit=50",
        "limit=6",
        "limit=6&continue=a",
        "limit=1&continue=a",
    ]


def test_one_object_that_is_too_long_ends_the_list(server: ApiServer, api: KubeApi) -> None:
    server.scripted.extend([answer(200, {"items": ["x" * MAX_ANSWER], "metadata": {}})] * 4)
    with pytest.raises(KubeUnavailable, match=f"more than {MAX_ANSWER} bytes"):
        list(api.items(OBJECTS))
    assert server.requests[-1].path.endswith("limit=1")


@pytest.mark.parametrize("second", [reset, answer(410, status(410, "Expired", "too old")), answer(200, STORED)])
def test_a_list_that_breaks_off_is_not_taken_for_a_whole_one(server: ApiServer, api: KubeApi, second: Scripted) -> None:
    server.scripted.append(answer(200, {"items": [{"n": 1}], "metadata": {"continue": "a"}}))
    server.scripted.append(second)
    with pytest.raises(KubeUnavailable):
        list(api.items(OBJECTS))


# What an answer means


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (404, status(404, "NotFound", 'workflowdispatches "one" not found', "one"), NotFound),
        (404, b"404 page not found\n", NotServed),
        (404, status(404, "NotFound", "the server could not find the requested resource"), NotServed),
        (404, {"message": "Not Found"}, NotServed),
        (404, {"kind": "Status", "details": None}, NotServed),
        (404, b"", NotServed),
        (401, status(401, "Unauthorized", "Unauthorized"), Unauthorized),
        (403, status(403, "Forbidden", "no"), Forbidden),
        (403, b"", Forbidden),
        (409, status(409, "Conflict", "the object has been modified", "one"), Conflict),
        (409, status(409, "AlreadyExists", "already exists", "one"), AlreadyExists),
        (409, b"", Conflict),
        (400, status(400, "BadRequest", "the name of the object does not match"), Invalid),
        (405, status(405, "MethodNotAllowed", "no"), Invalid),
        (413, status(413, "RequestEntityTooLarge", "limit is 3145728"), Invalid),
        (415, status(415, "UnsupportedMediaType", "no"), Invalid),
        (422, status(422, "Invalid", "spec: Invalid value: terminal stays terminal"), Invalid),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_clear_no_is_told_by_its_kind(
    server: ApiServer, api: KubeApi, call: str, code: int, body: object, expected: type[KubeError]
) -> None:
    server.scripted.append(answer(code, body))
    with pytest.raises(KubeError) as caught:
        CALLS[call](api)
    assert type(caught.value) is expected
    assert caught.value.retry_after is None
    assert server.url in str(caught.value)
    if isinstance(body, dict) and "reason" in body:
        assert caught.value.words == body["message"]
        assert str(caught.value).endswith(f": {body['message']}")


DENIED: Final = [answer(401, b""), answer(403, b""), answer(404, b"404 page not found")]


@pytest.mark.parametrize("denial", DENIED)
@pytest.mark.parametrize(
    ("pauses", "lasting"),
    [
        ((), [False]),
        ((15.0,), [False, False]),  # too few
        ((1.0, 1.0, 1.0, 11.9), [False] * 5),  # too soon
        ((1.0, 14.0), [False, False, True]),
        ((1.0, 1.0, 13.0, 5.0), [False, False, False, True, True]),
        ((20.0, 700.0, 1.0, 14.0), [False, False, False, False, True]),  # nobody knows what was in between
    ],
)
def test_a_denial_lasts_after_fifteen_seconds_and_three_tries(
    server: ApiServer, tmp_path: Path, denial: Scripted, pauses: tuple[float, ...], lasting: list[bool]
) -> None:
    clock = VirtualClock()
    api = client(server.url, tmp_path, clock=clock)
    told = []
    for pause in (0.0, *pauses):
        clock.forward(pause)
        server.scripted.append(denial)
        with pytest.raises(Denied) as caught:
            api.get(OBJECT)
        told.append(caught.value.lasting)
    assert told == lasting


@pytest.mark.parametrize(
    ("between", "ends_it"),
    [
        (answer(200, STORED), True),
        (answer(404, status(404, "NotFound", "not found", "one")), True),
        (answer(409, status(409, "Conflict", "conflict", "one")), True),
        (answer(503, b""), False),
        (reset, False),
    ],
)
def test_only_what_shows_that_we_are_let_in_ends_a_denial(
    server: ApiServer, tmp_path: Path, between: Scripted, ends_it: bool
) -> None:
    clock = VirtualClock()
    api = client(server.url, tmp_path, clock=clock)
    server.scripted.extend([DENIED[1], DENIED[1], between, DENIED[1]])
    for pause in (7.0, 8.0, 0.0):
        with contextlib.suppress(KubeError):
            api.get(OBJECT)
        clock.forward(pause)
    with pytest.raises(Denied) as caught:
        api.get(OBJECT)
    assert caught.value.lasting is not ends_it


def test_each_object_is_denied_for_itself(server: ApiServer, tmp_path: Path) -> None:
    """Under a Role with resourceNames one Secret may be read, and another never."""
    clock = VirtualClock()
    api = client(server.url, tmp_path, clock=clock)
    told = []
    for _ in range(3):
        server.scripted.extend([DENIED[1], answer(200, STORED)])
        with pytest.raises(Denied) as caught:
            api.get(OBJECT)
        told.append(caught.value.lasting)
        api.get(f"{OBJECTS}/two")
        clock.forward(8.0)
    assert told == [False, False, True]


def test_a_refusal_tells_whom_the_api_server_takes_us_for(server: ApiServer, api: KubeApi) -> None:
    server.users, server.forbidden = {BEARER: "system:serviceaccount:a:b"}, lambda user, path: True
    with pytest.raises(Forbidden) as caught:
        api.get(OBJECT)
    assert caught.value.subject == "system:serviceaccount:a:b"


def test_long_words_are_cut_and_lines_are_joined(server: ApiServer, api: KubeApi) -> None:
    server.scripted.append(answer(422, status(422, "Invalid", "first\nsecond\r\n" + "x" * 9000)))
    with pytest.raises(Invalid) as caught:
        api.replace(OBJECT, STORED)
    assert caught.value.words.startswith("first second xxx")
    assert len(caught.value.words) == 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (None, 10),
        ("3", 3),
        ("0", 1),
        ("-5", 10),
        ("1.5", 10),
        ("86400", 60),
        ("9" * 400, 60),
        ("soon", 10),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 10),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_trying_again_waits_as_long_as_asked_within_reason(
    server: ApiServer, api: KubeApi, code: int, asked: str | None, seconds: float
) -> None:
    server.scripted.append(answer(code, b"", {"Retry-After": asked} if asked else {}))
    with pytest.raises(KubeUnavailable) as caught:
        api.get(OBJECT)
    assert caught.value.retry_after == seconds


def test_a_refused_connection_is_told_in_the_systems_words(tmp_path: Path) -> None:
    with serving() as gone:
        api = client(gone.url, tmp_path)
    with pytest.raises(KubeUnavailable, match=f"{gone.url} does not answer GET {OBJECT}: Connection refused"):
        api.get(OBJECT)


def test_a_name_that_does_not_resolve_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(KubeUnavailable, match=r"http://no-such-host\.invalid:6443 does not answer"):
        client("http://no-such-host.invalid:6443", tmp_path).get(OBJECT)


def test_a_certificate_of_another_authority_gets_no_token(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    with serving(authority.issue("kube-apiserver")) as server:
        kubeconfig = tmp_path / "kubeconfig"
        write_kubeconfig(kubeconfig, server.url, token=BEARER, authority=stranger.certificate)
        api = connect({"KUBECONFIG": str(kubeconfig)}, SystemClock(), timeout=LONG)
        with pytest.raises(KubeUnavailable, match="certificate verify failed"):
            api.get(OBJECT)
    assert server.requests == []


# In a pod


@pytest.fixture
def pod(authority: Authority, tmp_path: Path) -> Iterator[tuple[ApiServer, dict[str, str], Path]]:
    """An API server over TLS, a pod's environment, and the mount of its ServiceAccount."""
    mount = tmp_path / "serviceaccount"
    mount.mkdir()
    (mount / "token").write_text(BEARER)
    (mount / "namespace").write_text("project-a")
    (mount / "ca.crt").write_bytes(authority.certificate.read_bytes())
    with serving(authority.issue("kube-apiserver")) as server:
        server.objects[OBJECT] = STORED
        yield server, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}, mount


Pod = tuple[ApiServer, dict[str, str], Path]


def in_pod(pod: Pod) -> KubeApi:
    return connect(pod[1], SystemClock(), timeout=LONG, service_account=pod[2])


def test_a_pod_uses_its_service_account(pod: Pod) -> None:
    api = in_pod(pod)
    assert api.get(OBJECT) == STORED
    assert pod[0].requests[0].headers["Authorization"] == f"Bearer {BEARER}"
    assert api.own_namespace() == "project-a"


def test_a_pod_does_not_look_at_a_kubeconfig(pod: Pod, tmp_path: Path) -> None:
    pod[1]["KUBECONFIG"] = str(write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", namespace="other"))
    api = in_pod(pod)
    assert (api.get(OBJECT), api.own_namespace()) == (STORED, "project-a")


def test_a_rotated_token_is_used_for_the_next_request(pod: Pod) -> None:
    api = in_pod(pod)
    api.get(OBJECT)
    (pod[2] / "new").write_text("rotated\n")
    (pod[2] / "new").replace(pod[2] / "token")
    api.get(OBJECT)
    assert [one.headers["Authorization"] for one in pod[0].requests] == [f"Bearer {BEARER}", "Bearer rotated"]


@pytest.mark.parametrize("token", [None, b"\xff\xfe", f"{BEARER}\nX-Injected: 1".encode(), b"gr\xc3\xb6\xc3\x9fe"])
def test_a_token_that_becomes_unreadable_is_an_outage_and_nothing_is_sent(pod: Pod, token: bytes | None) -> None:
    api = in_pod(pod)
    (pod[2] / "token").unlink()
    if token:
        (pod[2] / "token").write_bytes(token)
    with pytest.raises(KubeUnavailable, match="our own credentials") as caught:
        api.get(OBJECT)
    assert BEARER not in "".join(traceback.format_exception(caught.value))
    assert pod[0].requests == []
    (pod[2] / "token").write_text("fixed")
    assert api.get(OBJECT) == STORED


@pytest.mark.parametrize("file", ["token", "ca.crt"])
@pytest.mark.parametrize("content", [None, b""])
def test_a_pod_without_a_usable_mount_is_told_at_the_start_what_to_set(
    pod: Pod, file: str, content: bytes | None
) -> None:
    (pod[2] / file).unlink()
    if content is not None:
        (pod[2] / file).write_bytes(content)
    with pytest.raises(AccessUnknown) as caught:
        in_pod(pod)
    assert str(pod[2]) in str(caught.value)
    assert "automountServiceAccountToken: true" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pod_without_the_port_of_its_api_server_is_told_at_the_start(pod: Pod) -> None:
    del pod[1]["KUBERNETES_SERVICE_PORT"]
    with pytest.raises(AccessUnknown, match="Service host/port is not set"):
        in_pod(pod)


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_pod_may_not_know_its_own_namespace(pod: Pod, content: bytes | None) -> None:
    (pod[2] / "namespace").unlink()
    if content is not None:
        (pod[2] / "namespace").write_bytes(content)
    assert in_pod(pod).own_namespace() is None


# With a kubeconfig


def test_the_namespace_of_the_current_context_is_our_own(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", namespace="team")
    assert connect({"KUBECONFIG": str(path)}, SystemClock()).own_namespace() == "team"


def test_a_context_may_name_no_namespace(tmp_path: Path) -> None:
    assert client("http://127.0.0.1:1", tmp_path).own_namespace() is None


def test_without_kubeconfig_the_one_in_the_home_directory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube" / "config", "http://127.0.0.1:1", namespace="home")
    assert connect({}, SystemClock()).own_namespace() == "home"


def test_nobody_sends_no_authorization(server: ApiServer, tmp_path: Path) -> None:
    server.objects[OBJECT] = STORED
    client(server.url, tmp_path, token=None).get(OBJECT)
    assert "Authorization" not in server.requests[0].headers


def test_white_space_around_a_token_is_not_sent(server: ApiServer, tmp_path: Path) -> None:
    server.objects[OBJECT] = STORED
    client(server.url, tmp_path, token=f"{BEARER}\n").get(OBJECT)
    assert server.requests[0].headers["Authorization"] == f"Bearer {BEARER}"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        "just words",
        "clusters: 5",
        "{}",
        f"users: [{{name: x, user: {{token: {BEARER}}}}}]",
        f"current-context: gone\nusers: [{{name: x, user: {{token: {BEARER}}}}}]\nclusters: []\ncontexts: []",
        f"\t{BEARER}: '",
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_named_and_not_quoted(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AccessUnknown) as caught:
        connect({"KUBECONFIG": str(path)}, SystemClock())
    assert f"{path} is not a usable kubeconfig" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert BEARER not in "".join(traceback.format_exception(caught.value))


# No token anywhere


@pytest.mark.parametrize("trouble", [*NO_ANSWERS, answer(403, status(403, "Forbidden", f"no Bearer {BEARER}"))])
def test_no_token_is_in_any_text_log_or_traceback(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: Scripted
) -> None:
    caplog.set_level(logging.DEBUG)
    server.scripted.append(trouble)
    api = client(server.url, tmp_path, timeout=patience(trouble))
    with pytest.raises(KubeError) as caught:
        api.replace(OBJECT, STORED)
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(api) + caplog.text
    assert server.url in said
    assert BEARER not in said


def test_an_answer_that_repeats_our_token_is_quoted_without_it(server: ApiServer, api: KubeApi) -> None:
    server.scripted.append(answer(422, status(422, "Invalid", f"got authorization=bearer {BEARER}, sorry")))
    with pytest.raises(Invalid) as caught:
        api.get(OBJECT)
    assert caught.value.words == "got authorization=bearer ***, sorry"


def test_a_password_in_the_servers_address_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(KubeUnavailable) as caught:
        client(f"http://user:{BEARER}@127.0.0.1:1", tmp_path, token=None).get(OBJECT)
    assert BEARER not in "".join(traceback.format_exception(caught.value))


# Against a real one


@pytest.mark.cluster
class TestRealApiServer:
    @pytest.fixture
    def namespace(self, cluster: Cluster) -> str:
        return cluster.namespace()

    @pytest.fixture
    def maps(self, namespace: str) -> str:
        return f"/api/v1/namespaces/{namespace}/configmaps"

    def new(self, cluster: Cluster, maps: str, name: str = "one") -> dict[str, Any]:
        return cluster.admin.create(maps, {"metadata": {"name": name}, "data": {"a": "1"}})

    def test_an_object_is_created_once_and_replaced_once_by_its_version(self, cluster: Cluster, maps: str) -> None:
        created = self.new(cluster, maps)
        assert cluster.admin.get(f"{maps}/one") == created
        with pytest.raises(AlreadyExists, match='configmaps "one" already exists'):
            self.new(cluster, maps)
        replaced = cluster.admin.replace(f"{maps}/one", {**created, "data": {"a": "2"}})
        assert replaced["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]
        with pytest.raises(Conflict, match="the object has been modified"):
            cluster.admin.replace(f"{maps}/one", {**created, "data": {"a": "3"}})
        assert cluster.admin.get(f"{maps}/one")["data"] == {"a": "2"}

    def test_replacing_a_namesake_is_a_conflict(self, cluster: Cluster, namespace: str, maps: str) -> None:
        created = self.new(cluster, maps)
        cluster.kubectl("delete", "configmap", "one", "--namespace", namespace)
        self.new(cluster, maps)
        with pytest.raises(Conflict):
            cluster.admin.replace(f"{maps}/one", created)

    def test_what_is_not_there_is_not_found(self, cluster: Cluster, maps: str) -> None:
        with pytest.raises(NotFound, match='configmaps "one" not found'):
            cluster.admin.get(f"{maps}/one")
        with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
            self.new(cluster, "/api/v1/namespaces/nowhere/configmaps")

    @pytest.mark.parametrize("path", [OBJECT, "/api/v1/namespaces/x/nothings/one", "/apis/apps/v9/nothings"])
    def test_a_resource_without_its_definition_is_not_served(self, cluster: Cluster, path: str) -> None:
        with pytest.raises(NotServed):
            cluster.admin.get(path)
        with pytest.raises(NotServed):
            cluster.admin.create(path.removesuffix("/one"), {"metadata": {"name": "one"}})

    def test_an_object_against_the_schema_is_invalid(self, cluster: Cluster, maps: str) -> None:
        with pytest.raises(Invalid, match="RFC 1123"):
            self.new(cluster, maps, "No_Name")

    def test_a_service_account_without_a_role_is_forbidden_by_name(self, cluster: Cluster, namespace: str) -> None:
        api = cluster.api(cluster.service_account(namespace))
        with pytest.raises(Forbidden) as caught:
            api.get(f"/api/v1/namespaces/{namespace}/configmaps/one")
        assert caught.value.subject == f"system:serviceaccount:{namespace}:default"

    def test_a_token_that_it_did_not_make_is_not_accepted_now(self, cluster: Cluster, maps: str) -> None:
        with pytest.raises(Unauthorized, match="our credentials are not accepted"):
            cluster.api(BEARER).get(f"{maps}/one")

    def test_a_list_in_pages_is_whole(self, cluster: Cluster, maps: str) -> None:
        for number in range(5):
            self.new(cluster, maps, f"n{number}")
        found = cluster.admin.items(maps, {"limit": "2"})
        assert [one["metadata"]["name"] for one in found] == [f"n{number}" for number in range(5)]

    def test_a_stopped_api_server_is_an_outage_and_passes(self, cluster: Cluster, maps: str) -> None:
        api = cluster.api(None, timeout=0.3)
        with cluster.away(), pytest.raises(KubeUnavailable, match=r"no answer within 0\.3 s"):
            api.get(f"{maps}/one")
        with pytest.raises(Forbidden):
            cluster.api(None).get(f"{maps}/one")

    def test_a_pod_reaches_it_with_its_mount(self, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
        token = cluster.service_account(namespace)
        cluster.allow(namespace, [rule])
        self.new(cluster, f"/api/v1/namespaces/{namespace}/configmaps")
        for name, content in (("token", token), ("namespace", namespace), ("ca.crt", cluster.authority.read_text())):
            (tmp_path / name).write_text(content)
        host, port = cluster.url.removeprefix("https://").split(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        api = connect(environ, SystemClock(), service_account=tmp_path)
        assert api.own_namespace() == namespace
        assert api.get(f"/api/v1/namespaces/{namespace}/configmaps/one")["data"] == {"a": "1"}


def test_who_gives_up_waiting_for_a_connection_takes_none_and_the_next_one_that_is_free_is_handed_on(
    server: ApiServer, tmp_path: Path
) -> None:
    api = client(server.url, tmp_path, timeout=0.05)
    for number in range(CONNECTIONS):
        api._take(f"n{number}")
    with pytest.raises(KubeUnavailable, match="too many requests for the namespace late"):
        api._take("late")
    assert not api._waiting
    api._timeout = 30.0
    with ThreadPoolExecutor(3) as pool:
        taking = [pool.submit(api._take, name) for name in ("greedy", "greedy", "other")]
        eventually(lambda: sum(map(len, api._waiting.values())) == 3)
        for number in range(3):
            with api._lock:
                api._places.give(f"n{number}")
                api._hand_on(api._clock.monotonic())
        for one in taking:
            one.result(LONG)
    assert not api._waiting


def test_a_namespace_whose_answers_are_slow_leaves_connections_to_the_others(server: ApiServer, tmp_path: Path) -> None:
    free = threading.Event()
    slow, quick = (f"/api/v1/namespaces/{name}/secrets/x" for name in ("slow", "quick"))

    def script(handler: Any) -> None:
        if handler.path == slow:
            free.wait(30)
        answer(200, {"kind": "Secret"})(handler)

    server.scripted.extend([script] * (CONNECTIONS + 1))
    api = client(server.url, tmp_path, timeout=30.0)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        waiting = [pool.submit(api.get, slow) for _ in range(CONNECTIONS)]
        eventually(lambda: len(server.requests) == CONNECTIONS * 3 // 4)
        assert api.get(quick)["kind"] == "Secret"
        free.set()
        for one in waiting:
            assert one.result()["kind"] == "Secret"


def test_while_others_ask_a_namespace_has_few_connections_at_once(server: ApiServer, tmp_path: Path) -> None:
    clock = VirtualClock()
    api = client(server.url, tmp_path, timeout=30.0, clock=clock)
    api._take("another")
    with ThreadPoolExecutor(BESIDE_OTHERS + 1) as pool:
        taking = [pool.submit(api._take, "busy") for _ in range(BESIDE_OTHERS + 1)]
        eventually(lambda: sum(map(len, api._waiting.values())) == 1 and api._places.held("busy") == BESIDE_OTHERS)
        with api._lock:
            api._hand_on(clock.monotonic() + RECENT)
            assert api._waiting
            api._hand_on(clock.monotonic() + 2 * RECENT)  # the others ask no more
            assert not api._waiting
        for one in taking:
            one.result(LONG)
    api._take("")
    assert api._places.held("busy") == BESIDE_OTHERS + 1
