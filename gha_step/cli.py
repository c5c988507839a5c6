"""The command line: commands and exit codes. Each command imports only what it needs."""

import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from gha_step.contract.errors import StepError
from gha_step.late_imports import put_off_what_a_start_does_not_use

if TYPE_CHECKING:
    from argparse import Namespace

    from gha_step.emulator.server import Emulated


_NOT_TAKEN = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO})  # what is printed, by whoever reads it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Exit codes: 0 done, 1 the command's own failure, 2 it could not start, 3 `run` does not know whether it dispatched.
    """
    _open_closed_streams()
    gc.disable()  # while starting: what is imported and built now stays, and to look for garbage in it takes 10 ms
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for some reads every package's metadata
    put_off_what_a_start_does_not_use()
    try:
        options = _parsed(sys.argv[1:] if arguments is None else arguments)
        commands = {
            "serve": _serve,
            "run": _run,
            "check": _check,
            "demo": _demo,
            "emulate-github": _emulate_github,
            "emulate-port": _emulate_port,
            "ledger": _ledger,
        }
        code = commands[options.command](options)
        sys.stdout.flush()
    except StepError as error:
        print(f"gha-step: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before a command listens itself
        print("gha-step: interrupted", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _NOT_TAKEN:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's end fails once more
        if error.errno != errno.EPIPE:  # as under `| head`
            print(f"gha-step: the output cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    else:
        return code
    finally:
        gc.enable()


def _open_closed_streams() -> None:
    """Whoever starts us may have closed one of them: the next file that is opened, a ledger, would take its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  for the process's life


def _started() -> None:
    """Look for garbage from now on, though never again in what the start has made."""
    gc.freeze()
    gc.enable()


def _parsed(arguments: Sequence[str]) -> "Namespace":
    if list(arguments) == ["serve"]:  # as containers are started: flags that nobody gave take 15 ms to make
        return cast("Namespace", SimpleNamespace(command="serve"))
    from gha_step.arguments import parser

    return parser().parse_args(arguments)


def _serve(options: "Namespace") -> int:
    from gha_step.settings import PREFIX, Settings

    flags = {name: value for name, value in vars(options).items() if name.startswith(PREFIX) and value is not None}
    settings = Settings.parse({**os.environ, **flags})

    from gha_step.telemetry import configure_logging
    from gha_step.wiring.server import build

    configure_logging(settings.log_level, settings.log_format)
    with closing(build(settings, os.environ)) as server:
        _started()
        server.run()
    return 0


def _run(options: "Namespace") -> int:
    from gha_step.wiring.shell import run

    _started()
    return run(options, os.environ)


def _check(options: "Namespace") -> int:
    from gha_step.inbound.shell.check import check
    from gha_step.inbound.shell.errors import UsageError
    from gha_step.inbound.shell.files import read_text

    found = unread = False
    for name in options.files:
        try:
            checked = check(read_text(name, "check"), name)
        except UsageError as error:  # the other files are checked all the same
            print(f"gha-step: {error}", file=sys.stderr, flush=True)
            unread = True
            continue
        problems = [*checked.problems]
        if options.online:
            from gha_step.wiring.shell import against_workflow_files

            problems += against_workflow_files(checked.dispatches, options, os.environ)
        for problem in problems:
            print(f"{name}:{problem.line}: {problem.text}")
        for note in (*checked.notes, *(checked.incomparable if options.online else ())):
            print(f"{name}:{note.line}: note: {note.text}")
        found = found or bool(problems)
        if not problems:
            print(f"{name}: {checked.steps} step{'' if checked.steps == 1 else 's'}, no problem", flush=True)
    return 1 if found else 2 if unread else 0


def _demo(options: "Namespace") -> int:
    if options.port:
        from gha_step.demo_port import run_port_demo

        _started()
        return run_port_demo()
    from gha_step.demo import run_demo

    _started()
    return run_demo(options.generation, grpc=options.grpc)


def _emulate_github(options: "Namespace") -> int:
    from contextlib import nullcontext
    from pathlib import Path

    from gha_step.emulator import GitHub
    from gha_step.emulator.webhook import delivering
    from gha_step.settings import SettingsError

    if (options.webhook is None) != (options.webhook_secret_file is None):
        raise SettingsError("--webhook and --webhook-secret-file: one needs the other")
    try:
        github = GitHub(options.generation)
        secret = "" if options.webhook is None else Path(options.webhook_secret_file).read_text().strip()
    except (ValueError, OSError) as error:
        raise SettingsError(str(error)) from None
    with nullcontext() if options.webhook is None else delivering(github, options.webhook, secret):
        return _emulate(lambda: github, options.listen)


def _emulate_port(options: "Namespace") -> int:
    from gha_step.emulator.port import example

    return _emulate(example, options.listen)


def _emulate(emulated: "Callable[[], Emulated]", listen: str) -> int:
    from gha_step.emulator import run
    from gha_step.settings import SettingsError

    _started()
    try:
        run(emulated(), listen)
    except OSError as error:
        raise SettingsError(f"--listen: {listen} cannot be listened on: {error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return 0


def _ledger(options: "Namespace") -> int:
    import time

    if options.action == "prune":
        return _prune(options)
    from itertools import islice

    from gha_step import ledger_report as report
    from gha_step.wiring.ledger_reader import reader_of

    reader = reader_of(options.ledger, options.project, os.environ)
    now = time.time()
    project = None if options.project == "*" else options.project
    as_json = options.output == "json"
    more = ""
    try:
        if options.action == "list":
            wanted = report.wanted(
                now,
                project=project,
                state=options.state,
                open_only=options.open,
                stuck_only=options.stuck,
                since=None if options.since is None else report.moment(options.since, now),
            )
            most = options.limit or None
            records = reader.newest(wanted, max(0, options.page - 1) * options.limit, most and most + 1)
            for piece in report.listed(islice(records, most), now, as_json=as_json):
                sys.stdout.write(piece)
            if next(records, None) is not None:
                more = f"there are more: --page {options.page + 1} shows the next {most}, --limit 0 all of them"
        else:
            found = [one for one in reader.named(options.which) if project in (None, one.project)]
            print(report.shown(found, options.which, now, as_json=as_json))
        sys.stdout.flush()
    finally:
        for line in (*reader.unreadable, *([more] if more else [])):
            print(f"gha-step: {line}", file=sys.stderr)
    return 1 if reader.unreadable else 0


def _prune(options: "Namespace") -> int:
    import time

    from gha_step.wiring.ledger_reader import prune

    deleted, unreadable = prune(options.ledger, options.project, os.environ, time.time(), port=options.port)
    for line in unreadable:
        print(f"gha-step: {line}", file=sys.stderr)
    print(f"{deleted} records deleted", flush=True)
    return 1 if unreadable else 0
