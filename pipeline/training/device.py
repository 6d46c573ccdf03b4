"""Where a training computes and how repeatably: device, threads, deterministic algorithms."""

import os
from typing import Any

import torch


def device() -> torch.device:
    """The first visible CUDA device (``CUDA_VISIBLE_DEVICES`` is respected), otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_threads(count: int) -> None:
    """Let torch compute with ``count`` threads in this process, denormal numbers taken as zero.

    Sums are split by thread, so equal bytes need an equal count; that is why it is a parameter and not the machine's.
    """
    if count < 1:
        raise ValueError(f"threads is {count}; it must be at least 1")
    # Denormal numbers (tiny gradients, and their squares in Adam) slow a CPU down by several times; before the first
    # operation, since the worker threads inherit the setting.
    torch.set_flush_denormal(True)
    torch.set_num_threads(count)


def set_deterministic(strict: bool = True) -> None:
    """Make torch give the same bytes for the same input in this process; call it before the first CUDA operation.

    Args:
        strict: an operation that has no deterministic form raises; False lets it run with a warning.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when its first handle is made
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def to_device(batch: Any, target: torch.device) -> Any:
    """``batch`` with every tensor in its dicts, lists and tuples on ``target``; anything else as it is."""
    if isinstance(batch, torch.Tensor):
        return batch.to(target, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, target) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, target) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, target) for value in batch)
    return batch
