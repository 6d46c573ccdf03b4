"""Files of videos by id: which there are, and that few are open: clips come back to a file soon, and opening one costs."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pipeline.datasets.schema import file_stem

OPEN_FILES = 16
"""Files that a store keeps open."""

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


def stored_files(folder: Path, ids: Iterable[str]) -> dict[str, Path]:
    """The artifacts ``<folder>/<file stem of the id>.h5`` that exist; a video that failed has none."""
    paths = {id_: Path(folder) / f"{file_stem(id_)}.h5" for id_ in ids}
    return {id_: path for id_, path in paths.items() if path.is_file()}


class Store(ABC, Generic[T]):
    """Files by video id, each opened when it is first asked for; those used last stay open.

    Pickling carries the arguments only, so a worker process starts with nothing open and an empty memory. Not for several
    threads at once.

    Args:
        paths: file of each video id.
        arguments: the others that the subclass was made with, in its order.
        open_files: bound on the files that are open at a time.
    """

    holds: ClassVar[str]
    """What is in a file, in words."""

    def __init__(self, paths: Mapping[str, Path], *arguments: Any, open_files: int = OPEN_FILES) -> None:
        self._paths = dict(paths)
        self._arguments = arguments
        self._opened = Opened(self._open_id, open_files)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._paths

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._paths, *self._arguments)

    def close(self) -> None:
        """Close the files; what was read stays."""
        self._opened.close()

    @abstractmethod
    def _open(self, id_: str, path: Path) -> AbstractContextManager[T]:
        """Open the file of a video."""

    def _open_id(self, id_: str) -> AbstractContextManager[T]:
        if id_ not in self._paths:
            raise KeyError(f"no {self.holds} of video {id_!r}; there are {len(self._paths)} videos")
        return self._open(id_, self._paths[id_])
