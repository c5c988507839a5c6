"""The two tables that say where things are leave no room out."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("page", "of"), [("docs/architecture.md", "gha_step"), ("tests/README.md", "tests")])
def test_every_folder_and_top_module_is_in_the_table_of_rooms(page: str, of: str) -> None:
    text = (ROOT / page).read_text()
    packages = [made.parent for made in (ROOT / of).glob("*/__init__.py")]
    modules = [made for made in (ROOT / of).glob("*.py") if not made.name.startswith("_")] if of == "gha_step" else []
    assert [
        path.name for path in (*packages, *modules) if f"{path.name}`" not in text and f"{path.name}/`" not in text
    ] == []
