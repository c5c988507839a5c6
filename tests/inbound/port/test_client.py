"""Port's REST client over real sockets: token, limits, lost answers, bounds, and no secret in anything it says."""

from collections.abc import Callable
from threading import Event

import pytest

from gha_step.contract.secret import Token
from gha_step.emulator import Answer as FaultAnswer
from gha_step.emulator import Close, Endless, Hold, Reset, Response, Truncate
from gha_step.emulator.port import EXAMPLE_CLIENT_ID, EXAMPLE_CLIENT_SECRET, Action, Port
from gha_step.github.errors import BadEndpoint
from gha_step.inbound.port.api import PortApi, Registration
from gha_step.inbound.port.client import PortClient, PortCredentials, port_endpoint
from gha_step.inbound.port.errors import Limited, LoginRefused, Lost, NotSent, Refused
from gha_step.inbound.port.messages import PortRun, of_claimed_node, of_claimed_run
from gha_step.inbound.port.reports import Line, NodeAtPort, node_at_port
from gha_step.inbound.port.wire_json import MOST_VALUES
from gha_step.large_answers import SMALL
from gha_step.runtime import ThreadWorkers
from tests.support.clock import VirtualClock, eventually

from .conftest import Observed


def test_a_run_is_claimed_acknowledged_told_and_ended(api: PortApi, port: Port) -> None:
    run = port.press("deploy", {"environment": "prod"})
    (claimed,) = api.claim_runs("gha-step", 10, 60.0)
    wish = of_claimed_run(claimed)
    assert isinstance(wish, PortRun)
    assert (wish.id, wish.inputs) == (run.id, {"environment": "prod"})
    assert api.active_runs() == {run.id}
    assert api.ack("run", run.id)
    assert api.ack("run", run.id)  # 409: done before
    assert not api.ack("run", "r_unknown")
    assert api.patch("run", run.id, {"link": "https://a.example"}).status == 200
    assert api.log("run", run.id, Line("hello", "queued")).status == 201
    assert api.patch("run", run.id, {"status": "SUCCESS"}).status == 200
    assert api.log("run", run.id, Line("late")).status == 422
    seen = api.read_run(run.id)
    assert seen is not None
    assert seen.ended
    assert api.read_run("r_unknown") is None
    assert (run.labels, run.acked_by) == (["queued"], [EXAMPLE_CLIENT_ID])
    assert api.active_runs() == frozenset()


@pytest.mark.parametrize("form", ["plain", "described"])
def test_a_node_is_claimed_by_whichever_form_of_the_routes_is_served(api: PortApi, port: Port, form: str) -> None:
    port.node_routes = "plain" if form == "plain" else "described"
    node = port.start_node(Action("deploy"))
    (claimed,) = api.claim_nodes("gha-step", 300, 60.0)
    assert isinstance(of_claimed_node(claimed), PortRun)
    assert api.ack("node", node.id)
    assert not node.pending
    assert api.log("node", node.id, Line("hello")).status == 201
    assert api.patch("node", node.id, {"externalRunId": "gh_1_2_3"}).status == 200
    assert api.read_node("gh_1_2_3") == NodeAtPort("IN_PROGRESS")
    assert api.read_node("gh_1_2_4") is None
    before = port.count()
    api.claim_nodes("gha-step", 10, 60.0)
    assert port.count() == before + 1


def test_missing_node_routes_are_a_refusal(api: PortApi, port: Port) -> None:
    port.node_routes = "none"
    with pytest.raises(Refused, match="404"):
        api.claim_nodes("gha-step", 10, 60.0)


def test_an_installation_of_our_own_is_registered_once(api: PortApi, port: Port) -> None:
    assert api.register("mine", "1.0") == Registration(made=True)
    assert api.register("mine", "1.1") == Registration(made=False)
    made = port.installations["mine"]
    assert (made.app_type, made.version, made.actions_processing) == ("github-ocean", "1.0", True)


def test_a_registration_that_gets_no_runs_says_why(api: PortApi, port: Port) -> None:
    port.register("idle", actions_processing=False)
    port.register("jira").app_type = "jira"
    assert "actionsProcessingEnabled is false" in api.register("idle", "1.0").objection
    assert "its type is jira" in api.register("jira", "1.0").objection


def test_an_unknown_installation_is_a_refusal_that_says_so(api: PortApi) -> None:
    with pytest.raises(Refused, match=r'404.*"other".*was not found'):
        api.claim_runs("other", 10, 60.0)


