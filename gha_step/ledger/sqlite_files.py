"""The files of a sqlite ledger: held by one process for life, and watched for what others do to them.

It knows nothing of what is in them. Two locks keep a second server out: one on ``PATH.lock``, and one on the database's
own inode for processes that reach it by another name (a symlink, a bind mount). Both are flock(2), which is apart from
the POSIX locks that sqlite itself takes on the database. Those vanish as soon as any descriptor of the file is closed
in this process, so the one that is opened here stays open until sqlite has let go (https://sqlite.org/howtocorrupt.html).
"""

import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from gha_step.contract.errors import LedgerUnavailable
from gha_step.ledger.store import LedgerHeld, LedgerUnusable

_WHAT_TO_DO: Final = (
    "nothing is sent. Stop this server and anything else that uses the files, restore the files, and start it again"
)


class HeldFiles:
    """The database at ``path`` and its lock, from opening to :meth:`release`.

    :raises LedgerUnusable: another process holds one of them, or the file cannot be a ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Plain strings: these are looked at several times for each dispatch.
        self._named = str(path)
        self._database = str(path.resolve())  # beside which sqlite keeps its log, whatever symlink leads there
        self._lock_path = f"{self._database}.lock"
        self._beside = (f"{self._database}-wal", f"{self._database}-shm")
        self._descriptors: list[int] = []
        self._held: list[os.stat_result] = []  # the lock and the database, as they were opened
        self._known: tuple[os.stat_result, ...] = ()
        try:
            self._hold(self._lock_path, os.O_RDWR, 0o600, f"the ledger's lock {self._lock_path}")
            found = self._hold(self._database, os.O_RDONLY, 0o644, f"the ledger {path}")
            if found.st_nlink > 1:
                raise LedgerUnusable(
                    f"the ledger {path} has {found.st_nlink} names (hard links), and sqlite keeps a log beside each: "
                    "remove all names but one, after making sure that it is the one in use"
                )
        except BaseException:
            self.release()
            raise

    def _hold(self, file: str, access: int, mode: int, subject: str) -> os.stat_result:
        try:
            # Without O_NONBLOCK a named pipe would keep us waiting.
            descriptor = os.open(file, access | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, mode)
            self._descriptors.append(descriptor)
            found = os.fstat(descriptor)
        except OSError as error:
            raise LedgerUnusable(f"{subject} cannot be opened: {error.strerror}") from None
        if not stat.S_ISREG(found.st_mode):
            raise LedgerUnusable(f"{subject} is not a file: use another path")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LedgerHeld(
                f"the ledger {self._path} is held by another process, perhaps under another name: stop that process, "
                f"or use another path ({error.strerror})"
            ) from None
        self._held.append(found)
        return found

    def release(self) -> None:
        """Give the files to others. Only once sqlite has closed them."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def remember(self) -> None:
        """Take the files as they are now for ours; after each write."""
        self._known = (_seen(self._database), *map(_seen, self._beside))

    def check(self) -> None:
        """Whether the files are still those that were opened, and nobody else has cut or written the database.

        What is written to a file that was moved or deleted is lost, and sqlite maps ``-shm``: it would end the whole
        process (SIGBUS) if that was cut off.

        :raises LedgerUnavailable: they are not; it says which file, and what happened to it.
        """
        trouble = self._trouble()
        if trouble is not None:
            raise LedgerUnavailable(f"the ledger {self._path}: {trouble} while this server used it: {_WHAT_TO_DO}")

    def _trouble(self) -> str | None:
        files = (self._lock_path, self._named, *self._beside)
        opened = (*self._held, *self._known[1:])
        last = (self._held[0], *self._known)
        for file, own, before in zip(files, opened, last, strict=True):
            try:
                now = os.stat(file)
            except OSError:
                return f"{file} was deleted or moved"
            if (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino):
                return f"{file} was replaced"
            if now.st_size < before.st_size:
                return f"{file} was truncated"
            if file is self._named and (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                return f"{file} was overwritten by another program"
        return None


def _seen(file: str) -> os.stat_result:
    try:
        return os.stat(file)
    except OSError as error:
        raise LedgerUnavailable(f"the ledger's file {file} was deleted or moved ({error.strerror})") from None
