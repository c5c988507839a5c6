"""A cache with a bounded number of entries and bytes."""

from collections import OrderedDict
from collections.abc import Callable
from sys import getsizeof
from typing import Any, Final, TypeVar

MOST: Final = 10_000
ROOM: Final = 8 << 20  # bytes
LARGEST: Final = 16  # an entry that takes more than the room's 16th is not kept: it would cost others theirs
_VALUES: Final = 100_000  # that are looked at to weigh one entry
K = TypeVar("K")
V = TypeVar("V")


class Memory(OrderedDict[K, V]):
    """A dictionary that forgets what was set the longest ago, once it holds more than ``most``, or than ``room`` bytes.

    What changes after it was set is weighed anew when it is set again.

    :param weigh: how many bytes a value takes; its key takes more.
    """

    def __init__(self, most: int = MOST, room: int = ROOM, weigh: "Callable[[V], int] | None" = None) -> None:
        super().__init__()
        self._weigh = weigh or weight
        self._most = most
        self._room = room
        self._sizes: dict[K, int] = {}
        self.size = 0

    def __setitem__(self, key: K, value: V) -> None:
        size = (getsizeof(key) if type(key) is str else weight(key)) + self._weigh(value)
        if size > self._room // LARGEST:
            self.pop(key, None)
            return
        super().__setitem__(key, value)
        self.move_to_end(key)
        self.size += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        while len(self) > self._most or self.size > self._room:
            del self[next(iter(self))]

    def __delitem__(self, key: K) -> None:
        super().__delitem__(key)
        self.size -= self._sizes.pop(key)

    def pop(self, key: K, default: Any = None) -> Any:
        """The value, which is forgotten; ``default`` if there is none."""
        if key not in self:
            return default
        value = self[key]
        del self[key]
        return value

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value, which is ``default`` if there was none."""
        if key not in self:
            self[key] = default
            return default
        return self[key]

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._sizes.clear()
        self.size = 0


def weight(value: object) -> int:
    """About how many bytes a value takes, with all that it refers to."""
    total, left, values = 0, _VALUES, [value]
    while values and left:
        one = values.pop()
        left -= 1
        kind = type(one)
        if kind is str or kind is bytes or kind is int:
            total += getsizeof(one)
        elif kind is dict:
            total += getsizeof(one)
            values += one.keys()  # type: ignore[attr-defined]
            values += one.values()  # type: ignore[attr-defined]
        elif kind is tuple or kind is list or kind is frozenset or kind is set:
            total += getsizeof(one)
            values += one  # type: ignore[arg-type]
        else:
            inner = getattr(one, "__dict__", None)
            if isinstance(one, tuple):  # one with names
                values += one
            elif type(inner) is dict:
                total += 64 + getsizeof(inner)
                values += inner.values()
            else:
                total += 32
    return total
