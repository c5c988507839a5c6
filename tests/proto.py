"""The code generated from `proto/`, and what a new `proto/` may not take away from the clients of the last release.

python -m tests.proto --check     says which file of gha_step/pb is not current, and which change would break clients
python -m tests.proto --write     writes gha_step/pb
python -m tests.proto --release   makes the contract of today the one that must not be broken (done with a release)
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ROOT / "proto"
GENERATED: Final = ROOT / "gha_step" / "pb"
RELEASED: Final = SOURCES / "released" / "gha_step.v1.binpb"
VERSION: Final = "gha_step/v1"


class ProtocFailed(Exception):
    """protoc refused the sources; it has said why on stderr."""


def _protoc(*arguments: str) -> None:
    from grpc_tools import _proto, protoc  # 30 MB: only these commands need it

    names = [str(path.relative_to(SOURCES)) for path in sorted(SOURCES.rglob("*.proto"))]
    standard = Path(_proto.__file__).parent if _proto.__file__ else Path(next(iter(_proto.__path__)))
    plugins = [f"--plugin={Path(sys.executable).parent / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    if protoc.main(["protoc", f"-I{SOURCES}", f"-I{standard}", *plugins, *arguments, *names]) != 0:
        raise ProtocFailed


def generated() -> dict[str, bytes]:
    """What `gha_step/pb` has to hold, by path within it."""
    with tempfile.TemporaryDirectory() as folder:
        _protoc(
            *(
                f"--{out}{folder}"
                for out in ("python_out=", "grpc_python_out=", "mypy_out=quiet:", "mypy_grpc_out=quiet:")
            )
        )
        made = Path(folder) / VERSION
        return {f"v1/{path.name}": _within_our_package(path.read_bytes()) for path in sorted(made.iterdir())}


def _within_our_package(code: bytes) -> bytes:
    """protoc takes the .proto's path for the module's; ours lies in `gha_step.pb`, out of the way of other modules."""
    for before, after in (
        (b"from gha_step.v1 ", b"from gha_step.pb.v1 "),
        (b"'gha_step.v1.step_pb2", b"'gha_step.pb.v1.step_pb2"),
    ):
        code = code.replace(before, after)
    return code


def described() -> FileDescriptorSet:
    """The contract of today."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        _protoc(f"--descriptor_set_out={out}")
        return FileDescriptorSet.FromString(out.read_bytes())


def stale(wanted: Mapping[str, bytes]) -> list[str]:
    """The files of `gha_step/pb` that are not what they have to be."""
    present = {
        str(path.relative_to(GENERATED)): path.read_bytes()
        for path in sorted(GENERATED.rglob("*"))
        if path.is_file() and path.name != "__init__.py" and "__pycache__" not in path.parts
    }
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


# ---------------------------------------------------------------- what breaks clients


def breaking(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """What clients built from ``old`` would miss in ``new``, or take for something else. Additions are fine."""
    before, after = _Contract(old), _Contract(new)
    problems = [f"{name} is gone" for name in before.names - after.names]
    for name in before.messages.keys() & after.messages.keys():
        problems += _fields(name, before.messages[name], after.messages[name])
    for name in before.enums.keys() & after.enums.keys():
        problems += _values(name, before.enums[name], after.enums[name])
    for name in before.services.keys() & after.services.keys():
        problems += _methods(name, before.services[name], after.services[name])
    return sorted(problems)


class _Contract:
    """All definitions, by full name."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self.services: dict[str, ServiceDescriptorProto] = {}
        for file in files.file:
            self._add(file.package, file)
            self.services |= {f"{file.package}.{service.name}": service for service in file.service}

    def _add(self, scope: str, holder: FileDescriptorProto | DescriptorProto) -> None:
        self.enums |= {f"{scope}.{enum.name}": enum for enum in holder.enum_type}
        for message in holder.message_type if isinstance(holder, FileDescriptorProto) else holder.nested_type:
            self.messages[f"{scope}.{message.name}"] = message
            self._add(f"{scope}.{message.name}", message)

    @property
    def names(self) -> set[str]:
        return {*self.messages, *self.enums, *self.services}


def _fields(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    after = {field.number: field for field in new.field}
    for field in old.field:
        what = f"{name}.{field.name} = {field.number}"
        now = after.get(field.number)
        if now is None:
            yield f"{what} is gone"
            continue
        yield from (
            f"{what}: its {aspect} is no longer {was!r} but {is_now!r}"
            for (aspect, was), is_now in zip(_aspects(old, field).items(), _aspects(new, now).values(), strict=True)
            if was != is_now
        )


def _aspects(message: DescriptorProto, field: FieldDescriptorProto) -> dict[str, object]:
    """All of a field that clients rely on: on the wire, in JSON, and in generated code."""
    return {
        "name": field.name,
        "type": FieldDescriptorProto.Type.Name(field.type),
        "type's name": field.type_name,
        "label": FieldDescriptorProto.Label.Name(field.label),
        "JSON name": field.json_name,
        "presence": field.proto3_optional,
        "oneof": message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "",
    }


def _values(name: str, old: EnumDescriptorProto, new: EnumDescriptorProto) -> Iterator[str]:
    after = {value.name: value.number for value in new.value}
    for value in old.value:
        if after.get(value.name) != value.number:
            now = f"now {after[value.name]}" if value.name in after else "gone"
            yield f"{name}.{value.name} = {value.number} is {now}"


def _methods(name: str, old: ServiceDescriptorProto, new: ServiceDescriptorProto) -> Iterator[str]:
    after = {method.name: method for method in new.method}
    for method in old.method:
        now = after.get(method.name)
        if now is None:
            yield f"{name}.{method.name} is gone"
        elif _signature(method) != _signature(now):
            yield f"{name}.{method.name} is no longer {_signature(method)} but {_signature(now)}"


def _signature(method: MethodDescriptorProto) -> str:
    stream_in, stream_out = ("stream " if on else "" for on in (method.client_streaming, method.server_streaming))
    return f"({stream_in}{method.input_type}) returns ({stream_out}{method.output_type})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proto", description=__doc__)
    commands = parser.add_mutually_exclusive_group()
    commands.add_argument("--check", action="store_true", help="check (the default)")
    commands.add_argument("--write", action="store_true", help="write gha_step/pb")
    commands.add_argument("--release", action="store_true", help="clients may rely on the contract of today")
    options = parser.parse_args()
    try:
        if options.release:
            RELEASED.write_bytes(described().SerializeToString(deterministic=True))
            return 0
        wanted = generated()
        if options.write:
            for name in stale(wanted):
                if name in wanted:
                    (GENERATED / name).write_bytes(wanted[name])
                else:
                    (GENERATED / name).unlink()
            return 0
        problems = [f"gha_step/pb/{name} is not current: run `make proto`" for name in stale(wanted)]
        released = FileDescriptorSet.FromString(RELEASED.read_bytes())
        problems += [
            f"proto/ would break clients of the last release: {one}" for one in breaking(released, described())
        ]
    except ProtocFailed:
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
