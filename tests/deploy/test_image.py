"""The Dockerfile, as far as it can be tried without a container engine: what it says, and what its commands make.

The commands of its first stage run as they stand, into folders of the test's own; what they made is then started as the
second stage says: by another user, from a tree in which nothing can be written, without a home.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

import gha_step
from tests.support.clock import LONG

ROOT: Final = Path(__file__).parents[2]
ANY_USER: Final = 54321
OWN: Final = "/opt/gha-step"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, in order: each with its argument on one line."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, " ".join(argument.split())) for name, argument in found]


def stages() -> list[list[tuple[str, str]]]:
    """Its stages, without what stands before them."""
    found: list[list[tuple[str, str]]] = []
    for name, argument in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, argument))
    return found


def arguments(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [argument for found, argument in stage if found == name]


def variables(stage: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for argument in arguments(stage, "ENV") for pair in argument.split())


def copied() -> set[str]:
    """What the first stage takes from the checkout."""
    build, _ = stages()
    return {source for argument in arguments(build, "COPY") for source in argument.split()[:-1]}


# ---------------------------------------------------------------- what it says


def test_it_has_two_stages_on_one_base_and_the_second_only_makes_bytecode() -> None:
    build, image = stages()
    assert build[0] == ("FROM", "${PYTHON} AS build")
    assert image[0] == ("FROM", "${PYTHON}")
    (command,) = arguments(image, "RUN")
    assert json.loads(command)[:2] == ["python", "-c"]  # without a shell
    assert "compileall.compile_dir(sysconfig.get_path('stdlib')" in command
    assert arguments(image, "COPY") == [f"--from=build {OWN} {OWN}"]


def test_the_standard_library_is_compiled_before_and_nothing_else_of_the_base(tmp_path: Path) -> None:
    _, image = stages()
    program = json.loads(*arguments(image, "RUN"))[2]
    for name in ("json/decoder.py", "site-packages/pip/main.py", "tkinter/ttk.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1")
    here = program.replace("sysconfig.get_path('stdlib')", repr(str(tmp_path)))
    subprocess.run([sys.executable, "-c", here], timeout=60, check=True)
    assert [file.parent.parent.name for file in tmp_path.rglob("*.pyc")] == ["json"]


def test_it_starts_the_server_without_a_shell_as_a_user_that_is_not_root() -> None:
    _, image = stages()
    assert json.loads(*arguments(image, "ENTRYPOINT")) == [f"{OWN}/bin/gha-step"]
    assert json.loads(*arguments(image, "CMD")) == ["serve"]
    assert arguments(image, "USER") == ["65532:65532"]


def test_every_package_is_installed_by_its_hash_or_not_from_outside() -> None:
    build, _ = stages()
    for command in arguments(build, "RUN"):
        if "pip" in command.split() and "install" in command.split():
            assert "--require-hashes" in command or "--no-index" in command, command
        if "wheel" in command.split():
            assert "--no-deps --no-build-isolation" in command


def test_it_names_this_version() -> None:
    _, image = stages()
    assert f'org.opencontainers.image.version="{gha_step.__version__}"' in " ".join(arguments(image, "LABEL"))


def test_only_what_is_copied_is_sent_to_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied()
    assert all((ROOT / name).exists() for name in copied())
    assert any(fnmatch.fnmatch("gha_step/__pycache__", line) for line in lines[1:])


# ---------------------------------------------------------------- what its commands make


def readable_python() -> str | None:
    """An interpreter that another user can run, too; this one, where all is one user's anyway."""
    if os.geteuid() != 0:
        return sys.executable
    for found in (sys.executable, *(shutil.which(f"python3.{minor}", path=os.defpath) for minor in (14, 13, 12, 11))):
        if found is None:
            continue
        try:
            subprocess.run([found, "-c", "import venv"], user=ANY_USER, check=True, capture_output=True, cwd="/")
        except (OSError, subprocess.CalledProcessError):
            continue
        return found
    return None


