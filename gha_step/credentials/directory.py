"""Secrets as files: ``PATH/<namespace>/<secret>/<key>``, the way Kubernetes mounts them.

Files may be symlinks, as Kubernetes' own mounts are; so names are checked, not resolved paths.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gha_step.contract.errors import CredentialsError, SecretsUnavailable, StepError
from gha_step.credentials.secrets import LabelledSecret, check_names, check_namespace, is_object_name

REPO_URL: Final = "repoURL"
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EIO, errno.ESTALE})
MAX_VALUE: Final = 1 << 20  # a Kubernetes Secret holds no more than 1 MiB in all


class DirectorySecrets:
    """See `gha_step.credentials.secrets.SecretReader`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, project: str, name: str) -> Mapping[str, bytes]:
        check_names(project, name)
        folder = f"{self._root}/{project}/{name}"  # no Path: it takes ten calls, with each dispatch
        subject = f"project {project}: the Secret {name}"
        try:
            return _read_all(folder, subject)
        except FileNotFoundError:
            raise CredentialsError(
                f"{subject} does not exist; create the directory {folder} with one file per key"
            ) from None
        except NotADirectoryError:
            raise CredentialsError(f"{subject} is not a directory; {folder} must contain one file per key") from None
        except OSError as error:
            raise _refusal(error, subject, "read", f"{folder} and its files") from None

    def labelled(self, namespace: str) -> Iterator[LabelledSecret]:
        """Files have no labels: a Secret with a key ``repoURL`` counts as labelled."""
        check_namespace(namespace)
        folder = self._root / namespace
        try:
            names = [entry.name for entry in folder.iterdir() if is_object_name(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            subject = f"the Secrets of the namespace {namespace}"
            raise _refusal(error, subject, "listed", f"the directory {folder}") from None
        for name in names:
            try:
                if (folder / name / REPO_URL).is_file():
                    yield LabelledSecret(name, _read_all(folder / name, f"the Secret {name} in {namespace}"))
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed this moment
            except OSError as error:
                subject = f"the Secret {name} in the namespace {namespace}"
                raise _refusal(error, subject, "read", f"{folder / name} and its files") from None

    def unlabelled(self, namespace: str) -> list[LabelledSecret]:
        return []


def _refusal(error: OSError, subject: str, what: str, where: str) -> StepError:
    """The error to raise: what this process or the machine has run out of may come back."""
    if error.errno in _PASSING:
        return SecretsUnavailable(f"{subject} cannot be {what} now ({error.strerror})")
    return CredentialsError(f"{subject} cannot be {what} ({error.strerror}); give this process read access to {where}")


def _read_all(folder: Path | str, subject: str) -> dict[str, bytes]:
    with os.scandir(folder) as entries:
        # Kubernetes keeps a mount's versions in entries that start with "..".
        keys = [entry for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return {key.name: _read(key, subject) for key in keys}


def _read(key: "os.DirEntry[str]", subject: str) -> bytes:
    with open(key.path, "rb", buffering=0) as file:
        value = file.read(MAX_VALUE + 1) or b""
        while len(value) <= MAX_VALUE and (more := file.read(MAX_VALUE + 1 - len(value))):
            value += more
    if len(value) > MAX_VALUE:
        raise CredentialsError(
            f"{subject}: the key {key.name} is over {MAX_VALUE >> 20} MiB, which is more than a Secret may have"
        )
    return value