def test_a_personal_token_shows_as_such(
    client: PortClient, api: PortApi, port: Port, credentials: list[PortCredentials]
) -> None:
    port.add_credentials("person", "s", machine=False)
    credentials.append(PortCredentials("person", Token("s")))
    with pytest.raises(Refused, match="403"):
        api.claim_runs("gha-step", 10, 60.0)
    assert client.grant is not None
    assert client.grant.machine is False
    assert client.grant.org_id == port.organisation


def test_one_token_serves_all_requests_until_its_end(api: PortApi, port: Port, clock: VirtualClock) -> None:
    for _ in range(5):
        api.active_runs()
    clock.forward(10_799)
    api.active_runs()
    assert port.count("token") == 1
    clock.forward(2)
    api.active_runs()
    assert port.count("token") == 2
    assert [entry.status for entry in port.log if entry.operation == "list-runs"] == [200] * 7


@pytest.mark.parametrize("method", ["read", "patch", "log", "claim", "ack"])
def test_a_token_that_was_revoked_early_is_renewed_once_for_every_method(api: PortApi, port: Port, method: str) -> None:
    run = port.press("deploy")
    api.active_runs()
    port.revoke_token(port.credentials[EXAMPLE_CLIENT_ID])
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: api.read_run(run.id),
        "patch": lambda: api.patch("run", run.id, {"link": "https://a.example"}),
        "log": lambda: api.log("run", run.id, Line("x")),
        "claim": lambda: api.claim_runs("gha-step", 10, 60.0),
        "ack": lambda: api.ack("run", run.id),
    }
    assert calls[method]()
    assert port.count("token") == 2


def test_wrong_credentials_are_asked_about_once_a_minute(
    api: PortApi, port: Port, clock: VirtualClock, credentials: list[PortCredentials]
) -> None:
    credentials.append(PortCredentials(EXAMPLE_CLIENT_ID, Token("wrong-client-secret")))
    for _ in range(3):
        with pytest.raises(LoginRefused):
            api.active_runs()
    assert port.count() == 1
    clock.forward(60)
    with pytest.raises(LoginRefused, match="401"):
        api.active_runs()
    assert port.count() == 2
    credentials.pop()  # the Secret was corrected: no waiting
    api.active_runs()


def test_a_token_that_is_refused_from_the_start_is_not_asked_for_again_at_once(
    api: PortApi, port: Port, clock: VirtualClock
) -> None:
    port.faults.add(FaultAnswer(Response.of(401, {"ok": False, "error": "no"})), "list-runs", times=None)
    with pytest.raises(LoginRefused, match="is refused"):
        api.active_runs()
    asked = port.count("token")
    for _ in range(5):
        with pytest.raises(LoginRefused):
            api.active_runs()
    assert port.count("token") == asked
    clock.forward(60)
    with pytest.raises(LoginRefused):
        api.active_runs()
    assert port.count("token") == asked + 1


@pytest.mark.parametrize(
    "fault",
    [
        Reset("before"),
        Close("before"),
        FaultAnswer(Response(503)),
        FaultAnswer(Response(302, (("Location", "https://login.example"),))),
        FaultAnswer(Response(403, (), b"<html>blocked</html>")),
        FaultAnswer(Response(200, (), b"<html>Sign in</html>")),
    ],
)
def test_without_a_token_nothing_was_sent(api: PortApi, port: Port, clock: VirtualClock, fault: object) -> None:
    run = port.press("deploy")
    port.faults.add(fault, "token")  # type: ignore[arg-type]  # one of the faults
    with pytest.raises(NotSent) as raised:
        api.patch("run", run.id, {"status": "SUCCESS"})
    assert not isinstance(raised.value, LoginRefused)  # nobody is to correct a Secret that is right
    assert not run.ended
    clock.forward(60)
    api.patch("run", run.id, {"status": "SUCCESS"})
    assert run.ended


@pytest.mark.parametrize(
    "fault",
    [
        Reset("after"),
        Close("after"),
        FaultAnswer(Response(503), "after"),
        FaultAnswer(Response(500)),
        FaultAnswer(Response(408)),
        Truncate(3),
    ],
)
def test_a_lost_answer_is_lost_and_sent_once(api: PortApi, port: Port, fault: object) -> None:
    run = port.press("deploy")
    port.faults.add(fault, "patch-run")  # type: ignore[arg-type]  # one of the faults
    with pytest.raises(Lost):
        api.patch("run", run.id, {"link": "https://a.example"})
    assert port.count("patch-run") == 1


