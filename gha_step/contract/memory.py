"""A memory that cannot grow without bound."""

from collections import OrderedDict
from typing import Final, TypeVar

MOST: Final = 10_000
K = TypeVar("K")
V = TypeVar("V")


class Memory(OrderedDict[K, V]):
    """A dictionary that forgets what was set the longest ago, once it holds more than ``most``."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)
