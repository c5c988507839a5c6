"""What each released version left in its ledgers: what every later version has to read.

A folder per version: ``records.sql`` (a dump of the sqlite file), ``objects.json`` (the WorkflowDispatches of the same
records) and ``definition.yaml`` (its CustomResourceDefinition). They are written once, by that version
(``python -m tests.ledger.stored``), and never changed.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
API_BASE: Final = "https://api.github.com"
VERSIONS: Final = sorted(path.name for path in FOLDER.iterdir() if (path / "records.sql").exists())


def objects(version: str) -> list[dict[str, Any]]:
    """As the administrator sees them."""
    found: list[dict[str, Any]] = json.loads((FOLDER / version / "objects.json").read_text())
    return found


def restore(version: str, path: Path, *, api_base: str = API_BASE) -> None:
    """The version's sqlite file, its dispatches sent to ``api_base``."""
    text = (FOLDER / version / "records.sql").read_text().replace(API_BASE, api_base)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(text)
        connection.execute("PRAGMA journal_mode=WAL")


def rows(version: str) -> list[dict[str, Any]]:
    """The records of the sqlite file, without a word of the program's own code."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((FOLDER / version / "records.sql").read_text())
        return [json.loads(text) for (text,) in connection.execute("SELECT record FROM records ORDER BY key")]