def test_nobody_there_is_not_sent(clock: VirtualClock, credentials: list[PortCredentials]) -> None:
    from gha_step.github.connection import SocketConnector

    endpoint = port_endpoint("http://127.0.0.1:1")
    client = PortClient(
        endpoint, lambda: credentials[-1], connector=SocketConnector(), clock=clock, workers=ThreadWorkers(1, "wait")
    )
    with pytest.raises(NotSent, match="GHA_STEP_PORTIO_API"):
        PortApi(client).active_runs()


@pytest.mark.parametrize("style", ["seconds", "epoch"])
def test_a_limit_is_obeyed_by_every_request(api: PortApi, port: Port, clock: VirtualClock, style: str) -> None:
    port.reset = "epoch" if style == "epoch" else "seconds"
    run = port.press("deploy")
    api.active_runs()
    port.limit_rate(120)
    with pytest.raises(Limited) as raised:
        api.patch("run", run.id, {"link": "https://a.example"})
    assert raised.value.retry_after == pytest.approx(120, abs=1)
    before = port.count()
    for _ in range(3):
        with pytest.raises(Limited):
            api.active_runs()
    assert port.count() == before
    clock.forward(121)
    assert api.patch("run", run.id, {"link": "https://a.example"}).status == 200


def test_the_last_request_of_a_window_is_the_last(api: PortApi, port: Port, clock: VirtualClock) -> None:
    port._with_token.limit = 2
    api.active_runs()
    api.active_runs()
    with pytest.raises(Limited):
        api.active_runs()
    assert port.count("list-runs") == 2
    clock.forward(301)
    api.active_runs()


def test_a_limit_for_tokens_does_not_hold_for_the_rest(api: PortApi, port: Port, clock: VirtualClock) -> None:
    port._without.limit = 1
    api.active_runs()
    api.active_runs()
    clock.forward(60)
    port.revoke_token(port.credentials[EXAMPLE_CLIENT_ID])
    with pytest.raises(Limited):
        api.active_runs()
    clock.forward(301)
    api.active_runs()


def test_an_endless_answer_is_cut_off(api: PortApi, port: Port) -> None:
    port.faults.add(Endless(), "get-run")
    with pytest.raises(Lost, match="MiB"):
        api.read_run("r_1")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"runs":7}', b'{"ok":true}', b'{"runs":[' + b"[]," * MOST_VALUES + b"[]]}"],
    ids=lambda body: str(body[:20]),
)
def test_odd_answers_count_as_lost(api: PortApi, port: Port, body: bytes) -> None:
    port.faults.add(FaultAnswer(Response(200, (), body)), "list-runs")
    port.faults.add(FaultAnswer(Response(200, (), body)), "get-run")
    with pytest.raises(Lost):
        api.active_runs()
    with pytest.raises(Lost):
        api.read_run("r_1")


def test_large_answers_are_read_one_at_a_time(client: PortClient, api: PortApi, port: Port) -> None:
    large = Response.of(200, {"run": {"status": "IN_PROGRESS", "summary": "x" * SMALL}})
    port.faults.add(FaultAnswer(large), "get-run", times=None)
    with client._large.place("Port") as another:
        assert another.grow(1, 0.0)
        with pytest.raises(Lost, match="no memory for it now"):
            api.read_run("r_1")
        assert api.active_runs() == frozenset()  # a small one needs no room
    assert api.read_run("r_1") is not None


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b'{"ok":false,"error":"x"}'])
def test_a_success_that_is_not_ports_is_no_success(api: PortApi, port: Port, body: bytes) -> None:
    run = port.press("deploy")
    api.active_runs()  # with it comes the token
    port.faults.add(FaultAnswer(Response(200, (), body)), times=3)
    for told in (
        lambda: api.ack("run", run.id),
        lambda: api.patch("run", run.id, {"status": "SUCCESS"}),
        lambda: api.log("run", run.id, Line("x")),
    ):
        with pytest.raises(Lost, match="200"):
            told()
    assert not run.ended


