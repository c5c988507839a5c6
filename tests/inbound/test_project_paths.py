"""Whose step a path names: each trick by which a caller of one project could reach another, or the place of Secrets."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.secrets import LabelledSecret
from gha_step.emulator import EXAMPLE_TOKEN, GitHub
from gha_step.inbound.rest.resource import KINDS, ROOT, UNPROVED, Address
from gha_step.ledger.sqlite import SqliteStore
from gha_step.runtime import SystemClock
from tests.inbound.wire import PROJECT_TOKEN, head, post, put, put_to_the_end, raw
from tests.support.calls import config
from tests.support.core import Program, Start
from tests.support.secrets import write_secret
from tests.support.server import serving

OF_OTHER = "token-of-the-project-other"


class Watched:
    """Secrets, and which of them were asked for."""

    def __init__(self, root: Path) -> None:
        self._real = DirectorySecrets(root)
        self.asked: list[tuple[str, str]] = []

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        self.asked.append((project, name))
        return self._real.read(project, name)

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        return self._real.labelled(namespace)

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        return self._real.unlabelled(namespace)


@pytest.fixture
def watched(secrets: Path, github_url: str) -> Watched:
    """Two projects, each with GitHub's token and one of its own."""
    for project, token in (("demo", PROJECT_TOKEN), ("other", OF_OTHER)):
        write_secret(secrets, project, accessToken=EXAMPLE_TOKEN, baseURL=github_url)
        write_secret(secrets, project, "gha-step", token=token)
    return Watched(secrets)


@pytest.fixture
def live(watched: Watched, process: Start) -> Iterator[str]:
    with serving(process(secrets=watched), served=False, projects=True) as at:
        yield at


# ---------------------------------------------------------------- the token of one project for another


@pytest.mark.parametrize("resource", ["dispatches", "waits"])
@pytest.mark.parametrize(
    ("project", "asked"),
    [
        ("other", "other"),  # which is there
        ("nowhere", "nowhere"),  # which is not
        ("othe%72", "other"),
        ("demo-x", "demo-x"),
        ("emo", "emo"),
        ("kargo-shared-resources", "kargo-shared-resources"),
        ("x" * 63, "x" * 63),
    ],
)
def test_the_token_of_one_project_is_refused_for_another_in_the_same_words(
    live: str, watched: Watched, github: GitHub, resource: str, project: str, asked: str
) -> None:
    reply = put(live, config(), project=project, resource=resource)
    assert (reply.status, reply.message, reply.closed) == (401, UNPROVED, True)
    assert watched.asked == [(asked, "gha-step")]
    assert github.count() == 0


def test_refusals_are_the_same_byte_for_byte_whatever_the_reason(live: str, secrets: Path) -> None:
    write_secret(secrets, "empty", "gha-step", token="\n")
    write_secret(secrets, "keyless", "gha-step", accessToken=PROJECT_TOKEN)
    (secrets / "bare").mkdir()
    replies = [
        put(live, config(), project=project) for project in ("other", "nowhere", "empty", "keyless", "bare", "demo2")
    ]
    replies.append(put(live, config(), token="wrong"))
    replies.append(put(live, config(), token=None))
    without_date = [(r.status, r.body, {k: v for k, v in r.headers.items() if k != "date"}) for r in replies]
    assert all(one == without_date[0] for one in without_date)
    assert replies[0].status == 401


@pytest.mark.parametrize(
    "name",
    ["../other/github", "..%2Fother%2Fgithub", "other/github", "/other/github", "github\x00", "Github", "ｇithub", ""],
)
def test_a_config_reaches_no_secret_of_another_project(live: str, watched: Watched, github: GitHub, name: str) -> None:
    answer = put(live, config(credentials={"secretName": name})).json
    assert answer["status"] == "Failed"
    assert {project for project, _ in watched.asked} == {"demo"}
    assert github.count() == 0


def test_a_body_does_not_choose_the_project(live: str, github: GitHub) -> None:
    answer = put(live, config(project="other", context={"project": "other"})).json
    assert answer["status"] == "Failed"
    assert "config.project: is not a field" in answer["message"]
    assert github.count() == 0


@pytest.mark.parametrize(
    "lines",
    [
        {"X_Original_URL": "/api/v1/projects/demo/dispatches/p/a"},
        {"X_Forwarded_Prefix": "/api/v1/projects/demo"},
        {"X_HTTP_Method_Override": "PUT"},
    ],
)
def test_no_header_chooses_the_project(live: str, watched: Watched, lines: dict[str, str]) -> None:
    path = "/api/v1/projects/other/dispatches/p/a"
    reply = raw(live, head("PUT", path, PROJECT_TOKEN, Content_Length="2", **lines) + b"{}")
    assert reply.status == 401
    assert watched.asked == [("other", "gha-step")]


