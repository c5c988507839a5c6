"""The published contract: what of it may change, and what would break its clients."""

from collections.abc import Callable

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from tests.proto import RELEASED, breaking
from tests.support.rows import each_row


def released() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(RELEASED.read_bytes())


def changed(change: Callable[[FileDescriptorProto], object]) -> list[str]:
    new = released()
    change(new.file[0])
    return breaking(released(), new)


def message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    return next(one for one in file.message_type if one.name == name)


def field(file: FileDescriptorProto, holder: str, name: str) -> FieldDescriptorProto:
    return next(one for one in message(file, holder).field if one.name == name)


def test_what_is_the_same_breaks_nothing() -> None:
    assert changed(lambda file: None) == []


def test_what_is_added_breaks_nothing() -> None:
    def add(file: FileDescriptorProto) -> None:
        message(file, "StepContext").field.add(name="actor", number=7, type=FieldDescriptorProto.TYPE_STRING)
        file.message_type.add(name="Another").field.add(name="x", number=1, type=FieldDescriptorProto.TYPE_BOOL)
        file.enum_type[0].value.add(name="STATUS_SKIPPED", number=4)
        file.service[0].method.add(name="Cancel", input_type=".gha_step.v1.Another", output_type=".gha_step.v1.Another")

    assert changed(add) == []


def test_another_order_in_the_file_breaks_nothing() -> None:
    def turn(file: FileDescriptorProto) -> None:
        file.message_type.reverse()
        context = message(file, "StepContext")
        context.field.reverse()

    assert changed(turn) == []


@each_row(
    ("change", "words"),
    [
        (lambda file: file.message_type.pop(), "is gone"),
        (lambda file: file.enum_type.pop(), "gha_step.v1.Status is gone"),
        (lambda file: file.service.pop(), "gha_step.v1.StepService is gone"),
        (lambda file: message(file, "Step").field.pop(), "gha_step.v1.Step.config = 2 is gone"),
        (lambda file: setattr(field(file, "Step", "kind"), "number", 9), "gha_step.v1.Step.kind = 1 is gone"),
        (lambda file: setattr(field(file, "Step", "kind"), "name", "sort"), "its name is no longer 'kind' but 'sort'"),
        (
            lambda file: setattr(field(file, "Step", "kind"), "type", FieldDescriptorProto.TYPE_BYTES),
            "its type is no longer 'TYPE_STRING' but 'TYPE_BYTES'",
        ),
        (
            lambda file: setattr(field(file, "Step", "config"), "type_name", ".google.protobuf.Value"),
            "its type's name is no longer '.google.protobuf.Struct'",
        ),
        (
            lambda file: setattr(field(file, "Step", "kind"), "label", FieldDescriptorProto.LABEL_REPEATED),
            "its label is no longer",
        ),
        (
            lambda file: setattr(field(file, "StepContext", "promotion_uid"), "json_name", "promotionUID"),
            "its JSON name is no longer 'promotionUid'",
        ),
        (
            lambda file: setattr(field(file, "RunEvent", "run_id"), "proto3_optional", False),
            "its presence is no longer True",
        ),
        (lambda file: file.enum_type[0].value.pop(), "gha_step.v1.Status.STATUS_FAILED = 3 is gone"),
        (lambda file: setattr(file.enum_type[0].value[3], "number", 7), "STATUS_FAILED = 3 is now 7"),
        (lambda file: file.service[0].method.pop(), "gha_step.v1.StepService.ListKinds is gone"),
        (
            lambda file: setattr(file.service[0].method[1], "server_streaming", False),
            "Run is no longer (.gha_step.v1.RunRequest) returns (stream .gha_step.v1.RunEvent)",
        ),
        (
            lambda file: setattr(file.service[0].method[0], "output_type", ".gha_step.v1.RunEvent"),
            "Execute is no longer (.gha_step.v1.ExecuteRequest) returns (.gha_step.v1.ExecuteResponse)",
        ),
    ],
)
def test_what_clients_would_miss_or_mistake_is_named(
    change: Callable[[FileDescriptorProto], object], words: str
) -> None:
    problems = changed(change)
    assert any(words in problem for problem in problems), problems
