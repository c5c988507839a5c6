"""What the emulated GitHub holds: repositories, workflow files, tokens and runs, and how time moves a run.

It refuses to know HTTP: permissions and wording are `api`'s. Times are seconds since the epoch on GitHub's own
clock (`State.clock`); durations are seconds.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from .wire import Json
from .workflow_file import WorkflowFile

TokenKind: TypeAlias = Literal["classic", "fine-grained", "installation"]
Access: TypeAlias = Literal["none", "read", "write"]
Lag: TypeAlias = "float | Callable[[Run], float]"

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Token:
    """A credential and what it may do."""

    value: str = field(repr=False)
    login: str = "kargo-bot"  # an App's actor is `<slug>[bot]`
    kind: TokenKind = "classic"
    actions: Access = "write"  # fine-grained, installation: the permission; classic: the user's role
    contents: Access = "read"
    checks: Access = "read"
    scopes: tuple[str, ...] = ("repo", "workflow")  # classic only
    repositories: frozenset[str] | None = None  # the `owner/name`s that it can see; None: every one
    sso_authorized: bool = True  # False: each repository answers 403 with X-GitHub-SSO
    expires_at: float = NEVER
    name: str = ""  # what the request log shows instead of the token; by default the login

    @property
    def label(self) -> str:
        """What may be shown of it."""
        return self.name or self.login


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App. It proves itself by JWTs that the other half of `public_key` has signed."""

    id: int
    client_id: str
    slug: str
    public_key: str  # PEM


@dataclass(slots=True, eq=False)
class Installation:
    """An App where it is installed. Its plain fields may be set at any time."""

    id: int
    app: App
    actions: Access = "write"
    contents: Access = "read"
    checks: Access = "read"
    repositories: frozenset[str] | None = None  # the `owner/name`s that it can see; None: every one
    suspended: bool = False
    token_lifetime: float = 3600.0  # seconds
    tokens: list[str] = field(default_factory=list, repr=False)  # that were issued, in their order


@dataclass(frozen=True, slots=True)
class Approval:
    """What a run waits for before its job enters a protected environment."""

    environment: str
    reviewers: tuple[str, ...] = ("octocat",)  # logins; `team:<slug>` is a team


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a job has to say about a line of a file, or about itself (`path` is then `.github`)."""

    message: str
    title: str | None = None
    path: str = ".github"
    line: int = 1
    level: str = "failure"  # or warning, notice


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a run. Its status and conclusion are the run's own unless `status` and `conclusion` say otherwise (of a
    completed run every job is completed); with `failed_step` the job fails there and the later steps are skipped."""

    name: str
    steps: tuple[str, ...] = ("Set up job", "Run", "Complete job")
    failed_step: str | None = None
    conclusion: str | None = None
    status: str | None = None
    annotations: tuple[Annotation, ...] = ()
    attempt: int | None = None  # of which the result is carried over; None: it ran in the run's present attempt


class Attempt(NamedTuple):
    """An earlier attempt of a run."""

    started_at: float
    phases: tuple[Phase, ...]
    jobs: tuple[Job, ...]


class Unreadable(NamedTuple):
    """A workflow file that GitHub cannot read, and why."""

    text: str
    why: str


class Phase(NamedTuple):
    """From `at` on, the run has this status and conclusion."""

    at: float
    status: str
    conclusion: str | None = None


@dataclass(slots=True, eq=False)
class Artifact:
    """A file, or a zip of files, that a run has uploaded. Its plain fields may be set at any time."""

    id: int
    run: Run
    name: str
    content: bytes = field(repr=False)  # as it is stored: a zip, unless it was uploaded with `archive: false`
    created_at: float
    expired: bool = False
    size: int | None = None  # what the listing says; None: the truth


