"""Peak memory of a computation: measured by the allocator, or traced with fake tensors without computing anything."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def measured_peak(action: Callable[[], Any], device: torch.device) -> int:
    """Bytes that ``action`` needs at most, above what is allocated when it starts.

    By ``torch.cuda.max_memory_allocated`` on a GPU (tensors and library workspace, not the cache around them), by the
    allocator's own events on a CPU; either way everything that torch allocates, inside operators too. The action is run
    once; a result that it returns counts until it is dropped here.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        action()
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


Workspace = Callable[[Any, Sequence[Any], Any], int]
"""(operator, its arguments, its result) to the bytes that it allocates inside and frees before it returns."""


def cpu_workspace(operator: Any, arguments: Sequence[Any], result: Any) -> int:
    """What torch's CPU operators allocate inside, measured one by one on channels-last input (oneDNN, float32).

    A convolution copies its kernel to channels-last and on to oneDNN's blocked form: twice the kernel forward, three times
    backward (the kernel's gradient comes blocked as well), and one copy less for a 1x1 kernel, which is in either order
    at once. The backward pass of a batch normalisation copies the gradient once.
    """
    name = operator.overloadpacket.__name__
    if name in ("convolution", "convolution_backward"):
        kernel = arguments[2 if name == "convolution_backward" else 1]
        copies = (3 if name == "convolution_backward" else 2) - (kernel[0, 0].numel() == 1)
        return int(copies * kernel.numel() * kernel.element_size())
    if name == "native_batch_norm_backward":
        return int(result[0].numel() * result[0].element_size())
    return 0


class TracedMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the live bytes of all tensors that are made under it; with fake tensors nothing is allocated or computed.

    Python and autograd free a fake tensor exactly when they would free a real one, so a forward and backward pass under
    ``FakeTensorMode`` shows its true course of memory, but for what operators allocate inside: that is ``workspace``.

    Attributes:
        live: bytes now.
        peak: most bytes so far.
        largest: bytes of the largest tensor so far.
    """

    def __init__(self, workspace: Workspace | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = self.largest = 0
        self._workspace = workspace
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator and count what it made."""
        result = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self._counted:  # no view, nothing in place
                    self._counted.add(storage._cdata)
                    self.live += storage.nbytes()
                    self.largest = max(self.largest, storage.nbytes())
                    weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        inside = self._workspace(func, args, result) if self._workspace is not None else 0
        self.peak = max(self.peak, self.live + inside)
        return result

    def _freed(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self.live -= size
