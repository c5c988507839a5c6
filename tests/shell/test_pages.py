"""What docs/pipelines.md and docs/schemas say is so."""

import json
import re

import pytest
import yaml  # type: ignore[import-untyped]

from gha_step.contract.values import wire_names
from gha_step.inbound.shell.check import CONFIGS, check
from gha_step.inbound.shell.invocation import COMMANDS
from gha_step.steps.dispatch.config import CANCEL_ON_ABORT
from gha_step.steps.repository import RepositoryConfig
from tests.docs import ROOT, schemas

from .commands import Shell

PAGE = (ROOT / "docs/pipelines.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_pages_step_is_right_and_runs(machine: Shell) -> None:
    (step,) = [block for block in BLOCKS if block.startswith("uses:")]
    assert check(step, "step.yaml").problems == ()
    file = machine.folder / "step.yaml"
    file.write_text(step.replace("deploy.yml", "marked.yml").replace("    environment: test\n", ""))
    done = machine.run(str(file))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.startswith("uses:")])
def test_the_pages_commands_use_flags_that_there_are(machine: Shell, block: str) -> None:
    found = re.search(r"gha-step (run .*)|args: (\[.*?\])\n", block, re.DOTALL)
    assert found is not None
    arguments = found[1].splitlines()[0].split() if found[1] else yaml.safe_load(found[2])
    # No token: so the command is read as far as its flags, and sends nothing.
    done = machine.run(*arguments[1:], GH_TOKEN="", HOME="/")
    assert (done.returncode, done.stderr.startswith("gha-step: no token: set")) == (2, True), done.stderr


def test_the_schemas_are_those_of_the_models_and_take_no_other_field() -> None:
    assert {path.stem for path in schemas()} == set(CONFIGS)
    for path, text in schemas().items():
        assert path.read_text() == text
        schema, model = json.loads(text), CONFIGS[path.stem]
        assert set(schema["properties"]) == set(wire_names(model))
        assert schema["required"] == [str(field.alias) for field in model.model_fields.values() if field.is_required()]
        assert schema["additionalProperties"] is False
        assert schema["$schema"].startswith("https://json-schema.org/")


def test_every_field_of_a_config_has_its_flag() -> None:
    left_out = {*wire_names(RepositoryConfig), CANCEL_ON_ABORT}  # a shell has no Promotion that could be aborted
    assert {kind for kind, _ in COMMANDS.values()} == set(CONFIGS)
    for kind, flags in COMMANDS.values():
        assert {path.partition(".")[0] for path in flags.values()} == set(wire_names(CONFIGS[kind])) - left_out