@dataclass(slots=True, eq=False)
class Workflow:
    """A workflow of a repository: its file, perhaps another one on some refs, and how its runs go."""

    id: int
    path: str
    files: dict[str | None, WorkflowFile | Unreadable | None]  # None: every other ref
    created_at: float
    state: str = "active"  # or disabled_manually, …
    queued_for: float = 1.0  # from creation to in_progress (or waiting)
    runs_for: float = 2.0  # from in_progress to completed
    conclusion: str = "success"
    jobs: tuple[Job, ...] | None = None  # None: those of the file, with common steps
    approval: Approval | None = None
    uploads: Json = None  # what each run uploads as `kargo-outputs`; None: nothing
    cleans_up_for: float = 0.0  # from a cancel to the end: what runs under `if: always()`
    run_count: int = 0

    @property
    def file_name(self) -> str:
        """The last segment of the path, by which the API addresses it."""
        return self.path.rpartition("/")[2]

    def file_at(self, ref: str) -> WorkflowFile | Unreadable | None:
        """The file as it is at this ref, short or full, or None where it is not."""
        short = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.files[next((name for name in (ref, short) if name in self.files), None)]

    def set_text(self, text: str | None, *, ref: str | None = None) -> None:
        """Another text on the branch or tag `ref` only (in full where both have that name), or everywhere else; None:
        the file is not there."""
        if text is None:
            self.files[ref] = None
            return
        try:
            self.files[ref] = WorkflowFile.parse(text)
        except ValueError as error:
            self.files[ref] = Unreadable(text, str(error))

    @property
    def name(self) -> str:
        """Its `name:`, else its path, as on GitHub."""
        return (isinstance(file := self.files[None], WorkflowFile) and file.name) or self.path

    def file_jobs(self) -> tuple[Job, ...]:
        """The jobs of a new run."""
        if self.jobs is not None:
            return self.jobs
        file = self.files[None]
        return tuple(Job(name) for name in file.job_names) if isinstance(file, WorkflowFile) else ()


@dataclass(slots=True, eq=False)
class Repository:
    """A repository. Its plain fields may be set at any time."""

    id: int
    owner: str
    name: str
    default_branch: str
    branches: dict[str, str]  # name → commit
    tags: dict[str, str]
    created_at: float
    private: bool = True
    archived: bool = False
    workflows: list[Workflow] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list, repr=False)  # in the order of their dispatch
    next_workflow_id: int = 0

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"

    def add_branch(self, name: str) -> str:
        """A branch with a commit of its own, which is returned."""
        return self.branches.setdefault(name, commit(self.full_name, name))

    def add_tag(self, name: str) -> str:
        """A tag with a commit of its own, which is returned."""
        return self.tags.setdefault(name, commit(self.full_name, name))

    def resolve(self, ref: str) -> tuple[str, str] | None:
        """(short name, commit) of a branch or tag; a commit is no ref."""
        for prefix, names in (("refs/heads/", self.branches), ("refs/tags/", self.tags)):
            short = ref.removeprefix(prefix)
            if short in names:
                return short, names[short]
        return None

    def add_workflow(
        self,
        file: str,
        text: str,
        *,
        on_ref: Mapping[str, str | None] | None = None,
        queued_for: float = 1.0,
        runs_for: float = 2.0,
        conclusion: str = "success",
        jobs: Iterable[Job] | None = None,
        approval: Approval | None = None,
        state: str = "active",
    ) -> Workflow:
        """Adds `.github/workflows/<file>`. `on_ref` gives the text on single branches or tags, None where the
        file is missing there."""
        self.next_workflow_id += 1
        workflow = Workflow(
            id=self.id * 1000 + self.next_workflow_id,
            path=f".github/workflows/{file}",
            files={},
            created_at=self.created_at,
            state=state,
            queued_for=queued_for,
            runs_for=runs_for,
            conclusion=conclusion,
            jobs=None if jobs is None else tuple(jobs),
            approval=approval,
        )
        workflow.set_text(text)
        for ref, other in (on_ref or {}).items():
            workflow.set_text(other, ref=ref)
        self.workflows.append(workflow)
        return workflow

    def workflow(self, key: str) -> Workflow | None:
        """By ID or file name, as the API's path has it; it must exist on the default branch."""
        for workflow in self.workflows:
            if key in (str(workflow.id), workflow.file_name) and workflow.file_at(self.default_branch) is not None:
                return workflow
        return None


