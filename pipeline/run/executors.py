"""Executors of a stage's unit loop: in this process, or in a pool of processes. Results are the same bytes either way."""

import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

from pipeline.run.files import DiskFull
from pipeline.run.process import end_with_parent

Work = Callable[[Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one unit: ``value`` of the function, or the ``cause`` of its failure; CPU seconds it took."""

    index: int
    value: Any = None
    cause: str | None = None
    cpu_s: float = 0.0


def run_units(work: Work, items: Sequence[Any], executor: str, workers: int) -> Generator[Outcome, None, None]:
    """Apply ``work`` to each item and yield the outcomes as they finish.

    An exception of one unit is its cause of failure, and so is the death of its process (``inline`` dies with it); a full
    disk ends everything.

    Args:
        work: a module-level function (it is pickled by name).
        items: one picklable value per unit.
        executor: ``inline`` or ``process``.
        workers: number of processes.

    Raises:
        DiskFull: while a unit was writing.
    """
    if executor == "inline":
        for index, item in enumerate(items):
            yield _attempt(work, index, item)
        return
    waiting = list(range(len(items)))
    while waiting:
        in_flight: set[int] = set()
        try:
            yield from _run_pool(work, items, waiting, workers, in_flight)
        except BrokenProcessPool:
            # A process died (killed, out of memory, crash in a decoder) and took the pool with it. What was in flight
            # gets a process of its own, one after the other, so that only the guilty unit fails.
            for index in sorted(in_flight):
                try:
                    yield from _run_pool(work, items, [index], 1, set())
                except BrokenProcessPool:
                    yield Outcome(index, cause="its process died (killed, out of memory, or a crash in native code)")


def _run_pool(
    work: Work, items: Sequence[Any], waiting: list[int], workers: int, in_flight: set[int]
) -> Generator[Outcome, None, None]:
    """Take indices from the front of ``waiting``; those begun and not yet yielded stand in ``in_flight``."""
    pool = ProcessPoolExecutor(min(workers, len(waiting)), mp_context=get_context("spawn"), initializer=_begin_worker)
    pending: set[Future[Outcome]] = set()
    try:
        while waiting or pending:
            # A short queue: when the stage stops, little is in flight.
            while waiting and len(pending) < workers + 1:
                index = waiting.pop(0)
                in_flight.add(index)
                with _sigint_held():
                    pending.add(pool.submit(_attempt, work, index, items[index]))
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                outcome = future.result()
                in_flight.discard(outcome.index)
                yield outcome
    finally:
        if pending:
            for process in list((pool._processes or {}).values()):
                process.kill()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _sigint_held() -> Iterator[None]:
    # Ctrl-C reaches the whole group; the stage's main process decides, the workers just end with it. A process that is
    # started in here (by submit) inherits the blocked signal, so that it has no moment in which to die of it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["PIPELINE_WORKER"] = "1"
    parent = parent_process()
    end_with_parent(parent.pid if parent else None)


def _attempt(work: Work, index: int, item: Any) -> Outcome:
    start = time.process_time()
    try:
        value = work(item)
    except DiskFull:
        raise
    except Exception as error:
        if os.environ.get("PIPELINE_TRACEBACKS"):
            traceback.print_exc()
        return Outcome(index, cause=f"{type(error).__name__}: {error}", cpu_s=time.process_time() - start)
    return Outcome(index, value=value, cpu_s=time.process_time() - start)
