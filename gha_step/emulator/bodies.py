"""What the state looks like on the wire: JSON bodies with the fields that GitHub's published description
requires (tests/emulator checks each against that description)."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from .state import Annotation, Artifact, Installation, Job, Repository, Run, Token, Workflow
from .wire import Json

Body = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Links:
    """The roots of all URLs in an answer, taken from the request."""

    api: str  # ends without a slash
    site: str


def timestamp(at: float) -> str:
    """GitHub's format, whose granularity is one second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, number: int) -> str:
    """An opaque ID, as GraphQL would have it."""
    return f"{kind}_{base64.urlsafe_b64encode(str(number).encode()).decode().rstrip('=')}"


def user_id(login: str) -> int:
    """The same for the same login."""
    return 1_000_000 + zlib.crc32(login.lower().encode()) % 200_000_000


_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


def user(login: str, links: Links, kind: str | None = None) -> Body:
    """A "simple user"; `kind` is User, Bot or Organization, by default chosen by the login."""
    number = user_id(login)
    body: Body = {
        "login": login,
        "id": number,
        "node_id": node_id("U", number),
        "avatar_url": f"{links.site}/avatars/u/{number}?v=4",
        "gravatar_id": "",
        "url": f"{links.api}/users/{login}",
        "html_url": f"{links.site}/{login}",
        "type": kind or ("Bot" if login.endswith("[bot]") else "User"),
        "user_view_type": "public",
        "site_admin": False,
    }
    body |= {key: f"{links.api}/users/{login}{suffix}" for key, suffix in _USER_LINKS.items()}
    return body


def installation(one: Installation, owner: str, created_at: float, links: Links) -> Body:
    """The answer of GET /repos/{owner}/{repo}/installation."""
    since = timestamp(created_at)
    return {
        "id": one.id,
        "account": user(owner, links, "Organization"),
        "repository_selection": "all" if one.repositories is None else "selected",
        "access_tokens_url": f"{links.api}/app/installations/{one.id}/access_tokens",
        "repositories_url": f"{links.api}/installation/repositories",
        "html_url": f"{links.site}/organizations/{owner}/settings/installations/{one.id}",
        "app_id": one.app.id,
        "app_slug": one.app.slug,
        "target_id": user_id(owner),
        "target_type": "Organization",
        "permissions": {"actions": one.actions, "contents": one.contents, "metadata": "read"},
        "events": [],
        "created_at": since,
        "updated_at": since,
        "single_file_name": None,
        "suspended_by": None,
        "suspended_at": since if one.suspended else None,
    }


def installation_token(token: Token, *, some: bool) -> Body:
    """The answer of POST …/access_tokens; `some`: it was asked for single repositories."""
    return {
        "token": token.value,
        "expires_at": timestamp(token.expires_at),
        "permissions": {
            "actions": token.actions,
            "contents": token.contents,
            "metadata": "read",
            **({} if token.checks == "none" else {"checks": token.checks}),
        },
        "repository_selection": "selected" if some or token.repositories is not None else "all",
    }


def authenticated_user(login: str, created_at: float, links: Links) -> Body:
    """The answer of GET /user."""
    nothing: Body = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
    none: Body = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    since = timestamp(created_at)
    return user(login, links) | nothing | none | {"created_at": since, "updated_at": since}


_REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}


def minimal_repository(repository: Repository, links: Links) -> Body:
    """A repository as it stands inside a run."""
    root = f"{links.api}/repos/{repository.full_name}"
    body: Body = {
        "id": repository.id,
        "node_id": node_id("R", repository.id),
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
        "owner": user(repository.owner, links, "Organization"),
        "html_url": f"{links.site}/{repository.full_name}",
        "description": None,
        "fork": False,
        "url": root,
    }
    body |= {key: root + suffix for key, suffix in _REPOSITORY_LINKS.items()}
    return body


