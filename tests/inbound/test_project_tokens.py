"""Proving a project: the token's Secret is asked for seldom, a new token works at once, and guessing burdens nobody."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar

import pytest

from gha_step.contract.errors import SecretsUnavailable
from gha_step.credentials.directory import DirectorySecrets
from gha_step.credentials.kubernetes import KubernetesSecrets
from gha_step.credentials.secrets import SecretReader
from gha_step.inbound.rest.project_tokens import APART, KEPT, MAX_READS, ProjectTokens
from gha_step.runtime import Clock, ThreadWorkers
from tests.support.api_server import ApiServer, answer, as_secret, silent, status
from tests.support.clock import LONG, VirtualClock, soon
from tests.support.cluster import Cluster, api_at
from tests.support.loops import in_a_loop
from tests.support.secrets import write_secret

T = TypeVar("T")
PATH = "/api/v1/namespaces/demo/secrets/gha-step"


class Counted:
    """A reader, and how often it was asked."""

    def __init__(self, real: SecretReader) -> None:
        self.real = real
        self.labelled, self.unlabelled = real.labelled, real.unlabelled
        self.reads = 0

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        self.reads += 1
        return self.real.read(project, name)


class Home(Protocol):
    """Where the Secret of the project demo is kept."""

    reader: SecretReader

    def put(self, **data: bytes) -> None: ...

    def remove(self) -> None: ...


class Files:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.reader: SecretReader = DirectorySecrets(root)

    def put(self, **data: bytes) -> None:
        write_secret(self._root, "demo", "gha-step", **data)

    def remove(self) -> None:
        shutil.rmtree(self._root / "demo")


class Objects:
    def __init__(self, server: ApiServer, folder: Path, clock: Clock | None = None) -> None:
        self._server = server
        self.api = api_at(server.url, folder, clock=clock)
        self.reader: SecretReader = KubernetesSecrets(self.api)

    def put(self, **data: bytes) -> None:
        self._server.objects[PATH] = as_secret("gha-step", data)

    def remove(self) -> None:
        self._server.objects.pop(PATH, None)


@pytest.fixture(params=["files", "kubernetes"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    if request.param == "files":
        return Files(tmp_path)
    return Objects(request.getfixturevalue("server"), tmp_path)


class Lease:
    """Proofs against one reader, by a clock that can be put forward."""

    def __init__(
        self,
        reader: SecretReader,
        lets_in: Callable[[], bool] = lambda: True,
        clock: VirtualClock | None = None,
        workers: ThreadWorkers | None = None,
    ) -> None:
        self.reader = Counted(reader)
        self.clock = clock or VirtualClock()
        self.whys: list[str] = []  # for the log
        self.workers = workers or ThreadWorkers(4, "proof")
        self._tokens = ProjectTokens(self.reader, workers=self.workers, clock=self.clock, lets_in=lets_in)
        self.known = self._tokens._known

    async def accepts(self, bearer: str, project: str = "demo", within: float = LONG) -> bool:
        why = await self._tokens.objection(project, bearer, self.clock.monotonic() + within)
        if why is not None:
            self.whys.append(why)
        return why is None


@in_a_loop
async def test_the_token_of_the_secret_is_accepted_and_no_other(home: Home) -> None:
    home.put(token=b"right")
    gate = Lease(home.reader)
    assert await gate.accepts("right")
    for wrong in ("wrong", "right ", "righ", "rightx", "RIGHT", "", "right\n", "\udcff", "ríght"):
        assert not await gate.accepts(wrong)
        gate.clock.forward(APART)


@pytest.mark.parametrize("written", [b"right\n", b"right\r\n", b"  right  ", b"right"])
@in_a_loop
async def test_white_space_around_the_token_does_not_count(home: Home, written: bytes) -> None:
    home.put(token=written)
    assert await Lease(home.reader).accepts("right")


@pytest.mark.parametrize(
    "data", [{}, *({"token": odd} for odd in (b"", b"\n", b"two words", b"\xff\xfe")), {"Token": b"right"}]
)
@in_a_loop
async def test_a_secret_without_a_token_proves_nobody(home: Home, data: dict[str, bytes]) -> None:
    home.put(**data)
    gate = Lease(home.reader)
    for bearer in ("", "right", "two words", "None", "\xff\xfe"):
        assert not await gate.accepts(bearer)
        gate.clock.forward(APART)


@in_a_loop
async def test_a_project_without_a_secret_proves_nobody(home: Home) -> None:
    assert not await Lease(home.reader).accepts("right")


@in_a_loop
async def test_a_proved_token_is_not_read_again_for_ten_seconds(home: Home) -> None:
    home.put(token=b"right")
    gate = Lease(home.reader)
    for _ in range(20):
        assert await gate.accepts("right")
    assert gate.reader.reads == 1
    gate.clock.forward(KEPT)
    assert await gate.accepts("right")
    assert gate.reader.reads == 2


@in_a_loop
async def test_a_new_token_works_at_once_and_the_old_one_no_longer_when_it_was_seen(home: Home) -> None:
    home.put(token=b"old")
    gate = Lease(home.reader)
    assert await gate.accepts("old")
    home.put(token=b"new")
    with soon():
        assert await gate.accepts("new")
    assert not await gate.accepts("old")


@in_a_loop
async def test_an_old_token_that_nobody_replaces_in_use_is_forgotten_after_ten_seconds(home: Home) -> None:
    home.put(token=b"old")
    gate = Lease(home.reader)
    assert await gate.accepts("old")
    home.put(token=b"new")
    gate.clock.forward(KEPT)
    assert not await gate.accepts("old")


@in_a_loop
async def test_a_secret_that_is_made_after_a_refusal_is_seen_by_the_next_call(home: Home) -> None:
    gate = Lease(home.reader)
    assert not await gate.accepts("right")
    home.put(token=b"right")
    assert await gate.accepts("right")
    home.remove()
    gate.clock.forward(KEPT)
    assert not await gate.accepts("right")


@in_a_loop
async def test_a_refusal_is_backed_by_a_read_that_began_after_the_call(home: Home) -> None:
    home.put(token=b"old")
    started = time.monotonic()
    gate = Lease(home.reader)
    for number in range(4):
        assert not await gate.accepts("wrong")
        home.put(token=f"new-{number}".encode())
        assert await gate.accepts(f"new-{number}")
    assert time.monotonic() - started >= 3 * APART  # they are spaced


@in_a_loop
async def test_who_guesses_asks_for_the_secret_at_most_twice_a_second_and_disturbs_nobody(home: Home) -> None:
    home.put(token=b"right")
    slow = Hanging(home.reader, "none")
    slow.free.set()
    gate = Lease(slow)
    assert await gate.accepts("right")

    async def guess(number: int) -> bool:
        return await gate.accepts(f"guess-{number}", within=LONG)

    begun = time.monotonic()
    slow.free.clear()
    guesses = [asyncio.create_task(guess(number)) for number in range(200)]
    for _ in range(5):
        assert await gate.accepts("right")
        assert not any(task.done() for task in guesses)
    slow.free.set()
    assert not any(await asyncio.gather(*guesses))
    assert gate.reader.reads <= 3 + 2 * (time.monotonic() - begun)


@in_a_loop
async def test_a_read_that_fails_for_now_is_no_refusal_and_forgets_nothing(server: ApiServer, tmp_path: Path) -> None:
    home = Objects(server, tmp_path)
    home.put(token=b"right")
    gate = Lease(home.reader)
    assert await gate.accepts("right")
    server.scripted.append(answer(500))
    with pytest.raises(SecretsUnavailable):
        await gate.accepts("wrong")
    assert await gate.accepts("right")  # from memory
    gate.clock.forward(KEPT)
    server.scripted.append(answer(503, status(503, "ServiceUnavailable", "later")))
    with pytest.raises(SecretsUnavailable):
        await gate.accepts("right")
    gate.clock.forward(APART)
    assert await gate.accepts("right")


# Whoever has no token learns neither which projects are in use nor which namespaces there are.
STRANGERS: Final[dict[str, Callable[[ApiServer], None]]] = {
    "another token": lambda server: server.objects.update({PATH: as_secret("gha-step", {"token": b"other"})}),
    "no Secret": lambda server: None,
    "no token in it": lambda server: server.objects.update({PATH: as_secret("gha-step", {})}),
    "no Role of ours": lambda server: setattr(server, "forbidden", lambda user, path: path == PATH),
}


@pytest.mark.parametrize("stranger", STRANGERS)
@in_a_loop
async def test_no_namespace_can_be_told_from_another_without_a_token(
    server: ApiServer, tmp_path: Path, stranger: str
) -> None:
    """At once, through a start of the API server, and after it: the same answers after the same requests."""
    home = Objects(server, tmp_path)
    STRANGERS[stranger](server)
    gate = Lease(home.reader, home.api.lets_in)
    told = []
    for starting, pause in ((False, 5.0), (True, 5.0), (True, 5.0), (False, 14.0), (False, 1.0), (False, 0.0)):
        server.starting = starting
        try:
            told.append(str(await gate.accepts("guessed")))
        except SecretsUnavailable as error:
            told.append(str(error).partition(" did not ")[0])
        gate.clock.forward(pause)
    cannot_tell = "the API server"
    assert told == ["False", cannot_tell, cannot_tell, cannot_tell, "False", "False"]
    asked = [request.path for request in server.requests]
    assert asked == [PATH, "/version"] * (len(asked) // 2)
    if stranger == "no Role of ours":
        assert "resourceNames: [gha-step]" in gate.whys[0]
    assert "guessed" not in "".join(gate.whys)


@in_a_loop
async def test_while_the_api_server_denies_everything_a_token_that_is_known_or_read_is_accepted(
    server: ApiServer, tmp_path: Path
) -> None:
    home = Objects(server, tmp_path)
    home.put(token=b"right")
    gate = Lease(home.reader, home.api.lets_in)
    assert await gate.accepts("right")
    server.starting = True
    assert await gate.accepts("right")
    gate.clock.forward(KEPT)
    with pytest.raises(SecretsUnavailable):
        await gate.accepts("right")
    server.starting = False
    gate.clock.forward(1.0)
    assert await gate.accepts("right")


@in_a_loop
async def test_where_nobody_may_ask_for_the_version_a_refusal_is_certain_once_that_lasts(
    server: ApiServer, tmp_path: Path
) -> None:
    clock = VirtualClock()
    home = Objects(server, tmp_path, clock)
    server.starting = True
    gate = Lease(home.reader, home.api.lets_in, clock)
    for unknown in (True, True, True, False, False, False):
        if unknown:
            with pytest.raises(SecretsUnavailable):
                await gate.accepts("guessed")
        else:
            assert not await gate.accepts("guessed")
        clock.forward(8.0)


@in_a_loop
async def test_where_the_secret_is_missing_the_log_tells_how_to_create_it(server: ApiServer, tmp_path: Path) -> None:
    gate = Lease(Objects(server, tmp_path).reader)
    assert not await gate.accepts("right")
    (why,) = gate.whys
    assert "kubectl create secret generic gha-step --namespace" in why
    assert "--from-literal=token=TOKEN" in why
    assert "accessToken" not in why


@in_a_loop
async def test_a_read_that_hangs_is_unavailable_in_time_and_is_not_begun_twice(
    server: ApiServer, tmp_path: Path
) -> None:
    home = Objects(server, tmp_path)
    home.put(token=b"right")
    server.scripted.append(silent)
    gate = Lease(home.reader)
    results = await asyncio.gather(*(gate.accepts("right", within=0.3) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(result, SecretsUnavailable) for result in results)
    assert gate.reader.reads == 1  # and it still goes on
    server.ending.set()
    gate.clock.forward(1.0)
    assert await gate.accepts("right")


@in_a_loop
async def test_projects_without_number_are_no_burden_without_bound(home: Home) -> None:
    gate = Lease(home.reader)
    results = await asyncio.gather(
        *(gate.accepts("x", project=f"project-{number}") for number in range(1_000)), return_exceptions=True
    )
    assert sum(result is False for result in results) == 256
    assert sum(isinstance(result, SecretsUnavailable) for result in results) == 744
    assert gate.reader.reads == 256


@pytest.mark.cluster
@in_a_loop
async def test_on_a_real_api_server_the_token_proves_its_own_project_only(cluster: Cluster) -> None:
    demo, other = cluster.namespace("demo"), cluster.namespace("other")
    for namespace, token in ((demo, "of-demo"), (other, "of-other")):
        cluster.kubectl(
            "create", "secret", "generic", "gha-step", f"--from-literal=token={token}", "--namespace", namespace
        )
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["gha-step"], "verbs": ["get"]}
        cluster.allow(namespace, [rule], account=f"{demo}:default")
    api = cluster.api(cluster.service_account(demo))
    gate = Lease(KubernetesSecrets(api), api.lets_in)
    assert await gate.accepts("of-demo", demo)
    assert await gate.accepts("of-other", other)
    for bearer, project in (("of-demo", other), ("of-other", demo), ("of-demo", "nowhere"), ("x", "kube-system")):
        assert not await gate.accepts(bearer, project)


class Hanging:
    """A reader of which every read but those of one project hangs until it is let go."""

    def __init__(self, real: SecretReader, project: str) -> None:
        self._real = real
        self.labelled, self.unlabelled = real.labelled, real.unlabelled
        self._project = project
        self.free = threading.Event()

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        if project != self._project:
            self.free.wait(LONG)
        return self._real.read(project, name)


@in_a_loop
async def test_guesses_at_ever_other_projects_leave_known_and_new_projects_their_reads(home: Home) -> None:
    home.put(token=b"right")
    hanging = Hanging(home.reader, "demo")
    lease = Lease(hanging, workers=ThreadWorkers(8, "proof"))
    assert await lease.accepts("right")
    guesses = [asyncio.create_task(lease.accepts("wrong", f"p{n}", within=30)) for n in range(MAX_READS + 20)]
    await asyncio.sleep(0.05)
    lease.clock.sleep(KEPT + 1)  # its token has to be read again
    assert await lease.accepts("right")
    hanging.free.set()
    await asyncio.gather(*guesses, return_exceptions=True)


@in_a_loop
async def test_projects_that_do_not_exist_push_none_that_does_out_of_memory(home: Home) -> None:
    home.put(token=b"right")
    lease = Lease(home.reader)
    assert await lease.accepts("right")
    for number in range(20):
        assert not await lease.accepts("wrong", f"p{number}")
    assert list(lease.known) == ["demo"]
