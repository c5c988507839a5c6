"""The flags of each command. `gha-step serve` does not import this module (or argparse) if it has no flags."""

import argparse
from difflib import get_close_matches
from typing import Any, NoReturn

from gha_step import __version__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A failed start prints exactly one line."""
        self.exit(2, f"gha-step: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Let a subcommand report its own unknown flags, so that the message points to its help."""
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
        description="Promotion steps with which Kargo runs GitHub Actions: at most one dispatch per step, and never "
        "a wrong run ID.",
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
            help="run one step to its end, in any pipeline",
            description="Runs one step to its end: a file with `uses` and `config`, or the step that the flags "
            "describe. A dispatch happens at most once per key: the same command with the same key continues where "
            "the first one stopped. Exit codes: 0 succeeded, 1 failed, 2 wrong usage (nothing was sent), 3 not "
            "known whether dispatched.",
        )
    )
    check = commands.add_parser(
        "check",
        help="check the steps in a file, offline",
        description="Checks the gha-step steps in a file: a step, a list of steps, a Promotion, PromotionTask, "
        "ClusterPromotionTask or Stage. Prints each problem with its line. Exit codes: 0 no problems, 1 problems, "
        "2 no problems, but a file could not be read.",
    )
    check.add_argument("files", metavar="FILE", nargs="+", help="-: stdin")
    check.add_argument(
        "--online", action="store_true", help="also check inputs against the workflow files, read with a token"
    )
    check.add_argument(
        "--token-file", metavar="PATH", type=_filled, help="with --online (default: GH_TOKEN, then GITHUB_TOKEN)"
    )
    check.add_argument(
        "--base-url", metavar="URL", type=_filled, help="with --online (default: GITHUB_API_URL, or github.com)"
    )
    demo = commands.add_parser(
        "demo",
        help="a step whose server is killed halfway: one run, and the same ID; on this machine only",
        description="Starts an emulated GitHub and the server on loopback, and sends the steps of the README as a "
        "Kargo host does. The server is killed after GitHub has accepted the dispatch and before it responds. "
        "After a restart, the same call finds the same run and waits for its end. Nothing leaves this machine.",
    )
    demo.add_argument("--grpc", action="store_true", help="over gRPC instead of HTTP")
    demo.add_argument("--port", action="store_true", help="an action in an emulated Port instead of Kargo")
    _add_generation(demo)
    emulate = commands.add_parser(
        "emulate-github",
        help="an emulated GitHub, to try templates by hand",
        description="An emulated GitHub with the repository myorg/my-app and its workflow deploy.yml. Prints its "
        "URL, which you put in the Secret's key baseURL; the token is emulator-token.",
    )
    emulate.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1:0", help="default: %(default)s")
    emulate.add_argument("--webhook", metavar="URL", help="send workflow_run deliveries to this URL")
    emulate.add_argument("--webhook-secret-file", metavar="FILE", help="file with the secret that signs them")
    _add_generation(emulate)
    port = commands.add_parser(
        "emulate-port",
        help="an emulated Port, to try self-service actions by hand",
        description="An emulated Port with an installation and the action deploy for myorg/my-app. Prints its URL, "
        "its credentials, and how to run the action.",
    )
    port.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1:0", help="default: %(default)s")
    _add_ledger(commands.add_parser("ledger", help="show what was dispatched, and the result"))
    return made


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "what",
        metavar="STEP.yaml|dispatch|wait|cancel",
        help="a file with one step (-: stdin), or the kind of step that the flags describe",
    )
    step = run.add_argument_group(
        "the step, instead of a file (dispatch --wait accepts the flags of wait except --run-id; see docs/gha-*.md)"
    )
    for flag, metavar, about in (
        ("--repo", "OWNER/NAME", "the repository, or its URL as for git clone"),
        ("--workflow", "FILE", "dispatch: the workflow's file name, e.g. deploy.yml"),
        ("--ref", "REF", "dispatch: branch or tag"),
        ("--timeout", "SECONDS", "dispatch: how long to look for the run (default: 60)"),
        ("--correlation-input", "NAME", "dispatch: an input that the workflow shows in its run-name"),
        ("--run-id", "N", "wait, cancel: the run"),
        ("--expected-conclusion", "WORD", "wait: fail with any other conclusion; any: never fail (default: success)"),
        ("--poll-interval", "DURATION", "wait, cancel: time between two polls (default: 10s)"),
        (
            "--rerun-grace",
            "DURATION",
            "wait: after a failure, wait this long for somebody to re-run it (default: none)",
        ),
        ("--outputs-artifact", "NAME", "wait: as --outputs, from this artifact (default: kargo-outputs)"),
        (
            "--force",
            "DURATION",
            "cancel: force-cancel this long after the cancel; 6m or more recommended (default: off)",
        ),
    ):
        step.add_argument(flag, metavar=metavar, help=about)
    step.add_argument(
        "-f", "--input", metavar="NAME=VALUE", action="append", help="dispatch: an input; may be repeated"
    )
    step.add_argument(
        "--job",
        metavar="NAME",
        action="append",
        help="wait: end when this job ends, even if the run continues; repeatable",
    )
    step.add_argument("--outputs", action="store_true", help="wait: return values that the workflow has computed")
    step.add_argument("--outputs-optional", action="store_true", help="wait: as --outputs, but do not fail without one")
    step.add_argument(
        "--validate-inputs", action="store_true", help="dispatch: check the inputs against the workflow file first"
    )
    step.add_argument("--insecure-skip-tls-verify", action="store_true", help="with a repository's URL")
    run.add_argument("--wait", action="store_true", help="after a dispatch, wait for the run's end")
    for flag, metavar, about in (
        ("--token-file", "PATH", "a file with the token (default: GH_TOKEN, then GITHUB_TOKEN)"),
        ("--base-url", "URL", "the server (default: GITHUB_API_URL, or github.com)"),
        ("--key", "TEXT", "dispatch or cancel once for this text (default: the CI's current run, or a new key)"),
        ("--promotion", "NAME", "with --alias: the key of a promotion step"),
        ("--alias", "NAME", "with --promotion: the step's alias"),
        ("--ledger", "VALUE", "kubernetes, or sqlite:PATH (default: a file per key under XDG_STATE_HOME)"),
        ("--project", "NAME", "the namespace of --ledger kubernetes (default: the current one)"),
    ):
        run.add_argument(flag, metavar=metavar, type=_filled, help=about)
    run.add_argument("--output", choices=("text", "json"), default="text", help="on stdout (default: key=value lines)")


