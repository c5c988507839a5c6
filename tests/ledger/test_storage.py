"""Where a ledger may be kept."""

from pathlib import PurePosixPath

import pytest

from gha_step.ledger.storage import objection

MOUNTS = """\
22 1 0:20 / / rw,relatime - overlay overlay rw
23 22 8:1 /var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/scratch /scratch rw - ext4 /dev/sda1 rw
24 22 8:2 / /data rw - ext4 /dev/sdb rw
27 24 8:2 /old.db /data/mounted/ledger.db rw - ext4 /dev/sdb rw
25 24 0:30 / /data/ram\\040disk rw - tmpfs tmpfs rw
26 22 0:40 / /share rw - nfs4 server:/x rw
not a mount
"""


def told(directory: str, *, in_kubernetes: bool = True, lifetime_pod: bool = False) -> str | None:
    path = PurePosixPath(directory) / "ledger.db"
    return objection(path, MOUNTS, in_kubernetes=in_kubernetes, lifetime_pod=lifetime_pod)


@pytest.mark.parametrize(
    ("directory", "kind"),
    [("/", "overlay"), ("/app", "overlay"), ("/scratch/x", "emptyDir"), ("/data/ram disk", "tmpfs")],
)
def test_in_kubernetes_a_place_that_dies_with_the_pod_must_be_asked_for(directory: str, kind: str) -> None:
    said = told(directory)
    assert said is not None
    assert kind in said
    assert "?lifetime=pod" in said
    assert told(directory, lifetime_pod=True) is None


@pytest.mark.parametrize("directory", ["/", "/scratch", "/data/ram disk"])
def test_elsewhere_such_a_place_is_the_users_choice(directory: str) -> None:
    assert told(directory, in_kubernetes=False) is None


@pytest.mark.parametrize("directory", ["/data", "/data/deep/er", "/data/ram"])
def test_a_disk_that_outlives_the_pod_is_welcome(directory: str) -> None:
    assert told(directory) is None


@pytest.mark.parametrize("in_kubernetes", [True, False])
def test_a_network_file_system_is_never_a_ledger(*, in_kubernetes: bool) -> None:
    said = told("/share/x", in_kubernetes=in_kubernetes, lifetime_pod=True)
    assert said is not None
    assert "nfs4" in said


def test_a_file_that_is_mounted_by_itself_is_never_a_ledger() -> None:
    said = told("/data/mounted", in_kubernetes=False)
    assert said is not None
    assert "mount its directory" in said


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert objection(PurePosixPath("/x"), "", in_kubernetes=True, lifetime_pod=False) is None
