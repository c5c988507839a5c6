"""The inputs of a step against the workflow file, before anything is dispatched: on the template's request only."""

from collections.abc import Mapping
from urllib.parse import quote

from gha_step.contract.secret import Token
from gha_step.github.client import Client
from gha_step.github.dispatch import Workflow
from gha_step.github.messages import Answer
from gha_step.github.refusals import Asked, read_refusal
from gha_step.github.workflow_file import DeclaredInput, Unreadable, declared_inputs, file_text, input_problems


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

    def declared_in(answer: Answer) -> tuple[DeclaredInput, ...] | None:
        if answer.status != 200:
            raise read_refusal(answer, asked, token)
        return declared_inputs(file_text(answer))

    declared = client.read("workflow_file", asked, path, token, declared_in, {"ref": workflow.ref})
    if declared is None:
        return ["the workflow has no `workflow_dispatch:` under `on:` at this ref: add it"]
    return input_problems(declared, inputs)
