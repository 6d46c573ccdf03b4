"""CPU seconds of an action: this process's, so that what else runs on the machine counts little."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def cpu_seconds(action: Callable[[], Any]) -> float:
    """Of one run."""
    start = time.process_time()
    action()
    return time.process_time() - start


def device_seconds(action: Callable[[], Any], kind: str) -> float:
    """Of one run on a device of this kind: CPU seconds on ``cpu``, the clock's on ``cuda``, waited for."""
    if kind == "cpu":
        return cpu_seconds(action)
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def median_seconds(action: Callable[[], Any], runs: int = 5) -> float:
    """Median of several runs, after one that is not counted."""
    action()
    return statistics.median(cpu_seconds(action) for _ in range(runs))


def alternating_seconds(
    actions: Mapping[str, Callable[[], Any]], runs: int = 3, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Medians of several runs of each action, in turn, so that what changes on the machine meets all; one warms up."""
    return {name: seconds for name, (seconds,) in alternating_clocks(actions, (clock,), runs).items()}


def alternating_clocks(
    actions: Mapping[str, Callable[[], Any]],
    clocks: Sequence[Callable[[], float]],
    runs: int = 3,
    before: Callable[[], Any] = lambda: None,
) -> dict[str, tuple[float, ...]]:
    """The same by several clocks of the same runs; ``before`` is called before each run and not measured."""
    spent: dict[str, list[list[float]]] = {name: [] for name in actions}
    for _ in range(runs + 1):
        for name, action in actions.items():
            before()
            start = [clock() for clock in clocks]
            action()
            spent[name].append([clock() - begun for clock, begun in zip(clocks, start, strict=True)])
    return {name: tuple(map(statistics.median, zip(*rows[1:], strict=True))) for name, rows in spent.items()}


def cpu_with_children() -> float:
    """A clock of CPU seconds: this process's and those of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