@dataclass(slots=True, eq=False, repr=False)
class Run:
    """A workflow run. Time moves it along `phases`; the methods are what people do to it."""

    id: int
    repository: Repository
    workflow: Workflow
    number: int
    event: str
    head_branch: str
    head_sha: str
    actor: str
    triggering_actor: str
    inputs: Mapping[str, str]  # what the workflow sees: strings, defaults filled in
    sent_inputs: Mapping[str, Json]  # what the request held
    display_title: str
    dispatched_at: float
    created_at: float
    visible_at: float  # by its ID
    listed_at: float
    listed_filtered_at: float
    started_at: float  # of this attempt
    jobs: tuple[Job, ...]
    phases: tuple[Phase, ...]
    approval: Approval | None
    clock: Callable[[], float]
    lock: threading.RLock
    attempt: int = 1
    earlier: tuple[Attempt, ...] = ()  # attempts, the first one first
    artifacts: list[Artifact] = field(default_factory=list)  # in the order of their upload
    group: str | None = None  # its concurrency group

    def __repr__(self) -> str:
        ran = f"{self.workflow.file_name} of {self.repository.full_name} on {self.head_branch} by {self.actor}"
        return f"<Run {self.id}: {ran}, {self.display_title!r}, {self.status}>"

    def phase(self) -> Phase:
        """Where it is now."""
        now = self.clock()
        return next((phase for phase in reversed(self.phases) if phase.at <= now), self.phases[0])

    @property
    def status(self) -> str:
        """requested, queued, pending, waiting, in_progress, completed, or what a test made up."""
        return self.phase().status

    @property
    def conclusion(self) -> str | None:
        """Of a completed run, else None."""
        return self.phase().conclusion

    @property
    def url_path(self) -> str:
        """`/owner/name/actions/runs/<id>`."""
        return f"/{self.repository.full_name}/actions/runs/{self.id}"

    def set_status(self, status: str, conclusion: str | None = None) -> None:
        """From now on and until something else is done to it, this status."""
        with self.lock:
            now = self.clock()
            self.phases = (*(phase for phase in self.phases if phase.at <= now), Phase(now, status, conclusion))

    def finish(self, conclusion: str = "success", jobs: Iterable[Job] | None = None) -> None:
        """It completes now, with these jobs if given."""
        with self.lock:
            if jobs is not None:
                self.jobs = tuple(jobs)
            self.set_status("completed", conclusion)

    def cancel(self) -> None:
        """It completes as cancelled: at once, or if it was running after the workflow's `cleans_up_for`."""
        with self.lock:
            if self.workflow.cleans_up_for == 0.0 or self.status != "in_progress":
                self.finish("cancelled")
                return
            now = self.clock()
            before = (phase for phase in self.phases if phase.at <= now)
            self.phases = (*before, Phase(now + self.workflow.cleans_up_for, "completed", "cancelled"))

    def force_cancel(self) -> None:
        """It completes now as cancelled, whatever still cleans up."""
        self.finish("cancelled")

    def set_job(self, name: str, status: str, conclusion: str | None = None) -> None:
        """From now on one of its jobs, which may be new, has this status and conclusion."""
        with self.lock:
            if all(job.name != name for job in self.jobs):
                self.jobs += (Job(name),)
            self.jobs = tuple(
                replace(job, status=status, conclusion=conclusion) if job.name == name else job for job in self.jobs
            )

    def upload(
        self,
        content: bytes | Json,
        name: str = "kargo-outputs",
        *,
        archive: bool = True,
        file: str = "kargo-outputs.json",
        stored: bytes | None = None,
    ) -> Artifact:
        """It uploads one file (JSON of what is no bytes), in a zip unless `archive` is off; `stored`: these very bytes
        instead."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        with self.lock:
            number = 5_000_000_000 + self.id % 1_000_000 * 1000 + len(self.artifacts)
            kept = (zipped({file: data}) if archive else data) if stored is None else stored
            self.artifacts.append(Artifact(number, self, name, kept, self.clock()))
            return self.artifacts[-1]

    def enter_group(self, name: str) -> None:
        """It is of this concurrency group: pending behind whoever holds it, in the place of the one that was pending,
        which is cancelled."""
        with self.lock:
            self.group = name
            others = [run for run in self.repository.runs if run is not self and run.in_group(name)]
            if not others:
                return
            for run in others:
                if run.status == "pending":
                    run.finish("cancelled", jobs=())
            self.set_status("pending")

    def in_group(self, name: str) -> bool:
        """Whether it holds this concurrency group or waits for it."""
        return self.group == name and self.status != "completed"

    def of_attempt(self, number: int) -> Run | None:
        """This run as it was in that attempt."""
        if number == self.attempt:
            return self
        if not 0 < number <= len(self.earlier):
            return None
        then = self.earlier[number - 1]
        return replace(self, attempt=number, started_at=then.started_at, phases=then.phases, jobs=then.jobs)

    def wait_for_approval(self, environment: str, reviewers: Iterable[str] = ("octocat",)) -> None:
        """It waits from now on, until `approve`."""
        with self.lock:
            self.approval = Approval(environment, tuple(reviewers))
            self.set_status("waiting")

    def approve(self) -> None:
        """The waiting run goes on: in_progress now, completed after the workflow's `runs_for`."""
        with self.lock:
            now = self.clock()
            self.set_status("in_progress")
            self.phases += (Phase(now + self.workflow.runs_for, "completed", self.workflow.conclusion),)

    def rerun(
        self, actor: str | None = None, jobs: Iterable[Job] | None = None, *, carry_over: Iterable[str] = ()
    ) -> None:
        """A new attempt under the same ID, from queued on. The jobs of `carry_over` do not run again: their results
        are kept."""
        with self.lock:
            kept = {
                job.name: replace(job, attempt=job.attempt or self.attempt, status="completed", conclusion="success")
                for job in self.jobs
                if job.name in set(carry_over)
            }
            self.earlier += (Attempt(self.started_at, self.phases, self.jobs),)
            self.attempt += 1
            self.triggering_actor = actor or self.triggering_actor
            self.started_at = self.clock()
            again = self.workflow.file_jobs() if jobs is None else tuple(jobs)
            self.jobs = (*kept.values(), *(job for job in again if job.name not in kept))
            self.approval = self.workflow.approval
            self.phases = course(self.workflow, self.started_at)