def full_repository(repository: Repository, links: Links, *, writable: bool) -> Body:
    """The answer of GET /repos/{owner}/{repo}; `writable`: the token's user may push."""
    host = links.site.partition("://")[2]
    clone = f"{links.site}/{repository.full_name}.git"
    since = timestamp(repository.created_at)
    counts: Body = dict.fromkeys(
        (
            "forks_count",
            "stargazers_count",
            "watchers_count",
            "size",
            "open_issues_count",
            "subscribers_count",
            "network_count",
            "forks",
            "open_issues",
            "watchers",
        ),
        0,
    )
    has: Body = dict.fromkeys(("has_issues", "has_projects", "has_wiki", "has_discussions"), True)
    more: Body = {
        "git_url": f"git://{host}/{repository.full_name}.git",
        "ssh_url": f"git@{host}:{repository.full_name}.git",
        "clone_url": clone,
        "mirror_url": None,
        "svn_url": f"{links.site}/{repository.full_name}",
        "homepage": None,
        "language": None,
        "default_branch": repository.default_branch,
        "has_pages": False,
        "archived": repository.archived,
        "disabled": False,
        "visibility": "private" if repository.private else "public",
        "pushed_at": since,
        "created_at": since,
        "updated_at": since,
        "license": None,
        "permissions": {"admin": False, "maintain": False, "push": writable, "triage": writable, "pull": True},
    }
    return minimal_repository(repository, links) | counts | has | more


def workflow(flow: Workflow, repository: Repository, links: Links) -> Body:
    """The answer of GET …/actions/workflows/{id or file}."""
    page = f"{links.site}/{repository.full_name}"
    return {
        "id": flow.id,
        "node_id": node_id("W", flow.id),
        "name": flow.name,
        "path": flow.path,
        "state": flow.state,
        "created_at": timestamp(flow.created_at),
        "updated_at": timestamp(flow.created_at),
        "url": f"{links.api}/repos/{repository.full_name}/actions/workflows/{flow.id}",
        "html_url": f"{page}/blob/{repository.default_branch}/{flow.path}",
        "badge_url": f"{page}/workflows/{flow.file_name}/badge.svg",
    }


def dispatched(run: Run, links: Links) -> Body:
    """The answer of a dispatch that gives run details."""
    return {
        "workflow_run_id": run.id,
        "run_url": f"{links.api}/repos{run.url_path}",
        "html_url": links.site + run.url_path,
    }


def workflow_run(run: Run, links: Links) -> Body:
    """A run, in a listing or alone."""
    phase = run.phase()
    url = f"{links.api}/repos{run.url_path}"
    root = f"{links.api}/repos/{run.repository.full_name}"
    suite = run.id + 20_000_000_000  # a number of its own in GitHub, of no use here
    repository = minimal_repository(run.repository, links)
    author: Body = {"name": run.actor, "email": f"{run.actor}@users.noreply.github.com"}
    return {
        "id": run.id,
        "name": run.workflow.name,
        "node_id": node_id("WFR", run.id),
        "head_branch": run.head_branch,
        "head_sha": run.head_sha,
        "path": run.workflow.path,
        "display_title": run.display_title,
        "run_number": run.number,
        "event": run.event,
        "status": phase.status,
        "conclusion": phase.conclusion,
        "workflow_id": run.workflow.id,
        "check_suite_id": suite,
        "check_suite_node_id": node_id("CS", suite),
        "url": url,
        "html_url": links.site + run.url_path,
        "pull_requests": [],
        "created_at": timestamp(run.created_at),
        "updated_at": timestamp(max(phase.at, run.created_at)),
        "actor": user(run.actor, links),
        "run_attempt": run.attempt,
        "referenced_workflows": [],
        "run_started_at": timestamp(run.started_at),
        "triggering_actor": user(run.triggering_actor, links),
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "check_suite_url": f"{root}/check-suites/{suite}",
        "artifacts_url": f"{url}/artifacts",
        "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "previous_attempt_url": f"{url}/attempts/{run.attempt - 1}" if run.attempt > 1 else None,
        "workflow_url": f"{root}/actions/workflows/{run.workflow.id}",
        "head_commit": {
            "id": run.head_sha,
            "tree_id": hashlib.sha1(run.head_sha.encode(), usedforsecurity=False).hexdigest(),
            "message": "A commit",
            "timestamp": timestamp(run.repository.created_at),
            "author": author,
            "committer": author,
        },
        "repository": repository,
        "head_repository": repository,
    }


