"""What can be tried of a release without a tag, a registry or a runner."""

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import gha_step
from tests.deploy.clusters import kubectl_path
from tests.deploy.manifests import rendered
from tests.deploy.step_plugin import container, objections
from tests.release import (
    ADDRESSED,
    ROOT,
    NotReleasable,
    address,
    assets,
    main,
    manifests,
    mentions,
    notes,
    published,
)

IMAGE = "ghcr.io/somebody/gha-step"
DIGEST = f"sha256:{'0a' * 32}"
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2027-01-31\n\n- New.\n\n## [1.2.2] - 2027-01-01\n\n- Old.\n"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}


def test_the_notes_of_a_release_are_its_own_part_of_the_changelog() -> None:
    assert notes("v1.2.3", CHANGELOG, "1.2.3") == "- New.\n"


def test_a_project_without_its_address_is_not_released() -> None:
    urls = '[project.urls]\nSource = "https://github.com/{}/gha_step"\n'
    assert notes("v1.2.3", CHANGELOG, "1.2.3", urls.format("somebody"))
    with pytest.raises(NotReleasable, match="still names OWNER"):
        notes("v1.2.3", CHANGELOG, "1.2.3", urls.format("OWNER"))


def addresses(root: Path) -> dict[str, set[str]]:
    """What each text says of where the project and its image are."""
    texts = [root / "pyproject.toml", *root.glob("*.md"), *root.glob("docs/*.md"), *root.rglob("deploy/**/*.yaml")]
    # myorg and others stand for the reader's own; [\w.-] takes no placeholder of theirs in angle brackets.
    said = r"github\.com/OWNER\S*|ghcr\.io/[\w.-]+/|(?:https://github\.com/|--repo )[\w.-]+/(?:REPO|gha_step)\b"
    return {
        str(path.relative_to(root)): {re.sub(r"^https://|\)$", "", one) for one in found}
        for path in texts
        if (found := re.findall(said, path.read_text()))
    }