def course(workflow: Workflow, start: float) -> tuple[Phase, ...]:
    """The phases that a run of this workflow goes through if nobody interferes."""
    leaves_queue = start + workflow.queued_for
    if workflow.approval is not None:
        return (Phase(start, "queued"), Phase(leaves_queue, "waiting"))
    return (
        Phase(start, "queued"),
        Phase(leaves_queue, "in_progress"),
        Phase(leaves_queue + workflow.runs_for, "completed", workflow.conclusion),
    )


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files, as the upload makes it."""
    import io  # 10 ms, and only those pay who have artifacts
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def commit(*names: str) -> str:
    """A commit hash, the same for the same names."""
    return hashlib.sha1("\0".join(names).encode(), usedforsecurity=False).hexdigest()


class State:
    """All that the emulated GitHub holds. Every public method may be called from any thread."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        skew: float = 0.0,
        creation_lag: Lag = 0.0,
        lookup_lag: Lag = 0.0,
        listing_lag: Lag = 0.0,
        filtered_lag: Lag = 0.0,
        first_run_id: int = 17_000_000_001,
        run_id_step: int = 1,
        storage_url: str | None = None,
    ) -> None:
        """`storage_url`: where artifacts are stored, by another name of this server; None: the name that was asked.
        `skew` is how far GitHub's clock is ahead of `now`. A run is created `creation_lag` after its POST;
        then its ID is known after `lookup_lag`, a listing shows it after `listing_lag`, and a listing with
        filters `filtered_lag` later still (NEVER omits it). A lag is a number of seconds, or made from the
        run."""
        self.lock = threading.RLock()
        self.skew = skew
        self.creation_lag = creation_lag
        self.lookup_lag = lookup_lag
        self.listing_lag = listing_lag
        self.filtered_lag = filtered_lag
        self.storage_url = storage_url
        self._now = now
        self.started_at = now() + skew
        self._next_run_id = first_run_id
        self._run_id_step = run_id_step
        self._repositories: dict[str, Repository] = {}
        self._moved: dict[str, Repository] = {}
        self._tokens: dict[str, Token] = {}
        self._runs: dict[int, Run] = {}
        self._apps: dict[str, App] = {}
        self._installations: dict[int, Installation] = {}

    def clock(self) -> float:
        """GitHub's own time."""
        return self._now() + self.skew

    def add_token(self, token: Token | str) -> Token:
        """Accepts it from now on, in place of one of the same value."""
        added = Token(token) if isinstance(token, str) else token
        with self.lock:
            self._tokens[added.value] = added
        return added

    def remove_token(self, value: str) -> None:
        """Revokes it: 401 from now on."""
        with self.lock:
            self._tokens.pop(value, None)

    def token(self, value: str) -> Token | None:
        """The accepted token of this value."""
        token = self._tokens.get(value)
        return token if token is not None and self.clock() < token.expires_at else None

    def add_app(
        self, public_key: str, *, app_id: int = 4711, client_id: str = "Iv23example", slug: str = "gha-step"
    ) -> App:
        """Registers an App with the public half of its private key, as PEM."""
        app = App(app_id, client_id, slug, public_key)
        with self.lock:
            self._apps[str(app.id)] = self._apps[app.client_id] = app
        return app

    def app(self, issuer: str) -> App | None:
        """By its ID or client ID."""
        return self._apps.get(issuer)

    def add_installation(
        self, app: App, installation_id: int = 815, *, repositories: Iterable[str] | None = None
    ) -> Installation:
        """Installs the App, for all repositories or for some."""
        seen = None if repositories is None else frozenset(repositories)
        installation = Installation(installation_id, app, repositories=seen)
        with self.lock:
            self._installations[installation_id] = installation
        return installation

    def installation(self, installation_id: int) -> Installation | None:
        """By its ID."""
        return self._installations.get(installation_id)

    def installation_for(self, app: App, full_name: str) -> Installation | None:
        """Where the App is installed so that it sees this repository."""
        for one in self._installations.values():
            if one.app is app and (one.repositories is None or full_name in one.repositories):
                return one
        return None

    def issue_token(self, installation: Installation, repositories: frozenset[str] | None) -> Token:
        """A new token of the installation, good for these repositories."""
        with self.lock:
            # Of the new form: 520 characters, dots among them. Source: facts/github-dispatch.md.
            seed = f"{installation.id}/{len(installation.tokens)}"
            parts = (hashlib.sha512(f"{seed}/{n}".encode()).hexdigest() * 2 for n in range(3))
            value = "ghs_" + ".".join(part[:length] for part, length in zip(parts, (170, 172, 172), strict=True))
            installation.tokens.append(value)
            return self.add_token(
                Token(
                    value,
                    login=f"{installation.app.slug}[bot]",
                    kind="installation",
                    actions=installation.actions,
                    contents=installation.contents,
                    checks=installation.checks,
                    repositories=repositories,
                    expires_at=self.clock() + installation.token_lifetime,
                )
            )

    def add_repository(
        self,
        full_name: str,
        *,
        default_branch: str = "main",
        branches: Iterable[str] = (),
        tags: Iterable[str] = (),
        private: bool = True,
        archived: bool = False,
    ) -> Repository:
        """Adds `owner/name` with its default branch and the other branches and tags."""
        owner, _, name = full_name.partition("/")
        with self.lock:
            repository = Repository(
                id=1_000 + len(self._repositories),
                owner=owner,
                name=name,
                default_branch=default_branch,
                branches={branch: commit(full_name, branch) for branch in (default_branch, *branches)},
                tags={tag: commit(full_name, tag) for tag in tags},
                created_at=self.clock(),
                private=private,
                archived=archived,
            )
            self._repositories[full_name.lower()] = repository
        return repository

    def rename_repository(self, full_name: str, new_name: str) -> None:
        """Renames or moves it to `owner/name`; the old name redirects."""
        with self.lock:
            repository = self._repositories.pop(full_name.lower())
            repository.owner, _, repository.name = new_name.partition("/")
            self._repositories[new_name.lower()] = repository
            self._moved[full_name.lower()] = repository

    def repository(self, full_name: str) -> Repository:
        """By its present name; KeyError if there is none."""
        return self._repositories[full_name.lower()]

    @property
    def repository_names(self) -> list[str]:
        """The present `owner/name` of each."""
        with self.lock:
            return [repository.full_name for repository in self._repositories.values()]

    def find_repository(self, full_name: str) -> tuple[Repository | None, bool]:
        """(repository, whether that is its former name)."""
        key = full_name.lower()
        if (repository := self._repositories.get(key)) is not None:
            return repository, False
        return self._moved.get(key), True

    def repository_by_id(self, repository_id: int) -> Repository | None:
        """By its ID, which survives a rename."""
        return next((one for one in self._repositories.values() if one.id == repository_id), None)

    @property
    def runs(self) -> list[Run]:
        """Every run, in the order of the dispatches, visible or not."""
        with self.lock:
            return list(self._runs.values())

    def run(self, run_id: int) -> Run:
        """By its ID; KeyError if there is none."""
        return self._runs[run_id]

    def find_run(self, run_id: int) -> Run | None:
        """By its ID, once that is known."""
        run = self._runs.get(run_id)
        return run if run is not None and run.visible_at <= self.clock() else None

    def artifact(self, repository: Repository, artifact_id: int) -> Artifact | None:
        """By its ID."""
        every = (one for run in repository.runs for one in run.artifacts)
        return next((one for one in every if one.id == artifact_id), None)

    def listed_runs(self, repository: Repository, workflow: Workflow | None, *, filtered: bool) -> list[Run]:
        """The runs that a listing shows now, newest first."""
        now = self.clock()
        shown = [
            run
            for run in reversed(repository.runs)
            if (workflow is None or run.workflow is workflow)
            and (run.listed_filtered_at if filtered else run.listed_at) <= now
        ]
        shown.sort(key=lambda run: (run.created_at, run.id), reverse=True)
        return shown

    def start_run(
        self,
        repository: str | Repository = "myorg/my-app",
        workflow: str | Workflow = "deploy.yml",
        *,
        actor: str,
        inputs: Mapping[str, Json] | None = None,
        ref: str | None = None,
        event: str = "workflow_dispatch",
        title: str | None = None,
    ) -> Run:
        """Starts a run without a request, as somebody else would; nothing is checked. `ref` is a branch or tag,
        by default the default branch; `title` replaces what `run-name` gives."""
        with self.lock:
            repo = self.repository(repository) if isinstance(repository, str) else repository
            flow = repo.workflow(workflow) if isinstance(workflow, str) else workflow
            if flow is None:
                raise KeyError(workflow)
            branch, sha = repo.resolve(ref or repo.default_branch) or (
                str(ref),
                commit(repo.full_name, str(ref)),
            )
            return self._start(repo, flow, actor, inputs or {}, branch, sha, event, title)

    def _start(
        self,
        repository: Repository,
        workflow: Workflow,
        actor: str,
        sent: Mapping[str, Json],
        branch: str,
        sha: str,
        event: str,
        title: str | None,
    ) -> Run:
        now = self.clock()
        file = workflow.file_at(branch)
        inputs = file.inputs_seen(sent) if isinstance(file, WorkflowFile) else {}
        workflow.run_count += 1
        run_id, self._next_run_id = self._next_run_id, self._next_run_id + self._run_id_step
        if title is None and isinstance(file, WorkflowFile):
            github = {
                "actor": actor,
                "ref": f"refs/{'heads' if branch in repository.branches else 'tags'}/{branch}",
                "ref_name": branch,
                "sha": sha,
                "event_name": event,
                "repository": repository.full_name,
                "workflow": workflow.name,
                "run_id": str(run_id),
                "run_number": str(workflow.run_count),
            }
            title = file.title(inputs, github)
        run = Run(
            id=run_id,
            repository=repository,
            workflow=workflow,
            number=workflow.run_count,
            event=event,
            head_branch=branch,
            head_sha=sha,
            actor=actor,
            triggering_actor=actor,
            inputs=inputs,
            sent_inputs=sent,
            display_title=title or workflow.name,
            dispatched_at=now,
            created_at=now,
            visible_at=now,
            listed_at=now,
            listed_filtered_at=now,
            started_at=now,
            jobs=workflow.file_jobs(),
            phases=(),
            approval=workflow.approval,
            clock=self.clock,
            lock=self.lock,
        )
        run.created_at = run.started_at = now + _seconds(self.creation_lag, run)
        run.visible_at = run.created_at + _seconds(self.lookup_lag, run)
        run.listed_at = run.created_at + _seconds(self.listing_lag, run)
        run.listed_filtered_at = run.listed_at + _seconds(self.filtered_lag, run)
        run.phases = course(workflow, run.created_at)
        if workflow.uploads is not None:
            run.upload(workflow.uploads)
        self._runs[run_id] = run
        repository.runs.append(run)
        return run


def _seconds(lag: Lag, run: Run) -> float:
    return lag(run) if callable(lag) else lag
