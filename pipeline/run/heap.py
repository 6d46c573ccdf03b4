"""Byte strings of an artifact read past HDF5, for readers that take a few rows each of many files.

Opening a file with HDF5 takes about as long as decoding a training clip from it. Where its byte strings lie need be asked
only once (:meth:`pipeline.run.artifacts.Reader.strings`): HDF5 keeps them in "global heaps", and what each heap says of
itself is checked against what was asked for (HDF5 File Format Specification, III.E, and IV.B, variable-length data).
"""

import os
import struct

import numpy as np

REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("object", "<u4")])
"""What stands in place of a byte string in the array of them."""

_HEAP, _OBJECT = struct.Struct("<4sB3xQ"), struct.Struct("<HH4xQ")
_SMALLEST = 4096
"""Bytes of a heap, at least."""


class HeapError(ValueError):
    """A byte string is not where it was."""


def read_string(descriptor: int, reference: tuple[int, int, int]) -> bytes:
    """The byte string that a :data:`REFERENCE` (as a tuple) stands for, of an open file.

    Raises:
        HeapError: it is not there: the file is damaged or another one than the reference is from.
    """
    length, heap, wanted = reference
    if not length:
        return b""
    # Most lie alone or first in their heap: one read.
    block = os.pread(descriptor, max(_SMALLEST, _HEAP.size + _OBJECT.size + length), heap)
    signature, version, size = _HEAP.unpack_from(block) if len(block) >= _HEAP.size else (b"", 0, 0)
    if (signature, version) != (b"GCOL", 1):
        raise HeapError(f"there is no heap of byte strings at byte {heap}")
    at = _HEAP.size
    while at + _OBJECT.size <= size:
        if at + _OBJECT.size > len(block):
            block = os.pread(descriptor, size, heap)
        number, _references, bytes_ = _OBJECT.unpack_from(block.ljust(at + _OBJECT.size, b"\0"), at)
        at += _OBJECT.size
        if number == wanted and bytes_ == length:
            found = block[at : at + length] if at + length <= len(block) else os.pread(descriptor, length, heap + at)
            if len(found) == length:
                return found
        if number in (0, wanted):  # 0 is the free space, the last one
            break
        at += -(-bytes_ // 8) * 8
    raise HeapError(f"there is no byte string {wanted} of {length} bytes in the heap at byte {heap}")