def _filled(text: str) -> str:
    """Refuse what an unset CI variable expands to: nobody should get a default by accident."""
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
        description="All dispatches in the ledger, newest first. Also works while the server runs.",
    )
    every.add_argument("--state", help="only those in this state, e.g. ambiguous")
    every.add_argument(
        "--open", action="store_true", help="only those that have not ended, or with a report to Port left to send"
    )
    every.add_argument(
        "--stuck", action="store_true", help="only those sent at least half an hour ago that have not ended"
    )
    every.add_argument(
        "--since", metavar="WHEN", help="only those created since then: 90m, 24h, 2027-01-31 or 2027-01-31T12:00:00Z"
    )
    every.add_argument(
        "--limit", type=_number, default=500, metavar="N", help="at most this many; 0: all (default: %(default)s)"
    )
    every.add_argument(
        "--page", type=_number, default=1, metavar="N", help="with --limit: which page (default: %(default)s)"
    )
    one = actions.add_parser(
        "show",
        help="one dispatch, or those of one Promotion, and what to do about them",
        description="Everything in the ledger about a dispatch, what its host is told, and what to do.",
    )
    one.add_argument(
        "which",
        metavar="KEY|PROMOTION|RUN_ID",
        help="its key or the start of it, as shown by list; or the --key of `gha-step run`, the name of its "
        "Promotion, or the ID of its run",
    )
    prune = actions.add_parser(
        "prune",
        help="delete records that are no longer needed from Kubernetes",
        description="Deletes records from Kubernetes with your own permissions: those that have ended, have nothing "
        "left to report, are older than GHA_STEP_LEDGER_KEEP, and whose Promotion no longer exists (the API server "
        "is asked for its UID). Needs permission to list and delete workflowdispatches, and to get promotions.",
    )
    prune.add_argument(
        "--port",
        action="store_true",
        help="instead, those of Port runs whose end was reported to Port; does not need promotions",
    )
    prune.add_argument("--project", type=_filled, help="the namespace (default: as for list)")
    prune.add_argument("--ledger", metavar="VALUE", type=_filled, help="kubernetes (default: GHA_STEP_LEDGER)")
    for action in (every, one):
        action.add_argument(
            "--project",
            type=_filled,
            help="only those of this project (default: all in the file; from Kubernetes those of GHA_STEP_PROJECTS, "
            "or of your current namespace; * for all)",
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