def job(run: Run, number: int, links: Links) -> Body:
    """The job `number` (from 0) of the run's present attempt."""
    what = run.jobs[number]
    phase = run.phase()
    status = phase.status if phase.status in ("in_progress", "completed", "waiting") else "queued"
    if status != "completed" and what.status is not None:
        status = what.status
    conclusion = _conclusion(what, phase.conclusion) if status == "completed" else None
    started = next((one.at for one in run.phases if one.status == "in_progress"), run.started_at)
    completed = timestamp(phase.at) if status == "completed" else None
    attempt = what.attempt or run.attempt
    job_id = run.id * 1000 + attempt * 10 + number
    running = status == "in_progress" or (status == "completed" and _began(run, conclusion))
    root = f"{links.api}/repos/{run.repository.full_name}"
    return {
        "id": job_id,
        "run_id": run.id,
        "workflow_name": run.workflow.name,
        "head_branch": run.head_branch,
        "run_url": f"{links.api}/repos{run.url_path}",
        "run_attempt": attempt,
        "node_id": node_id("CR", job_id),
        "head_sha": run.head_sha,
        "url": f"{root}/actions/jobs/{job_id}",
        "html_url": f"{links.site}{run.url_path}/job/{job_id}",
        "status": status,
        "conclusion": conclusion,
        "created_at": timestamp(run.started_at),
        "started_at": timestamp(started),
        "completed_at": completed,
        "name": what.name,
        "steps": _steps(what, status, conclusion, timestamp(started), completed) if running else [],
        "check_run_url": f"{root}/check-runs/{job_id}",
        "labels": ["ubuntu-latest"],
        "runner_id": 1 if running else None,
        "runner_name": "GitHub Actions 1" if running else None,
        "runner_group_id": 0 if running else None,
        "runner_group_name": "GitHub Actions" if running else None,
    }


def _began(run: Run, conclusion: str | None) -> bool:
    """Whether a runner took a job that is over: what ended in the queue has no steps."""
    return conclusion not in ("cancelled", "skipped") or any(one.status == "in_progress" for one in run.phases)


def _conclusion(what: Job, of_the_run: str | None) -> str | None:
    return what.conclusion or ("failure" if what.failed_step is not None else of_the_run)


def _steps(what: Job, status: str, conclusion: str | None, started: str, completed: str | None) -> list[Body]:
    steps: list[Body] = []
    failed = False
    for number, name in enumerate(what.steps, start=1):
        if status == "in_progress":
            now, outcome = ("in_progress" if number == 1 else "queued"), None
        elif failed:
            now, outcome = "completed", "skipped"
        else:
            failed = name == what.failed_step
            fallback = conclusion if conclusion in ("success", "cancelled", "skipped") else "success"
            now, outcome = "completed", "failure" if failed else fallback
        steps.append(
            {
                "name": name,
                "status": now,
                "conclusion": outcome,
                "number": number,
                "started_at": None if now == "queued" else started,
                "completed_at": completed,
            }
        )
    return steps


def annotation(what: Annotation, run: Run, links: Links) -> Body:
    """What a job says."""
    return {
        "path": what.path,
        "start_line": what.line,
        "end_line": what.line,
        "start_column": None,
        "end_column": None,
        "annotation_level": what.level,
        "title": what.title,
        "message": what.message,
        "raw_details": None,
        "blob_href": f"{links.site}/{run.repository.full_name}/blob/{run.head_sha}/{what.path}",
    }


def artifact(what: Artifact, links: Links) -> Body:
    """An artifact in a run's listing."""
    run = what.run
    url = f"{links.api}/repos/{run.repository.full_name}/actions/artifacts/{what.id}"
    return {
        "id": what.id,
        "node_id": node_id("A", what.id),
        "name": what.name,
        "size_in_bytes": len(what.content) if what.size is None else what.size,
        "url": url,
        "archive_download_url": f"{url}/zip",
        "expired": what.expired,
        "created_at": timestamp(what.created_at),
        "updated_at": timestamp(what.created_at),
        "expires_at": timestamp(what.created_at + 90 * 86_400),
        "digest": f"sha256:{hashlib.sha256(what.content).hexdigest()}",
        "workflow_run": {
            "id": run.id,
            "repository_id": run.repository.id,
            "head_repository_id": run.repository.id,
            "head_branch": run.head_branch,
            "head_sha": run.head_sha,
        },
    }


