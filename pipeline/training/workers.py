"""Batches made by several processes ahead of the training, straight into memory that they share with it.

What a batch holds stays a pure function of (step, item), so the number of processes changes no byte, and a resumed training
sees what it would have seen. Nothing is pickled but numbers: the processes are forked, know the data of their parent and
fill its buffers in place. Those are anonymous shared memory, which is not bounded by the size of /dev/shm.
"""

import math
import mmap
import multiprocessing
import queue
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

Fill = Callable[[int, int, np.ndarray], None]
"""(step, item, out) writes item ``item`` of the batch of ``step`` into ``out``, uint8 of the batch's shape but the first."""

_LOOK_S = 5.0


class WorkerBatches:
    """Callable of a step, as :func:`pipeline.training.loop.train` takes it; steps must come one after the other.

    Args:
        fill: see :data:`Fill`. It is called in forked processes: no CUDA, no torch, no global random state.
        shape: of the batch of a step, its first dimension the items; it may change from step to step (LoFi's cycle).
        largest: bytes of the largest batch.
        workers: processes.
        ahead: batches that are being made at a time.

    A batch, uint8, stays what it is until the second call after it. Use it as a context: the processes end with it.

    Raises:
        ValueError: a step out of turn, or a batch beyond ``largest``.
        RuntimeError: ``fill`` failed, or a process died; the cause is in the text.
    """

    def __init__(
        self, fill: Fill, shape: Callable[[int], tuple[int, ...]], largest: int, *, workers: int, ahead: int = 2
    ) -> None:
        if workers < 1 or ahead < 1:
            raise ValueError(f"workers is {workers} and ahead {ahead}; both must be at least 1")
        self._shape, self._ahead = shape, ahead
        self._slots = [np.frombuffer(mmap.mmap(-1, largest), np.uint8) for _ in range(ahead + 1)]
        self._asked: int | None = None  # the step after the last that was handed to the processes
        self._next: int | None = None
        self._left: dict[int, int] = {}
        context = multiprocessing.get_context("fork")
        self._tasks: Any = context.Queue()
        self._done: Any = context.Queue()
        arguments = (fill, shape, self._slots, self._tasks, self._done)
        self._processes = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(workers)]
        for process in self._processes:
            process.start()

    @property
    def buffers(self) -> list[np.ndarray]:
        """The memory that batches are views of, to be pinned by who copies from it to a GPU."""
        return self._slots

    def __call__(self, step: int) -> np.ndarray:
        """The batch of ``step``."""
        if self._next is None:
            self._asked = self._next = step
        if step != self._next or self._asked is None:
            raise ValueError(f"step {step} was asked for after {self._next - 1}; they come one after the other")
        while self._asked < step + self._ahead:
            items = self._view(self._asked).shape[0]
            self._left[self._asked] = items
            for item in range(items):
                self._tasks.put((self._asked, item))
            self._asked += 1
        while self._left[step]:
            self._collect()
        del self._left[step]
        self._next = step + 1
        return self._view(step)

    def _view(self, step: int) -> np.ndarray:
        return _view(self._slots, self._shape(step), step)

    def _collect(self) -> None:
        try:
            step, cause = self._done.get(timeout=_LOOK_S)
        except queue.Empty:
            dead = [process for process in self._processes if not process.is_alive()]
            if dead:
                raise RuntimeError(f"{len(dead)} of {len(self._processes)} processes that make batches died") from None
            return
        if cause is not None:
            raise RuntimeError(f"the batch of step {step} could not be made: {cause}")
        self._left[step] -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()


def _view(slots: list[np.ndarray], shape: tuple[int, ...], step: int) -> np.ndarray:
    size = math.prod(shape)
    if size > len(slots[0]):
        raise ValueError(f"the batch of step {step} has {size} bytes, more than largest = {len(slots[0])}")
    return slots[step % len(slots)][:size].reshape(shape)


def _work(fill: Fill, shape: Callable[[int], tuple[int, ...]], slots: list[np.ndarray], tasks: Any, done: Any) -> None:
    while True:
        step, item = tasks.get()
        try:
            fill(step, item, _view(slots, shape(step), step)[item])
            done.put((step, None))
        except Exception as error:  # whatever it was, the parent has to say it
            done.put((step, f"item {item}: {type(error).__name__}: {error}"))
