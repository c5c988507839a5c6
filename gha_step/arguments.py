"""The flags of each command. Only argparse knows them, and `gha-step serve` starts without it where it has none."""

import argparse
from difflib import get_close_matches
from typing import Any, NoReturn

from gha_step import __version__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A failed start is exactly one line."""
        self.exit(2, f"gha-step: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Of a command's flags the command itself tells which one it does not know, and its help helps."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            close = get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, n=1)
            meant = f"; did you mean {close[0]}?" if close and unknown[0].startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found, unknown


def parser() -> argparse.ArgumentParser:
    """For all commands."""
    made = _Parser(
        prog="gha-step",
        description="Promotion steps that let Kargo drive GitHub Actions: at most one dispatch per step, and never a "
        "wrong run ID.",
    )
    made.add_argument("--version", action="version", version=f"gha-step {__version__}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="the server that a Kargo host calls",
        description="The server that a Kargo host calls (POST /api/v1/step.execute, or gRPC). Every flag can also be "
        "given as the environment variable of the same name, e.g. GHA_STEP_HTTP_LISTEN for --http-listen; flags win.",
    )
    _add_settings(serve)
    _add_run(
        commands.add_parser(
            "run",
            help="one step to its end, for any pipeline",
            description="Runs one step to its end: a file with `uses` and `config`, or what the flags say. A dispatch "
            "happens at most once per key: the same command with the same key goes on where the first one stopped. "
            "Exit codes: 0 succeeded, 1 failed, 2 wrong usage (nothing was sent), 3 not known whether dispatched.",
        )
    )
    check = commands.add_parser(
        "check",
        help="the steps of a file, offline",
        description="Checks the steps of this program in a file: a step, a list of steps, a Promotion, PromotionTask, "
        "ClusterPromotionTask or Stage. Prints each problem with its line. Exit codes: 0 none, 1 some, 2 none, but a "
        "file could not be read.",
    )
    check.add_argument("files", metavar="FILE", nargs="+", help="-: what comes in on stdin")
    check.add_argument(
        "--online", action="store_true", help="also compare inputs with the workflow files, read with a token"
    )
    check.add_argument(
        "--token-file", metavar="PATH", type=_filled, help="with --online (default: GH_TOKEN, then GITHUB_TOKEN)"
    )
    check.add_argument(
        "--base-url", metavar="URL", type=_filled, help="with --online (default: GITHUB_API_URL, or github.com)"
    )
    demo = commands.add_parser(
        "demo",
        help="a step whose server is killed half-way: one run, and the same ID; on this machine alone",
        description="Starts an emulated GitHub and the server on loopback and sends the steps of the README as a Kargo "
        "host does. The server is killed after GitHub has accepted the dispatch and before it answers; started and "
        "asked again, it finds the same run, and waits for its end. Nothing leaves this machine.",
    )
    demo.add_argument("--grpc", action="store_true", help="over gRPC instead of HTTP")
    demo.add_argument("--port", action="store_true", help="a press of a button in an emulated Port instead of Kargo")
    _add_generation(demo)
    emulate = commands.add_parser(
        "emulate-github",
        help="an emulated GitHub, to try templates by hand",
        description="An emulated GitHub with the repository myorg/my-app and its workflow deploy.yml. Prints its URL, "
        "which belongs in the Secret's key baseURL; the token is emulator-token.",
    )
    emulate.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1:0", help="default: %(default)s")
    emulate.add_argument("--webhook", metavar="URL", help="send deliveries of workflow_run there")
    emulate.add_argument("--webhook-secret-file", metavar="FILE", help="what they are signed with")
    _add_generation(emulate)
    port = commands.add_parser(
        "emulate-port",
        help="an emulated Port, to try self-service actions by hand",
        description="An emulated Port with an installation and the action deploy for myorg/my-app. Prints its URL, its "
        "credentials, and how to press the button.",
    )
    port.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1:0", help="default: %(default)s")
    _add_ledger(commands.add_parser("ledger", help="what was dispatched, and what became of it"))
    return made


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "what",
        metavar="STEP.yaml|dispatch|wait|cancel",
        help="a file with one step (-: stdin); or what the flags describe",
    )
    step = run.add_argument_group(
        "the step, in place of a file (dispatch --wait takes the flags of wait but --run-id; see docs/gha-*.md)"
    )
    for flag, metavar, about in (
        ("--repo", "OWNER/NAME", "the repository, or its URL as for git clone"),
        ("--workflow", "FILE", "dispatch: the workflow's file name, e.g. deploy.yml"),
        ("--ref", "REF", "dispatch: branch or tag"),
        ("--timeout", "SECONDS", "dispatch: how long to look for the run (default: 60)"),
        ("--correlation-input", "NAME", "dispatch: an input that the workflow shows in its run-name"),
        ("--run-id", "N", "wait, cancel: the run"),
        ("--expected-conclusion", "WORD", "wait: any other one fails; any: none does (default: success)"),
        ("--poll-interval", "DURATION", "wait, cancel: time between two looks (default: 10s)"),
        (
            "--rerun-grace",
            "DURATION",
            "wait: after a failure wait so long for somebody to run it again (default: none)",
        ),
        ("--outputs-artifact", "NAME", "wait: as --outputs, from this artifact (default: kargo-outputs)"),
        ("--force", "DURATION", "cancel: force-cancel so long after the cancel; 6m or more is advised (default: off)"),
    ):
        step.add_argument(flag, metavar=metavar, help=about)
    step.add_argument(
        "-f", "--input", metavar="NAME=VALUE", action="append", help="dispatch: an input; may be repeated"
    )
    step.add_argument(
        "--job", metavar="NAME", action="append", help="wait: end as this job ends, though the run goes on; repeatable"
    )
    step.add_argument("--outputs", action="store_true", help="wait: hand on the values that the workflow has computed")
    step.add_argument(
        "--outputs-optional", action="store_true", help="wait: as --outputs; without one it does not fail"
    )
    step.add_argument("--validate-inputs", action="store_true", help="dispatch: compare with the workflow file first")
    step.add_argument("--insecure-skip-tls-verify", action="store_true", help="with a repository's URL")
    run.add_argument("--wait", action="store_true", help="after a dispatch, wait for the run's end")
    for flag, metavar, about in (
        ("--token-file", "PATH", "a file with the token (default: GH_TOKEN, then GITHUB_TOKEN)"),
        ("--base-url", "URL", "the server (default: GITHUB_API_URL, or github.com)"),
        ("--key", "TEXT", "dispatch or cancel once for this text (default: the CI's own run, or a new one)"),
        ("--promotion", "NAME", "with --alias: the key of a promotion step"),
        ("--alias", "NAME", "with --promotion: the step's alias"),
        ("--ledger", "VALUE", "kubernetes, or sqlite:PATH (default: a file per key under XDG_STATE_HOME)"),
        ("--project", "NAME", "the namespace of --ledger kubernetes (default: the current one)"),
    ):
        run.add_argument(flag, metavar=metavar, type=_filled, help=about)
    run.add_argument("--output", choices=("text", "json"), default="text", help="on stdout (default: key=value lines)")


def _filled(text: str) -> str:
    """What a variable of a CI that is not set leaves is no value: nobody may take a default for it unseen."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: write a value, or leave the flag out")
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number below 1,000,000,000")
    return int(text)


