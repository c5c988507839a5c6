"""How many values a message holds, before any is made: two bytes on the wire become a hundred in memory.

The fields are counted as they lie in the bytes, and no further than there may be.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from typing import Final, TypeAlias

FIELDS: Final = 4  # of a value, in an object: the entry, its key, its value and what that is
_Shape: TypeAlias = "dict[int, _Shape]"  # which fields hold further ones
_VALUE: Final[_Shape] = {}
_STRUCT: Final[_Shape] = {1: {2: _VALUE}}
_VALUE.update({5: _STRUCT, 6: {1: _VALUE}})
_REQUEST: Final[_Shape] = {1: {6: _STRUCT}, 2: {2: _STRUCT}}  # ExecuteRequest and RunRequest
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def has_more_values(data: bytes, most: int) -> bool:
    """Whether a request holds more fields than so many values have. What is malformed is not looked into further."""
    left = FIELDS * most
    levels: list[tuple[_Shape, int, int]] = [(_REQUEST, 0, len(data))]
    try:
        while levels:
            shape, at, end = levels.pop()
            while at < end:
                left -= 1
                if left < 0:
                    return True
                tag, at = data[at], at + 1
                if tag > 127:
                    tag, at = _varint(data, at - 1)
                kind = tag & 7
                if kind == _BYTES:
                    size, at = data[at], at + 1
                    if size > 127:
                        size, at = _varint(data, at - 1)
                    if size and (inner := shape.get(tag >> 3)) is not None:
                        levels.append((inner, at, at + size))
                    at += size
                elif kind == _VARINT:
                    at = _varint(data, at)[1]
                else:
                    at += {_EIGHT: 8, _FOUR: 4}.get(kind, 0)
    except IndexError:
        return False
    return False


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends. :raises IndexError: it does not end."""
    byte = data[at]
    at += 1
    if byte < 128:
        return byte, at
    number, shift = byte & 127, 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128 or shift > 63:
            return number, at
        shift += 7