def concurrency_groups_of(run: Run, links: Links) -> Body:
    """The groups of a run, with this run as their only member."""
    if run.group is None:
        return {"total_count": 0, "concurrency_groups": []}
    url = _group_url(run, links)
    ahead = sum(other.in_group(run.group) and other.id < run.id for other in run.repository.runs)
    places: Body = {"position": ahead, "position_url": f"{url}?ahead_of_run={run.id}"}
    members = [_member(run, links) | places] if run.in_group(run.group) else []
    return {
        "total_count": 1,
        "concurrency_groups": [{"group_name": run.group, "group_url": url, "group_members": members}],
    }


def concurrency_group(name: str, runs: list[Run], links: Links) -> Body:
    """A group with all its members."""
    return {
        "group_name": name,
        "group_url": _group_url(runs[0], links),
        "total_count": len(runs),
        "group_members": [_member(run, links) for run in runs],
    }


def _group_url(run: Run, links: Links) -> str:
    return f"{links.api}/repos/{run.repository.full_name}/actions/concurrency_groups/{quote(run.group or '', safe='')}"


def _member(run: Run, links: Links) -> Body:
    return {
        "run_id": run.id,
        "run_name": run.display_title,
        "run_url": f"{links.api}/repos{run.url_path}",
        "run_html_url": links.site + run.url_path,
        "status": "pending" if run.status == "pending" else "in_progress",
    }


def pending_deployment(run: Run, links: Links) -> Body | None:
    """What the waiting run waits for; None if it does not wait."""
    if run.approval is None or run.status != "waiting":
        return None
    number = user_id(run.approval.environment)
    root = f"{links.api}/repos/{run.repository.full_name}"
    return {
        "environment": {
            "id": number,
            "node_id": node_id("EN", number),
            "name": run.approval.environment,
            "url": f"{root}/environments/{run.approval.environment}",
            "html_url": f"{links.site}/{run.repository.full_name}/deployments/activity_log"
            f"?environments_filter={run.approval.environment}",
        },
        "wait_timer": 0,
        "wait_timer_started_at": None,
        "current_user_can_approve": False,
        "reviewers": [_reviewer(name, run.repository.owner, links) for name in run.approval.reviewers],
    }


def _reviewer(name: str, owner: str, links: Links) -> Body:
    team = name.removeprefix("team:")
    if team == name:
        return {"type": "User", "reviewer": user(name, links)}
    number = user_id(name)
    url = f"{links.api}/organizations/{user_id(owner)}/team/{number}"
    reviewer: Body = {
        "id": number,
        "node_id": node_id("T", number),
        "name": team,
        "slug": team,
        "description": None,
        "privacy": "closed",
        "type": "organization",
        "permission": "pull",
        "url": url,
        "html_url": f"{links.site}/orgs/{owner}/teams/{team}",
        "members_url": f"{url}/members{{/member}}",
        "repositories_url": f"{url}/repos",
        "parent": None,
    }
    return {"type": "Team", "reviewer": reviewer}


def file_contents(repository: Repository, path: str, text: str, ref: str, links: Links) -> Body:
    """The answer of GET …/contents/{path} for a file."""
    data = text.encode()
    blob = hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()  # as git does
    root = f"{links.api}/repos/{repository.full_name}"
    url, git = f"{root}/contents/{path}?ref={ref}", f"{root}/git/blobs/{blob}"
    page = f"{links.site}/{repository.full_name}/blob/{ref}/{path}"
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": blob,
        "size": len(data),
        "url": url,
        "html_url": page,
        "git_url": git,
        "download_url": f"{links.site}/{repository.full_name}/raw/{ref}/{path}",
        "type": "file",
        "content": base64.encodebytes(data).decode(),
        "encoding": "base64",
        "_links": {"self": url, "git": git, "html": page},
    }
