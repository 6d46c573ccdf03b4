"""CPU seconds of an action: this process's, so that what else runs on the machine counts little."""

import statistics
import time
from collections.abc import Callable
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
