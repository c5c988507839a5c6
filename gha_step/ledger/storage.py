"""Whether a ledger may be kept in a place: records that are lost before their promotion ends allow a second dispatch.
Pure.

Source: proc_pid_mountinfo(5).
"""

import re
from pathlib import PurePosixPath
from typing import Final

_NETWORK: Final = re.compile(r"nfs4?|cifs|smb3?|smbfs|ceph|lustre|afs|glusterfs|fuse\.(glusterfs|sshfs|s3fs|ceph)")
_VOLATILE: Final = frozenset({"overlay", "tmpfs", "ramfs"})
_EMPTY_DIR: Final = "kubernetes.io~empty-dir"
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def objection(file: PurePosixPath, mountinfo: str, *, in_kubernetes: bool, lifetime_pod: bool) -> str | None:
    """Why ``file`` (absolute, resolved) may not be the ledger, or ``None``.

    :param mountinfo: the text of ``/proc/self/mountinfo``.
    :param lifetime_pod: whether it is understood that the ledger dies with the pod.
    """
    directory = file.parent
    if _mount(file, mountinfo)[2] == file:
        return f"{file} is mounted by itself, and sqlite keeps a log beside it: mount its directory"
    kind, root, _ = _mount(directory, mountinfo)
    if _NETWORK.fullmatch(kind):
        return f"{directory} is on a network file system ({kind}), whose locks sqlite cannot trust: use a local disk"
    volatile = kind in _VOLATILE or _EMPTY_DIR in root
    if in_kubernetes and volatile and not lifetime_pod:
        place = "emptyDir" if _EMPTY_DIR in root else kind
        return (
            f"{directory} is lost with the pod ({place}), and a new pod would dispatch again: mount "
            "a volume there, or append ?lifetime=pod to accept that"
        )
    return None


def _mount(directory: PurePosixPath, mountinfo: str) -> tuple[str, str, PurePosixPath]:
    """File system type, root and mount point of the mount that holds ``directory``; the last one mounted counts."""
    best, found = -1, ("", "", PurePosixPath("/"))
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if len(fields) < 5 or not kinds[0]:
            continue
        point = PurePosixPath(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        if directory.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), (kinds[0], fields[3], point)
    return found
