"""Byte strings read past HDF5 are those that HDF5 reads."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.run.artifacts import BYTES, Array, ArtifactError, Kind
from pipeline.run.heap import HeapError, read_string

KIND = Kind("strings", 1, "", {"t": Array("float64", ("row",), "s", ""), "data": Array(BYTES, ("row",), "bytes", "")})


def write(path: Path, sizes: list[int], at_once: int = 64) -> None:
    rng = np.random.default_rng(0)
    with KIND.writer(path, {}) as writer:
        for start in range(0, max(1, len(sizes)), at_once):
            part = [rng.bytes(size) for size in sizes[start : start + at_once]]
            writer.append(t=np.arange(len(part), dtype=float), data=part)


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [1, 0, 7, 8, 9],
        [5000] * 3,
        [4096 - 32, 4096 - 31, 4096 - 33, 4064, 4072],
        [10] * 700,  # many to a heap
        [30_000, 12, 25_001, 3, 3, 90_000, 700, 4000] * 20,
        np.random.default_rng(1).integers(0, 9000, 600).tolist(),
    ],
)
def test_every_row_is_where_it_is_said_to_be(tmp_path: Path, sizes: list[int]) -> None:
    write(tmp_path / "a.h5", sizes)
    with KIND.open(tmp_path / "a.h5") as reader:
        expected = [row.tobytes() for row in reader["data"]]
        places = reader.strings("data")
    assert [len(row) for row in expected] == sizes
    descriptor = os.open(tmp_path / "a.h5", os.O_RDONLY)
    try:
        assert [read_string(descriptor, place) for place in places.tolist()] == expected
    finally:
        os.close(descriptor)


def test_another_or_damaged_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", [9000, 50, 60])
    with KIND.open(tmp_path / "a.h5") as reader:
        (length, heap, number), *_ = reader.strings("data").tolist()
        with pytest.raises(ArtifactError, match="not an array of byte strings"):
            reader.strings("t")
    descriptor = os.open(tmp_path / "a.h5", os.O_RDWR)
    try:
        for wrong in ((length + 1, heap, number), (length, heap + 8, number), (length, heap, 9), (5, 10**9, 1)):
            with pytest.raises(HeapError):
                read_string(descriptor, wrong)
        os.truncate(descriptor, heap + 4000)
        with pytest.raises(HeapError):
            read_string(descriptor, (length, heap, number))
    finally:
        os.close(descriptor)
