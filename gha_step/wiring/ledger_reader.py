"""Where an operator's commands read records from: the named ledger, or the ledgers found on this machine.

Also deletes records that are no longer needed.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.files import ledgers_of_run
from gha_step.ledger.reading import FileReader, FileReaders, KubernetesReader, Reader
from gha_step.ledger.record import OPEN, Record
from gha_step.ledger.store import LedgerUnusable
from gha_step.settings import Settings

if TYPE_CHECKING:
    from gha_step.kube import KubeApi
    from gha_step.ledger.kubernetes import KubernetesStore

OPERATOR_WAITS: Final = 30.0  # seconds for one request to the API server
_SUFFIX: Final = ".db"


def reader_of(named: str | None, project: str | None, environment: Mapping[str, str]) -> Reader:
    """What reads the records. A file that is named and cannot be read is told when it is first asked.

    :param named: as --ledger says; ``None``: GHA_STEP_LEDGER, or else gha-step.db here and the files of `gha-step run`.
    :raises StepError: there is no ledger that can be read.
    """
    settings = _settings(named, environment)
    if settings.ledger == "kubernetes":
        return KubernetesReader(_store(_api(environment), settings, project).readable)
    path = settings.ledger.path
    if named is None and not environment.get("GHA_STEP_LEDGER"):
        return _files([*([path] if path.exists() else []), *_of_run(environment)] or [path])
    return _files(_ledgers_in(path) if path.is_dir() else [path])


def prune(
    named: str | None, project: str | None, environment: Mapping[str, str], now: float, *, port: bool
) -> tuple[int, list[str]]:
    """Delete records that are over and old enough; how many, and why others cannot be read.

    :param port: those of Port runs that Port was told of; else those whose Promotion is no more.
    :raises StepError: they cannot be listed, or not be deleted, or a Promotion cannot be read.
    """
    settings = _settings(named, environment)
    if settings.ledger != "kubernetes":
        raise LedgerUnusable(
            "GHA_STEP_LEDGER: only records in Kubernetes are pruned; write kubernetes. Those in a "
            "file shrink by themselves"
        )
    before = now - settings.ledger_keep
    api = _api(environment)
    needless = _is_told if port else _is_gone(api)
    return _store(api, settings, project).prune(
        lambda record: record.created_at < before and record.state not in OPEN and needless(record)
    )


def _is_told(record: Record) -> bool:
    """Whether it is that of a Port run which is over; what is owed is not asked here."""
    return record.report is not None and record.final


def _is_gone(api: "KubeApi") -> Callable[[Record], bool]:
    """Whether a record's Promotion is no more: the API server says so of its UID, and it will never come back."""
    from gha_step.inbound.promotions import Promotions

    end = lru_cache(1000)(Promotions(api).end)

    def gone(record: Record) -> bool:
        known = record.report is None and record.promotion and record.promotion_uid
        return bool(known) and end(record.project, record.promotion, record.promotion_uid) == "deleted"

    return gone


def _settings(named: str | None, environment: Mapping[str, str]) -> Settings:
    wanted = ("GHA_STEP_LEDGER", "GHA_STEP_LEDGER_KEEP", "GHA_STEP_PROJECTS")
    given = {name: value for name in wanted if (value := environment.get(name))}
    return Settings.parse(given if named is None else given | {"GHA_STEP_LEDGER": named})


def _files(paths: list[Path]) -> Reader:
    return FileReader(paths[0]) if len(paths) == 1 else FileReaders(paths)


def _ledgers_in(folder: Path) -> list[Path]:
    found = sorted(folder.glob(f"*{_SUFFIX}"))
    if not found:
        raise LedgerUnusable(f"the directory {folder} contains no ledger (*{_SUFFIX}): use another path")
    return found


def _of_run(environment: Mapping[str, str]) -> list[Path]:
    try:
        return sorted(ledgers_of_run(environment).glob(f"*{_SUFFIX}"))
    except UsageError:  # it has no place here, and so nothing was recorded
        return []


def _api(environment: Mapping[str, str]) -> "KubeApi":
    from gha_step.kube import connect
    from gha_step.runtime import SystemClock

    return connect(environment, SystemClock(), timeout=OPERATOR_WAITS)


def _store(api: "KubeApi", settings: Settings, project: str | None) -> "KubernetesStore":
    from gha_step.ledger.kubernetes import KubernetesStore

    own = api.own_namespace()
    projects = frozenset({project}) if project else settings.projects or (frozenset({own}) if own else None)
    return KubernetesStore(api, None if projects is None or "*" in projects else projects)
