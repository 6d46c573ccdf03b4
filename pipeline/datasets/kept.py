"""Arrays that are kept in memory up to a bound: what readers of stored videos unpack, decode or compute once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)


class Kept(Generic[Key]):
    """Arrays by key; the least recently used go first when all together are larger than ``capacity_bytes``."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._arrays: OrderedDict[Key, np.ndarray] = OrderedDict()
        self._held = 0

    @property
    def held_bytes(self) -> int:
        """Size of all that is kept."""
        return self._held

    def take(self, keys: Iterable[Key], make: Callable[[Sequence[Key]], Iterator[np.ndarray]]) -> dict[Key, np.ndarray]:
        """The arrays of ``keys``; ``make`` yields those that are not kept, in the order of the keys that it is given."""
        keys = list(dict.fromkeys(keys))
        missing = [key for key in keys if key not in self._arrays]
        if missing:
            for key, array in zip(missing, make(missing), strict=True):
                self._arrays[key] = array
                self._held += array.nbytes
        found = {}
        for key in keys:
            found[key] = self._arrays[key]
            self._arrays.move_to_end(key)
        while self._held > self._capacity:
            self._held -= self._arrays.popitem(last=False)[1].nbytes
        return found