def test_half_of_a_surrogate_pair_is_told_as_port_gave_it(api: PortApi, port: Port) -> None:
    node = port.start_node(Action("deploy"))
    said = node_at_port(b'{"runs":[{"status":"IN_PROGRESS","output":{"x":"\\ud83d","\\udc00":"e\\u0301"}}]}')
    assert said is not None
    assert said.output is not None
    api.patch("node", node.id, {"output": dict(said.output)})
    assert node.output == said.output


def test_no_secret_is_in_what_an_answer_or_an_error_says(
    client: PortClient, port: Port, credentials: list[PortCredentials]
) -> None:
    client.ask("list", "GET", "/v1/actions/runs")
    assert client.grant is not None
    token = client.grant.token.reveal()
    repeated = Response.of(418, {"error": token, "message": f"Bearer {token}"}, {"X-Repeated": token})
    port.faults.add(FaultAnswer(repeated), "get-run")
    answer = client.ask("get_run", "GET", "/v1/actions/runs/r_1")
    assert token not in answer.body.decode() + repr(answer)
    secret = Response.of(401, {"error": EXAMPLE_CLIENT_SECRET, "message": EXAMPLE_CLIENT_SECRET})
    port.faults.add(FaultAnswer(secret), "token")
    credentials.append(PortCredentials("other", Token(EXAMPLE_CLIENT_SECRET)))
    with pytest.raises(LoginRefused) as raised:
        client.ask("list", "GET", "/v1/actions/runs")
    assert EXAMPLE_CLIENT_SECRET not in str(raised.value)
    assert EXAMPLE_CLIENT_SECRET not in repr(credentials)
    assert token not in repr(client.grant)


def test_every_request_is_observed_by_route_and_result(api: PortApi, port: Port, observed: Observed) -> None:
    api.active_runs()
    port.faults.add(Reset("after"), "claim")
    with pytest.raises(Lost):
        api.claim_runs("gha-step", 10, 60.0)
    assert observed == [("token", "200"), ("list_runs", "200"), ("claim_runs", "lost")]


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.port.io", "https://api.port.io"),
        ("https://api.us.port.io/", "https://api.us.port.io"),
        (" https://port.example.com:8443 ", "https://port.example.com:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_endpoint_is_scheme_and_host(url: str, base: str) -> None:
    endpoint = port_endpoint(url)
    assert (endpoint.base, endpoint.path) == (base, "")


@pytest.mark.parametrize(
    "url", ["http://api.port.io", "https://api.port.io/v1", "ftp://x", "https://u:p@x", "https://x?y", "x"]
)
def test_a_bad_endpoint_is_refused(url: str) -> None:
    with pytest.raises(BadEndpoint) as caught:
        port_endpoint(url)
    assert "ALLOW_HTTP" not in str(caught.value)  # it is for GitHub, and allows nothing here


def test_those_who_come_while_a_token_is_asked_for_wait_for_it(api: PortApi, port: Port) -> None:
    asked = Event()
    port.faults.add(Hold(asked), "token")
    threads = ThreadWorkers(8, "ask")
    jobs = [threads.spawn(api.active_runs) for _ in range(8)]
    eventually(lambda: port.count("token"))
    asked.set()
    assert [job.result(timeout=30) for job in jobs] == [frozenset()] * 8
    assert port.count("token") == 1


@pytest.mark.parametrize(("status", "kind"), [(401, LoginRefused), (503, NotSent)])
def test_until_a_token_is_asked_for_again_the_reason_why_there_is_none_is_told(
    api: PortApi, port: Port, clock: VirtualClock, status: int, kind: type[NotSent]
) -> None:
    """A 503 is an outage, not a refusal: who asks in between must not hear that the login is refused."""
    port.faults.add(FaultAnswer(Response.of(status, {"ok": False, "error": "why", "message": "because"})), "token")
    words = []
    for _ in range(2):
        with pytest.raises(NotSent) as caught:
            api.active_runs()
        assert type(caught.value) is kind
        words.append(str(caught.value))
        clock.forward(20.0)
    assert words[1] == f"{words[0]}; a token is asked for again in 40 s"
    clock.forward(20.0)
    assert api.active_runs() == frozenset()


def test_a_claim_of_many_runs_is_read_whole(port: Port, api: PortApi) -> None:
    for number in range(300):
        port.press("deploy", {"environment": "prod", "image_tag": f"{number}-{'x' * 1000}"})
    claimed = api.claim_runs("gha-step", 300, 120.0)
    assert len(claimed) == 300
