"""Where an operator's commands read records from: the ledger that is named, or what lies around on this machine.

And where they delete those that nobody needs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gha_step.inbound.shell.errors import UsageError
from gha_step.inbound.shell.files import ledgers_of_run
from gha_step.ledger.reading import FileReader, FileReaders, KubernetesReader, Reader
from gha_step.ledger.store import LedgerUnusable
from gha_step.settings import Settings

if TYPE_CHECKING:
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
        return KubernetesReader(_in_kubernetes(settings, project, environment))
    path = settings.ledger.path
    if named is None and not environment.get("GHA_STEP_LEDGER"):
        return _files([*([path] if path.exists() else []), *_of_run(environment)] or [path])
    return _files(_ledgers_in(path) if path.is_dir() else [path])


def prune(named: str | None, project: str | None, environment: Mapping[str, str], now: float) -> tuple[int, list[str]]:
    """Delete the records of Port runs that are over, told and old enough; how many, and why others cannot be read.

    :raises StepError: they cannot be listed, or not be deleted.
    """
    settings = _settings(named, environment)
    if settings.ledger != "kubernetes":
        raise LedgerUnusable("GHA_STEP_LEDGER: only records in Kubernetes are pruned; write kubernetes")
    before = now - settings.ledger_keep
    return _in_kubernetes(settings, project, environment).prune(
        lambda record: record.report is not None and record.final and record.created_at < before
    )


def _settings(named: str | None, environment: Mapping[str, str]) -> Settings:
    wanted = ("GHA_STEP_LEDGER", "GHA_STEP_LEDGER_KEEP", "GHA_STEP_PROJECTS")
    given = {name: value for name in wanted if (value := environment.get(name))}
    return Settings.parse(given if named is None else given | {"GHA_STEP_LEDGER": named})


def _files(paths: list[Path]) -> Reader:
    return FileReader(paths[0]) if len(paths) == 1 else FileReaders(paths)


def _ledgers_in(folder: Path) -> list[Path]:
    found = sorted(folder.glob(f"*{_SUFFIX}"))
    if not found:
        raise LedgerUnusable(f"the directory {folder} holds no ledger (*{_SUFFIX}): name another path")
    return found


def _of_run(environment: Mapping[str, str]) -> list[Path]:
    try:
        return sorted(ledgers_of_run(environment).glob(f"*{_SUFFIX}"))
    except UsageError:  # it has no place here, and so nothing was recorded
        return []


def _in_kubernetes(settings: Settings, project: str | None, environment: Mapping[str, str]) -> "KubernetesStore":
    from gha_step.kube import connect
    from gha_step.ledger.kubernetes import KubernetesStore
    from gha_step.runtime import SystemClock

    api = connect(environment, SystemClock(), timeout=OPERATOR_WAITS)
    own = api.own_namespace()
    projects = frozenset({project}) if project else settings.projects or (frozenset({own}) if own else None)
    return KubernetesStore(api, None if projects is None or "*" in projects else projects)
