"""A table that one test checks: pytest takes 5 ms for each test, to collect it in each worker and to report it."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import pytest

LONGEST: Final = 300  # characters of a row in a report

Check = Callable[..., None]
Ids = Sequence[str] | Callable[[Any], object] | None


def each_row(names: str | Sequence[str], rows: Iterable[Any], *, ids: Ids = None) -> Callable[[Check], Check]:
    """As `pytest.mark.parametrize`, but in one test. Every row is checked, and each that fails is reported by name with
    its own traceback. For tests without fixtures, whose rows leave nothing behind."""
    fields = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table = [tuple(row) if len(fields) > 1 else (row,) for row in rows]
    named = [_name(row, ids) for row in table] if ids is None or callable(ids) else ids
    if not table:
        raise ValueError("a table without rows checks nothing")

    def decorate(check: Check) -> Check:
        @functools.wraps(check)
        def checked(**others: Any) -> None:
            failed: list[BaseException] = []
            for name, row in zip(named, table, strict=True):
                try:
                    check(**dict(zip(fields, row, strict=True)), **others)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  raised below
                    error.add_note(f"row: {name[:LONGEST]}")
                    failed.append(error)
            if failed:
                raise BaseExceptionGroup(f"{len(failed)} of {len(table)} rows", failed)

        signature = inspect.signature(check)
        left = [one for one in signature.parameters.values() if one.name not in fields]
        checked.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]  # what pytest asks for
        return checked

    return decorate


def _name(row: Sequence[Any], of: Callable[[Any], object] | None) -> str:
    return ", ".join(str((of and of(value)) or repr(value)) for value in row)
