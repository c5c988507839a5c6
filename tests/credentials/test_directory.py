"""What only a directory of Secrets can meet."""

import errno
import os
from pathlib import Path

import pytest

from gha_step.contract.errors import CredentialsError, SecretsUnavailable
from gha_step.credentials.directory import DirectorySecrets
from tests.support.secrets import write_secret


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The directory of the Secret ``github`` of ``project-a``."""
    folder = tmp_path / "project-a" / "github"
    folder.mkdir(parents=True)
    return folder


def read(root: Path) -> dict[str, bytes]:
    return dict(DirectorySecrets(root).read("project-a", "github"))


def mount(secret: Path, version: str, token: bytes) -> None:
    """As the kubelet does it: a new directory, and one symlink that moves in a single step."""
    (secret / version).mkdir()
    (secret / version / "accessToken").write_bytes(token)
    (secret / "..data_tmp").symlink_to(version)
    (secret / "..data_tmp").replace(secret / "..data")
    if not (secret / "accessToken").is_symlink():
        (secret / "accessToken").symlink_to("..data/accessToken")


def test_a_mounted_secret_is_read_through_its_symlinks(tmp_path: Path, secret: Path) -> None:
    mount(secret, "..2026_01_01", b"old")
    assert read(tmp_path) == {"accessToken": b"old"}


def test_a_mount_that_moves_on_is_read_at_once(tmp_path: Path, secret: Path) -> None:
    mount(secret, "..2026_01_01", b"old")
    mount(secret, "..2026_01_02", b"new")
    assert read(tmp_path) == {"accessToken": b"new"}


def test_a_secret_that_is_itself_a_symlink_is_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "accessToken").write_bytes(b"t")
    (tmp_path / "project-a").mkdir()
    (tmp_path / "project-a" / "github").symlink_to(tmp_path / "elsewhere")
    assert read(tmp_path) == {"accessToken": b"t"}


def test_what_is_no_file_is_no_key(tmp_path: Path, secret: Path) -> None:
    (secret / "folder").mkdir()
    (secret / "dangling").symlink_to("nowhere")
    (secret / ".hidden").write_bytes(b"x")
    os.mkfifo(secret / "pipe")
    (secret / "accessToken").write_bytes(b"t")
    assert read(tmp_path) == {"accessToken": b"t"}


def test_a_missing_secret_tells_which_directory_to_make(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=f"create the directory {tmp_path}/project-a/github"):
        read(tmp_path)


def test_a_file_in_place_of_the_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "project-a").mkdir()
    (tmp_path / "project-a" / "github").write_bytes(b"ghp_token")
    with pytest.raises(CredentialsError, match="must contain one file per key") as caught:
        read(tmp_path)
    assert "ghp_token" not in str(caught.value)


def test_a_file_in_place_of_the_project_is_named(tmp_path: Path) -> None:
    (tmp_path / "project-a").write_bytes(b"")
    with pytest.raises(CredentialsError, match="must contain one file per key"):
        read(tmp_path)


def test_a_directory_that_cannot_be_read_is_named_with_the_systems_reason(tmp_path: Path) -> None:
    (tmp_path / "project-a").mkdir()
    (tmp_path / "project-a" / "github").symlink_to("github")
    with pytest.raises(CredentialsError, match=r"cannot be read \(Too many levels of symbolic links\)"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_this_process_may_not_read_is_named_with_the_systems_reason(tmp_path: Path, secret: Path) -> None:
    (secret / "accessToken").write_bytes(b"t")
    (secret / "accessToken").chmod(0)
    with pytest.raises(CredentialsError, match=r"cannot be read \(Permission denied\)"):
        read(tmp_path)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
def test_what_cannot_be_read_for_a_moment_is_no_fault_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_secret(tmp_path, accessToken="x")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("gha_step.credentials.directory.open", fail, raising=False)
        with pytest.raises(SecretsUnavailable, match=os.strerror(number)):
            DirectorySecrets(tmp_path).read("demo", "github")
    assert DirectorySecrets(tmp_path).read("demo", "github") == {"accessToken": b"x"}
