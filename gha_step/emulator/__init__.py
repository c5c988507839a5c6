"""A GitHub to try things on: `gha-step emulate-github`, `gha-step demo` and the tests use it.

It is an independent judge: it imports nothing else of gha_step, and holds what GitHub does, not what our
client hopes for.

    github = GitHub()                     # github.com; or GitHub("ghes-3.19"); ValueError for an unknown name
    with serve(github) as url:            # http://127.0.0.1:PORT; tls=(cert file, key file) or an SSLContext
        …                                 # every generation answers under / and under /api/v3/
    run = github.runs[-1]                 # what was dispatched: run.id, run.inputs, run.sent_inputs, run.status
    assert github.count("dispatch") == 1  # requests received; github.log has each of them, without its token

`GitHub()` begins with the repository `myorg/my-app` (branch `main`), its workflow `deploy.yml` with the
required inputs `environment` and `image_tag`, and the token `emulator-token`: the constants EXAMPLE_….
More, at any time:

    github.add_token(Token("x", login="my-app[bot]", kind="installation", actions="read"))
    repository = github.add_repository("octo/api", branches=["dev"], tags=["v1"], private=False)
    workflow = repository.add_workflow("release.yml", TEXT, queued_for=1, runs_for=5, conclusion="failure")
    workflow.state = "disabled_manually"
    repository.archived = True
    github.rename_repository("octo/api", "octo/api2")
    github.remove_token("x")
    app = github.add_app(PUBLIC_KEY_PEM)  # app.id and app.client_id are what its JWTs name as issuer
    installation = github.add_installation(app, repositories=["myorg/my-app"])  # installation.tokens: those issued

Runs go from queued to in_progress to completed by the clock (`now=`; `skew=` seconds ahead of it), or by hand:

    run.set_status("pending")
    run.finish("failure", jobs=[Job("deploy", steps=("Build", "Test"), failed_step="Test")])
    run.wait_for_approval("production", ["alice", "team:ops"])
    run.approve()
    run.cancel()                          # after the workflow's `cleans_up_for`; run.force_cancel(): at once
    run.set_job("deploy", "completed", "success")  # while the run goes on
    run.rerun(carry_over=["build"])       # its result is kept
    run.upload({"url": "https://…"})      # the artifact kargo-outputs; archive=False: the bare file
    run.enter_group("deploy")             # pending behind the run of the group that is in progress
    run.rerun(actor="bob")
    github.start_run(actor="stranger", inputs={…})  # somebody else's run of myorg/my-app's deploy.yml

Lags (seconds, or a function of the run) are arguments and attributes: creation_lag, lookup_lag,
listing_lag, filtered_lag. `github.limit_rate(60, secondary=True)` refuses everything for a minute. Faults, by
the server only:

    github.faults.add(Reset("after"), "dispatch")  # the run is created, the answer lost, once
    github.faults.add(bad_gateway("after"), "dispatch", times=2)
    github.faults.add(Delay(3), where=lambda request: request.method == "GET", times=None, skip=1)

also Hold, Close, Silence, Answer(Response), Truncate, Endless and redirect(url). Without sockets (a simulation with
its own clock and network), `github.handle(Request.to("POST", path, token=…, body={…}))` gives a Response; its
halves are `entry = github.receive(request)` and `github.answer(request, entry)`, and between them
`github.faults.take(entry.operation, request)` is the plan for this request.
"""

from .faults import (
    Answer,
    Close,
    Delay,
    Endless,
    Fault,
    Faults,
    Hold,
    Planned,
    Reset,
    Silence,
    Truncate,
    bad_gateway,
    redirect,
)
from .generation import API_2022, API_2026, Generation
from .github import (
    EXAMPLE_REPOSITORY,
    EXAMPLE_TOKEN,
    EXAMPLE_WORKFLOW,
    EXAMPLE_WORKFLOW_TEXT,
    GitHub,
)
from .receiver import Logged
from .server import run, serve
from .state import NEVER, Annotation, App, Approval, Artifact, Installation, Job, Repository, Run, Token, Workflow
from .wire import Json, Request, Response

__all__ = [
    "API_2022",
    "API_2026",
    "EXAMPLE_REPOSITORY",
    "EXAMPLE_TOKEN",
    "EXAMPLE_WORKFLOW",
    "EXAMPLE_WORKFLOW_TEXT",
    "NEVER",
    "Annotation",
    "Answer",
    "App",
    "Approval",
    "Artifact",
    "Close",
    "Delay",
    "Endless",
    "Fault",
    "Faults",
    "Generation",
    "GitHub",
    "Hold",
    "Installation",
    "Job",
    "Json",
    "Logged",
    "Planned",
    "Repository",
    "Request",
    "Reset",
    "Response",
    "Run",
    "Silence",
    "Token",
    "Truncate",
    "Workflow",
    "bad_gateway",
    "redirect",
    "run",
    "serve",
]
