"""A bounded number of opened files by id: random clips come back to a file before long, and opening one costs."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Generic, TypeVar

T = TypeVar("T")


class Opened(Generic[T]):
    """Calls ``open_(id)`` for what is not open, keeps ``most`` of them and closes the least recently used first."""

    def __init__(self, open_: Callable[[str], AbstractContextManager[T]], most: int) -> None:
        self._open = open_
        self._most = most
        self._held: OrderedDict[str, tuple[ExitStack, T]] = OrderedDict()

    def __getitem__(self, id_: str) -> T:
        if id_ not in self._held:
            while len(self._held) >= self._most:
                self._held.popitem(last=False)[1][0].close()
            stack = ExitStack()
            self._held[id_] = stack, stack.enter_context(self._open(id_))
        self._held.move_to_end(id_)
        return self._held[id_][1]

    def close(self) -> None:
        """Close all of them."""
        while self._held:
            self._held.popitem()[1][0].close()
