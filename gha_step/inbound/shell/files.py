"""Files named on the command line, and where the ledgers of `gha-step run` are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.yaml_lines import MAX_FILE

STDIN: Final = "-"  # in the place of a path


def read_text(path: str, subject: str, most: int = MAX_FILE) -> str:
    """The text of a file, or of what comes in where the path is `STDIN`.

    :param subject: what names it, for messages.
    :param most: bytes.
    :raises UsageError: it cannot be read, is larger, or no text.
    """
    try:
        with Path(path).open("rb") if path != STDIN else open(0, "rb", closefd=False) as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise UsageError(f"{subject}: {path} is larger than {most} bytes")
        return raw.decode()
    except OSError as error:
        raise UsageError(f"{subject}: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{subject}: {path} is not text") from None


def ledgers_of_run(environment: Mapping[str, str]) -> Path:
    """Where `gha-step run` keeps one file per key.

    Source: XDG Base Directory Specification, which ignores relative paths.

    :raises UsageError: neither variable names a place.
    """
    home = environment.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):
        own = environment.get("HOME", "")
        if not own.startswith("/"):
            raise UsageError(
                "there is no folder for the ledger: set XDG_STATE_HOME or HOME, or name a file: --ledger sqlite:PATH"
            )
        home = f"{own}/.local/state"
    return Path(home) / "gha-step" / "ledgers"
