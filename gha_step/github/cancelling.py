"""Ask GitHub to cancel a workflow run: one request, for whoever has the reason to.

Source: https://docs.github.com/en/rest/actions/workflow-runs#cancel-a-workflow-run
"""

from gha_step.contract.secret import Token
from gha_step.github.client import Client
from gha_step.github.messages import Answer
from gha_step.github.refusals import Asked
from gha_step.github.runs import RunReference


def asked_of(run: RunReference, *fields: str) -> Asked:
    """What the request is for, in messages. ``fields``: of the config, where one names the run."""
    return Asked(run.endpoint, "cancel", str(run), run.owner, run.repo, "write", fields=fields)


def ask_to_cancel(client: Client, asked: Asked, run: RunReference, token: Token, root: str, *, force: bool) -> Answer:
    """The answer, whatever its status but a rate limit: 202, it is done; 409, the run cannot be cancelled now.

    :param root: path of the repository below the API base, under its present name.
    :raises GitHubError: no clear answer, or a limit.
    """
    path = f"{root}/actions/runs/{run.run_id}/{'force-cancel' if force else 'cancel'}"
    return client.post("cancel", asked, path, token, {}, owner=token)
