"""What a release is made of, apart from the image; `.github/workflows/release.yml` runs it, with Python alone.

python -m tests.release tag v0.1.0                  is the tag that of this version, and is the changelog cut?
                                                    prints its part of the changelog
python -m tests.release address OWNER/REPO         writes where the project is published, wherever that stands
python -m tests.release assets IMAGE DIGEST FOLDER  writes deploy/ with this image, and the definition alone
"""

import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from gha_step import __version__

ROOT: Final = Path(__file__).resolve().parents[1]
EXAMPLE: Final = "registry.example.com/gha-step"
ADDRESSED: Final = ("pyproject.toml", "RELEASING.md", "docs/install.md", "docs/try-it.md")
SOURCE: Final = re.compile(r'^Source = "https://github\.com/([\w.-]+)/([\w.-]+)"$', re.MULTILINE | re.ASCII)
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class NotReleasable(Exception):
    """One line that says what to do."""


def notes(tag: str, changelog: str, version: str = __version__, project: str = "") -> str:
    """The changelog's part for a tag.

    :param project: pyproject.toml.
    :raises NotReleasable: it is another version's tag, the changelog has no dated part for it, or the project's address
        is not filled in.
    """
    if tag != f"v{version}":
        raise NotReleasable(f"the tag is {tag}, the version {version}: set gha_step/__init__.py, or tag v{version}")
    if "github.com/OWNER/" in project:
        raise NotReleasable(
            "[project.urls] of pyproject.toml still names OWNER: python -m tests.release address OWNER/REPO writes it"
        )
    found = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## \[|\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    if found is None or not found[1].strip():
        raise NotReleasable(f"CHANGELOG.md has no part '## [{version}] - YYYY-MM-DD': cut it from [Unreleased]")
    return found[1].strip() + "\n"


def mentions(owner: str, repo: str) -> tuple[str, ...]:
    """How the project's address is written."""
    registry = owner if owner == "OWNER" else owner.lower()
    return f"github.com/{owner}/{repo}", f"--repo {owner}/{repo}", f"ghcr.io/{registry}/"


def published(root: Path = ROOT) -> tuple[str, str]:
    """Owner and repository, as pyproject.toml has them; OWNER and REPO until the project is published.

    :raises NotReleasable: it has none.
    """
    found = SOURCE.search((root / "pyproject.toml").read_text())
    if found is None:
        raise NotReleasable('[project.urls] of pyproject.toml has no Source = "https://github.com/OWNER/REPO"')
    return found[1], found[2]


def address(text: str, root: Path = ROOT) -> None:
    """Write another address wherever the present one stands.

    :raises NotReleasable: it is none.
    """
    owner, slash, repo = text.partition("/")
    if not slash or not SOURCE.fullmatch(f'Source = "https://github.com/{owner}/{repo}"'):
        raise NotReleasable(f"{text!r} is no address: write OWNER/REPO as on github.com")
    pairs = list(zip(mentions(*published(root)), mentions(owner, repo), strict=True))
    for name in ADDRESSED:
        content = (root / name).read_text()
        for old, new in pairs:
            content = content.replace(old, new)
        (root / name).write_text(content)


def manifests(image: str, digest: str, folder: Path) -> Path:
    """A copy of deploy/ whose examples name the image by its digest; gives its folder.

    :raises NotReleasable: that is no digest, or an example does not name an image where this looks for it.
    """
    if not DIGEST.fullmatch(digest):
        raise NotReleasable(f"{digest!r} is no digest of an image")
    copied = folder / "deploy"
    shutil.copytree(ROOT / "deploy", copied)
    for example in ("service", "port"):
        _replace(
            copied / f"examples/{example}/kustomization.yaml",
            f"    newName: {EXAMPLE}\n    newTag: {__version__}\n",
            f"    newName: {image}\n    digest: {digest}\n",
        )
    _replace(
        copied / "examples/step-plugin/kustomization.yaml",
        f"image={EXAMPLE}:{__version__}\n",
        f"image={image}@{digest}\n",
    )
    return copied


def assets(image: str, digest: str, folder: Path) -> None:
    """`gha-step-deploy-VERSION.tar.gz`, and `gha-step-crd-VERSION.yaml`, which is deploy/crd in one file."""
    with tempfile.TemporaryDirectory() as temporary:
        copied = manifests(image, digest, Path(temporary))
        with tarfile.open(folder / f"gha-step-deploy-{__version__}.tar.gz", "w:gz") as archive:
            archive.add(copied, arcname="deploy")
    parts = [path.read_text() for path in sorted((ROOT / "deploy/crd").glob("*.yaml")) if path.stem != "kustomization"]
    (folder / f"gha-step-crd-{__version__}.yaml").write_text("---\n".join(parts))


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) != 1:
        raise NotReleasable(f"{path.name} of {path.parent.name} does not say {old!r} once")
    path.write_text(text.replace(old, new))


def main(words: list[str]) -> int:
    try:
        match words:
            case ["tag", tag]:
                project = (ROOT / "pyproject.toml").read_text()
                print(notes(tag, (ROOT / "CHANGELOG.md").read_text(), project=project), end="")
            case ["address", text]:
                address(text)
            case ["assets", image, digest, folder]:
                assets(image, digest, Path(folder))
            case _:
                raise NotReleasable("say `tag TAG`, `address OWNER/REPO` or `assets IMAGE DIGEST FOLDER`")
    except NotReleasable as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
