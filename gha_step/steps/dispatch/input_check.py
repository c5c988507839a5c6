"""Checks the step's inputs against the workflow file before dispatching, if the template asks for it."""

from collections.abc import Mapping
from urllib.parse import quote

from gha_step.contract.secret import Token
from gha_step.github.client import Client
from gha_step.github.dispatch import Workflow
from gha_step.github.refusals import Asked
from gha_step.github.workflow_file import Unreadable, declared_inputs, file_text, input_problems


def check_inputs(workflow: Workflow, inputs: Mapping[str, str], token: Token, client: Client) -> list[str]:
    """What GitHub would refuse. One request.

    :raises Unreadable: the file at the ref does not tell.
    :raises GitHubError: GitHub does not show it.
    """
    if workflow.file.isdigit():
        raise Unreadable(f"{workflow.endpoint.name_of('workflowFile')} is a number, not a file name")
    path = f"{workflow.repository_path}/contents/.github/workflows/{quote(workflow.file, safe='')}"
    asked = Asked(
        workflow.endpoint,
        "show the file of",
        str(workflow),
        workflow.owner,
        workflow.repo,
        permission="Contents",
        ref=workflow.ref,
    )
    declared = client.read(
        "workflow_file", asked, path, token, lambda answer: declared_inputs(file_text(answer)), {"ref": workflow.ref}
    )
    if declared is None:
        return ["the workflow has no `workflow_dispatch:` under `on:` at this ref: add it"]
    return input_problems(declared, inputs)