def _add_ledger(ledger: argparse.ArgumentParser) -> None:
    actions = ledger.add_subparsers(dest="action", required=True, metavar="ACTION")
    every = actions.add_parser(
        "list",
        help="all dispatches, newest first",
        description="All dispatches that the ledger remembers, newest first. The server may be running.",
    )
    every.add_argument("--state", help="only those in this state, e.g. ambiguous")
    every.add_argument("--open", action="store_true", help="only those that are not over, or that owe Port a report")
    every.add_argument(
        "--stuck", action="store_true", help="only those that were sent half an hour ago or earlier and are not over"
    )
    every.add_argument(
        "--since", metavar="WHEN", help="only those made since then: 90m, 24h, 2027-01-31 or 2027-01-31T12:00:00Z"
    )
    every.add_argument(
        "--limit", type=_number, default=500, metavar="N", help="at most so many; 0: all (default: %(default)s)"
    )
    every.add_argument(
        "--page", type=_number, default=1, metavar="N", help="with --limit: 2 for the next so many, and so on"
    )
    one = actions.add_parser(
        "show",
        help="one dispatch, or those of one Promotion, and what to do about them",
        description="All that the ledger remembers of a dispatch, what its host is told, and what to do.",
    )
    one.add_argument(
        "which",
        metavar="KEY|PROMOTION|RUN_ID",
        help="its key or the beginning of it, as list shows it; or the --key of `gha-step run`, the name of its "
        "Promotion, or the ID of its run",
    )
    prune = actions.add_parser(
        "prune",
        help="delete records that nobody needs any more, from Kubernetes",
        description="Deletes from Kubernetes, with your own rights, records that are over, that owe nothing, and that "
        "are older than GHA_STEP_LEDGER_KEEP: those whose Promotion is gone, as the API server says of its UID. It "
        "needs the rights list and delete on workflowdispatches, and get on promotions.",
    )
    prune.add_argument(
        "--port", action="store_true", help="instead, those of Port runs that Port was told of; needs no promotions"
    )
    prune.add_argument("--project", type=_filled, help="the namespace (default: as for list)")
    prune.add_argument("--ledger", metavar="VALUE", type=_filled, help="kubernetes (default: GHA_STEP_LEDGER)")
    for action in (every, one):
        action.add_argument(
            "--project",
            type=_filled,
            help="only those of this project (default: all that the file holds; from Kubernetes those of "
            "GHA_STEP_PROJECTS, or of your current namespace; * for all)",
        )
        action.add_argument("--output", choices=("text", "json"), default="text", help="json: for programs")
        action.add_argument("--json", action="store_const", const="json", dest="output", help="as --output json")
        action.add_argument(
            "--ledger",
            metavar="VALUE",
            type=_filled,
            help="sqlite:PATH (a file, or a directory of *.db), or kubernetes (default: GHA_STEP_LEDGER, or "
            "sqlite:gha-step.db and the files of `gha-step run`)",
        )


def _add_generation(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--generation",
        default="github.com",
        metavar="NAME",
        help="github.com, or a GitHub Enterprise Server: ghes-3.19, ghes-3.20, ghes-3.21 (default: %(default)s)",
    )


def _add_settings(serve: argparse.ArgumentParser) -> None:
    from gha_step.settings import described

    for setting in described():
        default = f" (default: {setting.default})" if setting.default else ""
        serve.add_argument(
            "--" + setting.field.replace("_", "-"),
            dest=setting.variable,
            metavar="VALUE",
            help=f"{setting.description}{default}".replace("%", "%%"),
        )