def test_one_command_writes_the_address_of_the_project_wherever_it_stands(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "RELEASING.md", "docs", "deploy"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    assert set(addresses(ROOT)) == set(ADDRESSED), "tests.release.ADDRESSED lists the files that name the address"
    for owner, repo in (published(), ("Some-Body", "gha_step"), ("another", "gha_step")):
        address(f"{owner}/{repo}", tmp_path)
        github, flag, registry = mentions(owner, repo)
        for file, said in addresses(tmp_path).items():
            wrong = {one for one in said if not one.startswith((github, registry)) and one != flag}
            assert wrong == set(), file
        assert set(addresses(tmp_path)) == set(ADDRESSED)
    for none in ("nobody", "a/b/c", "a b/c", "https://github.com/a/b"):
        with pytest.raises(NotReleasable, match="is no address"):
            address(none, tmp_path)


@pytest.mark.parametrize(
    ("tag", "version", "words"),
    [
        ("v1.2.4", "1.2.3", "the tag is v1.2.4, the version 1.2.3"),
        ("1.2.3", "1.2.3", "tag v1.2.3"),
        ("v1.2.5", "1.2.5", "cut it from"),
        ("v1x2.3", "1x2.3", "cut it from"),
    ],
)
def test_a_tag_without_its_version_or_its_changes_is_refused(tag: str, version: str, words: str) -> None:
    with pytest.raises(NotReleasable, match=re.escape(words)):
        notes(tag, CHANGELOG, version)


@pytest.mark.parametrize("digest", ["", "sha256:", DIGEST[:-1], f"{DIGEST}\n", "0.1.0"])
def test_manifests_name_no_image_without_a_digest(tmp_path: Path, digest: str) -> None:
    with pytest.raises(NotReleasable, match="no digest"):
        manifests(IMAGE, digest, tmp_path)


def test_the_assets_are_deploy_with_the_image_and_the_definition_alone(tmp_path: Path) -> None:
    assets(IMAGE, DIGEST, tmp_path)
    with tarfile.open(tmp_path / f"gha-step-deploy-{gha_step.__version__}.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = tmp_path / "unpacked/deploy"
    there = {str(path.relative_to(ROOT / "deploy")) for path in (ROOT / "deploy").rglob("*") if path.is_file()}
    assert {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()} == there
    assert "registry.example.com" not in "".join(path.read_text() for path in unpacked.rglob("*.yaml"))
    kinds = [
        found["kind"]
        for found in yaml.safe_load_all((tmp_path / f"gha-step-crd-{gha_step.__version__}.yaml").read_text())
    ]
    assert sorted(kinds) == ["ClusterRole", "CustomResourceDefinition"]


def test_it_runs_with_python_alone_and_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, '.'); from tests.release import main; "
         "sys.exit(main(['tag', 'v0']))"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert main(["assets", IMAGE, DIGEST, str(tmp_path)]) == 0


# ---------------------------------------------------------------- the workflows


def steps_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_and_every_job_has_its_own_rights(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"] <= 90
    for step in steps_of(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step


def test_one_action_has_one_pin_and_its_version_beside_it() -> None:
    pins: dict[str, set[str]] = {}
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        for action, pin in re.findall(r"uses: ([^@\s]+)@(\S+ # v\d+\.\d+\.\d+)$", path.read_text(), re.MULTILINE):
            pins.setdefault(action, set()).add(pin)
    assert {action for action, found in pins.items() if len(found) > 1} == set()
    assert set(pins) == {
        step["uses"].partition("@")[0] for one in WORKFLOWS.values() for step in steps_of(one) if "uses" in step
    }


def test_only_jobs_that_publish_may_write_and_nothing_is_published_before_the_checks() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert "make check" in "".join(step.get("run", "") for step in jobs["build"]["steps"])
    for name in set(jobs) - {"build"}:
        assert "build" in jobs[name]["needs"]
        assert jobs[name]["environment"] in ("release", "pypi"), "a person lets it begin"
    assert {name for name in jobs if "write" in str(jobs[name]["permissions"])} == set(jobs) - {"build"}


def test_wheel_and_sdist_can_be_built_offline(tmp_path: Path) -> None:
    for name in ("gha_step", "pyproject.toml", "README.md", "LICENSE"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    code = "from flit_core import buildapi; buildapi.build_wheel('dist'); buildapi.build_sdist('dist')"
    assert code in (ROOT / "Makefile").read_text()
    (tmp_path / "dist").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {
        f"gha_step-{gha_step.__version__}-py3-none-any.whl",
        f"gha_step-{gha_step.__version__}.tar.gz",
    }
    with tarfile.open(tmp_path / f"dist/gha_step-{gha_step.__version__}.tar.gz") as sdist:
        assert not [name for name in sdist.getnames() if "/tests/" in name]


# ---------------------------------------------------------------- with kubectl


@pytest.mark.cluster
def test_the_examples_of_a_release_render_with_its_image(tmp_path: Path, cluster: Any) -> None:
    del cluster  # for its kubectl
    released = manifests(IMAGE, DIGEST, tmp_path)
    (deployment,) = [
        found for found in rendered(released / "examples/service", kubectl_path()) if found["kind"] == "Deployment"
    ]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"{IMAGE}@{DIGEST}"
    (registered,) = [
        found for found in rendered(released / "examples/step-plugin", kubectl_path()) if found["kind"] == "ConfigMap"
    ]
    assert objections(registered) == []
    assert container(registered)["image"] == f"{IMAGE}@{DIGEST}"


@pytest.mark.cluster
def test_a_kustomization_elsewhere_renders_from_the_repository_as_a_remote_base(tmp_path: Path, cluster: Any) -> None:
    del cluster
    origin = tmp_path / "gha-step"  # a repository as GitHub has it, of what is checked out here
    shutil.copytree(ROOT / "deploy", origin / "deploy")
    git = ["git", "-C", str(origin), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"], ["tag", "v9.9.9"]):
        subprocess.run([*git, *words], check=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(
        f"resources:\n- file://{origin}//deploy/service?ref=v9.9.9\n- file://{origin}//deploy/tasks?ref=v9.9.9\n"
        f"images:\n- {{name: gha-step, newName: {IMAGE}, digest: '{DIGEST}'}}\n"
    )
    found = rendered(mine, kubectl_path())
    (deployment,) = [one for one in found if one["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"{IMAGE}@{DIGEST}"
    assert [one["metadata"]["name"] for one in found if one["kind"] == "ClusterPromotionTask"]
