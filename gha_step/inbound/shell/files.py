"""Files that a person names on the command line."""

from pathlib import Path

from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.yaml_lines import MAX_FILE


def read_text(path: str, subject: str, most: int = MAX_FILE) -> str:
    """The text of a file.

    :param subject: what names it, for messages.
    :param most: bytes.
    :raises UsageError: it cannot be read, is larger, or no text.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise UsageError(f"{subject}: {path} is larger than {most} bytes")
        return raw.decode()
    except OSError as error:
        raise UsageError(f"{subject}: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{subject}: {path} is not text") from None
