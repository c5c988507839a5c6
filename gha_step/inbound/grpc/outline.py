"""How many values a message holds, before any is made: two bytes on the wire become a hundred in memory.

The same bytes are read as messages whose fields are bytes, level by level, and no further than there may be values.
"""

from functools import cache
from typing import Any, Final, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

MOST_WALKED: Final = 32  # times the message's bytes: each level reads those of the levels within it again
_Shape: TypeAlias = "dict[str, _Shape]"
_VALUE: Final[_Shape] = {}
_STRUCT: Final[_Shape] = {"f1": {"f2": _VALUE}}
_VALUE.update(f5=_STRUCT, f6={"f1": _VALUE})
_REQUEST: Final[_Shape] = {"f1": {"f6": _STRUCT}, "f2": {"f2": _STRUCT}}  # ExecuteRequest and RunRequest


def has_more_values(data: bytes, most: int) -> bool:
    """Whether a request holds more values and keys, or is nested so deeply that to count them takes too long."""
    levels: list[tuple[_Shape, bytes]] = [(_REQUEST, data)]
    walked = values = 0
    while levels:
        shape, part = levels.pop()
        walked += len(part)
        try:
            node = _outline().FromString(part)
        except DecodeError:  # nor will it be read
            return False
        for name, inner in shape.items():
            within = getattr(node, name)
            values += len(within)
            if values > 2 * most or walked > MOST_WALKED * len(data):
                return True
            levels.extend((inner, one) for one in within)
    return False


@cache
def _outline() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="gha_step/outline.proto", package="gha_step.outline")
    message = file.message_type.add(name="Outline")
    for number in (1, 2, 5, 6):
        message.field.add(name=f"f{number}", number=number, type="TYPE_BYTES", label="LABEL_REPEATED")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("gha_step.outline.Outline"))
