"""A memory that cannot grow without bound."""

from collections import OrderedDict
from typing import Any, Final

_REMEMBERED: Final = 10_000


class Memory(OrderedDict[str, Any]):
    """A dictionary that forgets its oldest entry."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > _REMEMBERED:
            self.popitem(last=False)