@dataclass(frozen=True)
class Built:
    """What the first stage has made, with nothing in it that can be written."""

    folder: Path
    prefix: Path

    def run(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """As the second stage starts it: by any user, in the root, without a home."""
        _, image = stages()
        return subprocess.Popen(
            [self.prefix / "bin" / "gha-step", *words],
            env=variables(image) | environment,
            cwd="/",
            user=ANY_USER if os.geteuid() == 0 else None,
            group=ANY_USER if os.geteuid() == 0 else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    python = readable_python()
    if python is None:
        pytest.skip("no Python here that another user could run")
    folder = Path(tempfile.mkdtemp(prefix="gha-step-image-"))
    mask = os.umask(0o022)  # as a builder has it: others may read
    try:
        folder.chmod(0o755)
        source, base = folder / "src", folder / "base"
        for name in copied():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target)
        # In the place of the base image's Python and pip.
        subprocess.run([python, "-m", "venv", "--without-pip", base], check=True)
        pip = base / "bin" / "pip"
        pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip --python "{base}/bin/python" "$@"\n')
        pip.chmod(0o755)
        build, _ = stages()
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "proxy" in name.lower()}
        environment = {"PIP_RETRIES": "10", "HOME": os.environ.get("HOME", "/")} | kept | variables(build)
        environment["PATH"] = f"{base}/bin:{os.defpath}"
        for command in arguments(build, "RUN"):
            here = command.replace(OWN, f"{folder}{OWN}").replace("/dist", f"{folder}/dist")
            done = subprocess.run(
                ["/bin/sh", "-ec", here], cwd=source, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        shutil.rmtree(source)  # the second stage has none of it
        prefix = folder / OWN.lstrip("/")
        subprocess.run(["chmod", "-R", "a-w", prefix], check=True)
        yield Built(folder, prefix)
    finally:
        os.umask(mask)
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        shutil.rmtree(folder)


@pytest.mark.image
def test_any_user_can_ask_for_help(built: Built) -> None:
    process = built.run("--help")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "serve" in out
    assert errors == ""


@pytest.mark.image
def test_any_user_can_serve_from_a_tree_that_cannot_be_written(built: Built) -> None:
    settings = {
        "GHA_STEP_HTTP_LISTEN": "127.0.0.1:0",
        "GHA_STEP_TOKEN_FILE": "off",
        "GHA_STEP_PROJECT_API": "on",
        "GHA_STEP_LEDGER": "kubernetes",
        "GHA_STEP_SECRETS": "kubernetes",
        "GHA_STEP_LOG_FORMAT": "text",
        "KUBECONFIG": str(kubeconfig(built.folder / "kubeconfig")),
    }
    before = inventory(built.prefix)
    process = built.run("serve", **settings)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"listening on http://([^ ]+)", line)
        assert found, line + process.stderr.read()
        connection = HTTPConnection(found[1], timeout=LONG)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200
        connection.close()
        process.terminate()
        assert process.wait(2 * LONG) == 0
    finally:
        process.kill()
        process.communicate()
    assert inventory(built.prefix) == before


@pytest.mark.image
def test_neither_pip_nor_what_builds_is_in_the_image(built: Built) -> None:
    (packages,) = built.prefix.glob("lib/python3*/site-packages")
    names = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert "gha_step" in names
    assert not {"pip", "setuptools", "flit_core", "pytest"} & names
    assert list(packages.glob("gha_step/__pycache__/cli.*.pyc")), "its bytecode is made before"


def kubeconfig(path: Path) -> Path:
    """Of an API server that nobody asks anything of."""
    cluster = {"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    config = {
        "current-context": "x",
        "clusters": [cluster],
        "contexts": [context],
        "users": [{"name": "x", "user": {}}],
    }
    path.write_text(json.dumps(config))
    path.chmod(0o644)
    return path


def inventory(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*")}