# ---------------------------------------------------------------- paths that are none

GOOD = {"project": "demo", "promotion": "test.01abc.def5678", "alias": "dispatch::call"}
NO_NAMES = [
    "",
    ".",
    "..",
    "%2e",
    "%2e%2e",
    "%2E%2E",
    "a%2Fb",
    "a%2fb",
    "%2F",
    "other%2Fdispatches%2Fp%2Fa%2F..%2F..%2F..%2F..%2Fdemo",
    "a%5Cb",
    "a%252Fb",
    "%252e%252e",
    "demo%00",
    "%00",
    "demo%0a",
    "demo%0d%0aX:%20y",
    "demo%7f",
    "demo%",
    "demo%2",
    "demo%zz",
    "%ff",
    "%c0%ae%c0%ae",  # an overlong encoding of ..
    "%c0%af",
    "%ed%a0%80",  # half a surrogate pair
    "demo%e2%80%ae",  # turns the text around
    "demo%e2%80%8b",  # a space of no width
    "x" * 300,
]
NO_KUBERNETES_NAMES = [
    "Demo",
    "DEMO",
    "demo_",
    "-demo",
    "demo-",
    "d%20emo",
    "demo%20",
    "demo%09",
    "%64emo%3F",
    "demo%23",
    "demo;x",
    "demo@x",
    "demo:x",
    "démo".encode().decode("latin-1"),
    quote("démo"),
    quote("ｄｅｍｏ"),  # of full width
    quote("dеmo"),  # with a Cyrillic е
    quote("ⅾemo"),
    "demo..x",
    ".demo",
    "demo.",
]
NO_PATHS = [
    *((part, name) for part in GOOD for name in NO_NAMES),
    *((part, name) for part in ("project", "promotion") for name in NO_KUBERNETES_NAMES),
    ("project", "demo.x"),
    ("project", "x" * 64),
    ("promotion", "x" * 254),
]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Watched]]:
    """A server for all paths that are none."""
    folder = tmp_path_factory.mktemp("quiet")
    write_secret(folder, "demo", "gha-step", token=PROJECT_TOKEN)
    watched = Watched(folder)
    store = SqliteStore(folder / "ledger.db")
    program = Program(store=store, secrets=watched, clock=SystemClock())
    with serving(program, served=False, projects=True) as url:
        yield url, watched
    store.close()


@pytest.mark.parametrize(("part", "name"), NO_PATHS)
def test_a_name_that_is_none_is_404_and_nobody_is_asked(quiet: tuple[str, Watched], part: str, name: str) -> None:
    url, watched = quiet
    names = GOOD | {part: name}
    reply = put(url, {}, **names)
    assert reply.status in (400, 404)  # 400: what is no HTTP at all
    if reply.status == 404:
        assert name not in reply.message or not name
    assert watched.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/projects",
        "/api/v1/projects/",
        "/api/v1/projects/demo",
        "/api/v1/projects/demo/dispatches",
        "/api/v1/projects/demo/dispatches/p",
        "/api/v1/projects/demo/dispatches/p/",
        "/api/v1/projects/demo/dispatches/p/a/",
        "/api/v1/projects/demo/dispatches/p/a/b",
        "/api/v1/projects/demo/dispatches//p/a",
        "/api/v1/projects//demo/dispatches/p/a",
        "//api/v1/projects/demo/dispatches/p/a",
        "/api/v1//projects/demo/dispatches/p/a",
        "/api/v1/projects/demo/Dispatches/p/a",
        "/api/v1/projects/demo/dispatche%73/p/a",
        "/api/v1/projects/demo/runs/p/a",
        "/api/v1/project%73/demo/dispatches/p/a",
        "/api/v1/Projects/demo/dispatches/p/a",
        "/api/v1/projects/other/../demo/dispatches/p/a",
        "/api/v1/projects/demo/dispatches/p/a/../../../../other/dispatches/p/a",
        "/api/v1/projects/demo/./dispatches/p/a",
        "/api/v1/projects/demo;a=b/dispatches/p/a",
        "/api/v1/projects%2Fdemo%2Fdispatches%2Fp%2Fa",
        "*",
    ],
)
def test_a_path_of_another_shape_is_404_and_nobody_is_asked(quiet: tuple[str, Watched], path: str) -> None:
    url, watched = quiet
    reply = post(url, {}, token=PROJECT_TOKEN, path=path, method="PUT")
    assert reply.status == 404
    assert "message" in reply.json
    assert watched.asked == []


