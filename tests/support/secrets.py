"""Secrets as files, as `DirectorySecrets` reads them."""

from pathlib import Path

from gha_step.emulator import EXAMPLE_TOKEN


def write_secret(root: Path, project: str = "demo", name: str = "github", **data: str | bytes) -> None:
    """A Secret as files, in place of what was there."""
    folder = root / project / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for key, value in data.items():
        (folder / key).write_bytes(value if isinstance(value, bytes) else value.encode())


def example_secret(root: Path, url: str, token: str = EXAMPLE_TOKEN, project: str = "demo") -> Path:
    """The Secret that names an emulated GitHub; gives ``root``."""
    write_secret(root, project, accessToken=token, baseURL=url)
    return root
