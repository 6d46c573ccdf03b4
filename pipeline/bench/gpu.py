"""What the GPU benchmarks share: parts that fit a time limit, and time, memory and busy share of a piece of work.

They need torch and what the models need, so they run on a bare GPU machine; with ``toy`` the same code runs at sizes that a
CPU can do, to see that it works. Figures of a toy mean nothing and are not kept unless a folder is named.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from pipeline.training.device import device, set_threads
from pipeline.training.memory import measured_peak

Row = dict[str, Any]

LIMIT_S = 480.0
"""Of a part: what is not begun by then is listed as not measured, so that a lease of ten minutes brings home the rest."""


def hardware(where: torch.device) -> dict[str, Any]:
    """What it runs on: names and versions that decide a figure."""
    if where.type == "cuda":
        found = torch.cuda.get_device_properties(where)
        kind = {
            "device": found.name,
            "device_memory_GiB": round(found.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
        }
    else:
        kind = {"device": f"cpu, 1 thread of {os.cpu_count()} x {platform.machine()}"}
    return kind | {"torch": torch.__version__, "python": platform.python_version()}


def chosen(parts: Mapping[str, Any], part: str | None) -> list[str]:
    """Names of the parts to run: one, or all in order.

    Raises:
        ValueError: there is no such part; the message lists those there are.
    """
    if part is not None and part not in parts:
        raise ValueError(f"part is {part!r}; allowed: {', '.join(parts)}")
    return list(parts) if part is None else [part]


def target(toy: bool) -> torch.device:
    """The GPU; with ``toy`` the CPU, one thread.

    Raises:
        ValueError: there is no GPU, and no toy was asked for.
    """
    if toy:
        set_threads(1)
        return torch.device("cpu")
    if device().type != "cuda":
        raise ValueError("this benchmark needs a GPU; --toy runs it at toy size on the CPU")
    return device()


def within(names: Iterable[Any], not_measured: list[Any], limit_s: float = LIMIT_S) -> Iterator[Any]:
    """``names`` one after the other while less than ``limit_s`` seconds have gone; the others into ``not_measured``."""
    start = time.monotonic()
    for name in names:
        if time.monotonic() - start < limit_s:
            yield name
        else:
            not_measured.append(name)


def autocast(where: torch.device, precision: str) -> AbstractContextManager[Any]:
    """``float32``, or autocast to ``bf16``.

    Raises:
        ValueError: another precision.
    """
    if precision not in ("float32", "bf16"):
        raise ValueError(f"precision is {precision!r}; allowed: float32, bf16")
    return torch.autocast(where.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def measured(action: Callable[[], Any], where: torch.device, rounds: int) -> Row:
    """Time, memory and busy share of ``action``, after two runs that do not count.

    Returns:
        ``s`` (median of the rounds, waited for), ``s_quartiles``, ``peak_MiB`` above what was allocated before, and
        ``busy``: share of the time in which the device computed; on a CPU this process's share of one core.
    """
    for _ in range(2):
        action()
    seconds = [_seconds(action, where) for _ in range(rounds)]
    low, middle, high = statistics.quantiles(seconds, n=4) if rounds > 1 else [seconds[0]] * 3
    return {
        "s": round(middle, 6),
        "s_quartiles": [round(low, 6), round(high, 6)],
        "peak_MiB": round(measured_peak(action, where) / 2**20, 1),
        "busy": round(busy(action, where), 3),
    }


def busy(action: Callable[[], Any], where: torch.device) -> float:
    """Share of one run's time in which the device computed (any kernel running), 0..1."""
    if where.type == "cpu":
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        return min((time.process_time() - cpu) / (time.perf_counter() - wall), 1.0)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        taken = _seconds(action, where)
    spans = [(e.time_range.start, e.time_range.end) for e in profiler.events() if e.device_type == DeviceType.CUDA]
    return min(covered(spans) / 1e6 / taken, 1.0)


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of ``spans`` (begin, end)."""
    total, reached = 0.0, -float("inf")
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


@contextmanager
def failure_in(row: Row) -> Iterator[None]:
    """Inside, too little memory or a form that does not compile is a finding, noted in ``row`` as ``failed``."""
    try:
        yield
    except RuntimeError as error:  # the class of torch's own errors, out of memory among them
        row["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _seconds(action: Callable[[], Any], where: torch.device) -> float:
    _wait(where)
    start = time.perf_counter()
    action()
    _wait(where)
    return time.perf_counter() - start


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize(where)