def test_what_is_no_target_is_400_and_nobody_is_asked(quiet: tuple[str, Watched]) -> None:
    url, watched = quiet
    path = r"\api\v1\projects\demo\dispatches\p\a"
    assert post(url, {}, token=PROJECT_TOKEN, path=path, method="PUT").status == 400
    assert watched.asked == []


def test_a_target_with_its_server_is_the_same_resource(live: str, watched: Watched) -> None:
    """RFC 9112, 3.2.2: a server must accept the absolute form; the token is asked for of the project in its path."""
    path = "http://other/api/v1/projects/demo/dispatches/p/a"
    assert post(live, {}, token=OF_OTHER, path=path, method="PUT").status == 401
    assert {project for project, _ in watched.asked} == {"demo"}


# ---------------------------------------------------------------- paths as Kargo writes them


@pytest.mark.parametrize(
    ("written", "alias"),
    [
        ("dispatch::call", "dispatch::call"),
        ("dispatch%3A%3Acall", "dispatch::call"),
        ("dispatch%3a%3acall", "dispatch::call"),
        ("task-1::call", "task-1::call"),
        ("step-1", "step-1"),
        ("Deploy%20to%20prod::call", "Deploy to prod::call"),
        ("a+b", "a+b"),
        (quote("prüfen::call"), "prüfen::call"),
        ("x" * 253, "x" * 253),
    ],
)
def test_an_alias_is_decoded_once(written: str, alias: str) -> None:
    path = f"/api/v1/projects/demo/waits/test.01jb7.abc1234/{written}"
    assert Address.parse(path.encode()) == Address(
        "waits", "gha-wait-for-workflow", "demo", "test.01jb7.abc1234", alias
    )


def test_one_step_however_it_is_written_is_one_dispatch(live: str, github: GitHub) -> None:
    for alias in ("dispatch::call", "dispatch%3A%3Acall", "%64ispatch::%63all"):
        assert put_to_the_end(live, config(), alias=alias)["runID"] == str(github.runs[0].id)
    assert github.count("dispatch") == 1


def test_what_a_question_mark_cuts_off_is_not_taken_for_another_alias(live: str, github: GitHub) -> None:
    """Kargo writes an alias as it is: two of them that differ after their `?` would share one dispatch."""
    for alias in ("deploy?1::call", "deploy?2::call", "dispatch::call?project=other&x"):
        reply = put(live, config(), alias=alias)
        assert (reply.status, "%3F" in reply.message) == (404, True)
    assert github.count("dispatch") == 0
    assert put_to_the_end(live, config(), alias="deploy%3F1::call")["status"] == "Succeeded"


# ---------------------------------------------------------------- any path at all


@given(st.binary(max_size=200))
@example(b"demo/dispatches/p/a")
def test_whatever_comes_is_an_address_or_a_refusal(rest: bytes) -> None:
    try:
        address = Address.parse(ROOT + rest)
    except ValueError:
        return
    assert rest.count(b"/") == 3
    for text in (address.project, address.promotion):
        assert text == text.lower()
        assert text.isascii()
        assert not set(text) & set("/\\%:?#@ ")
        assert ".." not in text
    assert not set(address.alias) & set("/\\%\x00")


@given(
    st.lists(st.sampled_from(["/", "%2F", "..", ".", "demo", "other", "dispatches", "waits", "%", "25", "2e", "::"]))
)
def test_pieces_of_paths_lead_to_the_project_that_their_first_segment_names(pieces: list[str]) -> None:
    rest = "".join(pieces).encode()
    try:
        address = Address.parse(ROOT + rest)
    except ValueError:
        return
    assert address.project.encode() == rest.partition(b"/")[0]
    assert rest.split(b"/")[1] in KINDS


@given(
    project=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True),
    promotion=st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,3}", fullmatch=True),
    alias=st.from_regex(r"[A-Za-z0-9_-]{1,20}(::[A-Za-z0-9_-]{1,20})?", fullmatch=True),
)
def test_what_kargo_writes_is_taken_raw_and_escaped(project: str, promotion: str, alias: str) -> None:
    expected = Address("dispatches", "gha-dispatch-workflow", project, promotion, alias)
    for escape in (str, lambda text: quote(text, safe="")):
        path = f"{ROOT.decode()}{escape(project)}/dispatches/{escape(promotion)}/{escape(alias)}"
        assert Address.parse(path.encode()) == expected
