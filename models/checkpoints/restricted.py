"""A reader of old pickle files (Caffe2 ``.pkl``) that admits arrays and plain containers, and can run nothing else.

Not even numpy's own constructors are called: the few names that a pickled array needs stand for records of this module,
which are turned into tensors once the file has been read.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

# Element types of weights, by numpy's code for them; all are stored little-endian.
_TYPES = {
    "f2": torch.float16, "f4": torch.float32, "f8": torch.float64, "i1": torch.int8, "u1": torch.uint8,
    "i2": torch.int16, "i4": torch.int32, "i8": torch.int64, "b1": torch.bool,
}  # fmt: skip


class _Type:
    """``numpy.dtype``."""

    def __init__(self, code: str = "", *_: Any) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if isinstance(state, tuple) and len(state) > 1 else "?"


class _Array:
    """``numpy.ndarray``, filled by the state that follows it in the file."""

    def __init__(self, *_: Any) -> None:
        self.tensor: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array with a state of another form than numpy's")
        _, shape, dtype, column_major, data = state
        self.tensor = _tensor(shape, dtype, data, bool(column_major))


def _tensor(shape: Any, dtype: Any, data: Any, column_major: bool = False) -> Tensor:
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Type) or dtype.code not in _TYPES or dtype.order not in ("<", "|"):
        code = f"{dtype.order}{dtype.code}" if isinstance(dtype, _Type) else type(dtype).__name__
        raise pickle.UnpicklingError(f"an array of type {code!r}; allowed, little-endian: {', '.join(_TYPES)}")
    if not isinstance(raw, bytes) or not isinstance(shape, tuple) or not all(isinstance(size, int) for size in shape):
        raise pickle.UnpicklingError("an array without bytes or shape")
    kind = _TYPES[dtype.code]
    if min(shape, default=0) < 0 or len(raw) != prod(shape) * kind.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {list(shape)} with {len(raw)} bytes")
    if not raw:
        return torch.empty(shape, dtype=kind)
    flat = torch.frombuffer(bytearray(raw), dtype=kind)
    return (
        flat.view(shape[::-1]).permute(*reversed(range(len(shape)))).contiguous() if column_major else flat.view(shape)
    )


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """``_codecs.encode``, by which protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _tensor((), dtype, data).item()


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    **{(module, "bytes"): lambda: b"" for module in ("__builtin__", "builtins")},  # how empty bytes are written
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, only arrays and plain containers are admitted")
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(data: bytes) -> Any:
    """The content of a pickle file, arrays as tensors.

    Raises:
        pickle.UnpicklingError: not a pickle, or anything in it but arrays, numbers, text and plain containers.
    """
    try:
        return _resolved(_Reader(io.BytesIO(data), encoding="latin1").load())
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a broken file can make the reader fail in any way
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


def _resolved(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.tensor is None:
            raise pickle.UnpicklingError("an array without content")
        return value.tensor
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolved(item) for item in value)
    return value
