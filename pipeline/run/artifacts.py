"""HDF5 artifacts: kinds are declared once, writers are atomic, readers validate. The only file that names h5py.

One file holds one video's data of one kind. Every kind has time in seconds on its rows (``pts`` or ``t_start`` and
``t_end``), so no reader needs a stride from elsewhere. The bytes depend on the content alone: no clock, host or run id.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from pipeline.run.files import atomic_path
from pipeline.run.heap import REFERENCE

BYTES = "bytes"
"""dtype of an array whose elements are byte strings of any length (encoded pictures)."""

CACHE_BYTES = 2**20
"""Bound on what HDF5 keeps in memory of each array, and of all structure and byte strings, while writing."""

STRUCTURE_BYTES = 2**17
"""More than HDF5 adds to a file in one append beside the data: headers, indexes of chunks, attributes."""

HEAP_BYTES = 4096 + 64
"""More than a byte string takes beside its own bytes: one that does not fit opens a heap of at least 4096 bytes."""


class ArtifactError(ValueError):
    """A file is not an artifact of the expected kind and version, or its content breaks the declaration."""


@dataclass(frozen=True)
class Array:
    """One declared array: numpy dtype name (or ``BYTES``), named dimensions, unit and meaning.

    The first dimension is the one rows are appended along. Sizes of equally named dimensions agree within a file; a
    dimension that is a number has that size. An ``optional`` array may be absent from a file. ``or_dtype`` is a second
    dtype that a file may hold instead: data that comes in it is stored as it is.
    """

    dtype: str
    dims: tuple[str, ...]
    unit: str
    doc: str
    chunk_rows: int = 256
    compress: bool = False
    optional: bool = False
    or_dtype: str = ""  # no part of the declaration in keys: what was written before stays what it was


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: name, version, arrays and attributes (name to Python type)."""

    name: str
    version: int
    doc: str
    arrays: Mapping[str, Array]
    attributes: Mapping[str, type] = field(default_factory=dict)

    def declaration(self) -> str:
        """The declaration as text; part of the work store's key of every stage that reads or writes the kind."""
        arrays = sorted(
            (n, a.dtype, a.dims, a.unit, a.chunk_rows, a.compress, *(("optional",) if a.optional else ()))
            for n, a in self.arrays.items()
        )
        return repr((self.name, self.version, arrays, sorted((n, t.__name__) for n, t in self.attributes.items())))

    @contextmanager
    def writer(self, path: Path, attributes: Mapping[str, Any]) -> Iterator["Writer"]:
        """Open an atomic writer; rows are appended, attributes may be amended until the end.

        Rows go to the disk as they come: memory is that of one append and a few MiB, however many there are.

        Raises:
            ArtifactError: arrays or attributes differ from the declaration.
            DiskFull: the disk has no space left.
        """
        with atomic_path(Path(path)) as temp:
            # HDF5 crashes the process when a disk fills up under it: space is set aside before HDF5 is let to it.
            with open(temp, "wb") as handle:
                _set_aside(handle.fileno(), 0, STRUCTURE_BYTES)
            with h5py.File(str(temp), "w", libver="latest", driver="sec2", rdcc_nbytes=CACHE_BYTES) as file:
                _bound_cache(file)
                yield (writer := Writer(self, file, dict(attributes)))
                size = writer.finish()
            os.truncate(temp, size)  # HDF5 does not know of the space that was reserved ahead

    def write(self, path: Path, arrays: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Write a whole artifact at once. ``arrays``: name to array. Raises as :meth:`writer`."""
        with self.writer(path, attributes) as writer:
            writer.append(**arrays)

    @contextmanager
    def open(self, path: Path) -> Iterator["Reader"]:
        """Open an artifact for reading, lazily; slices are read when asked for.

        Raises:
            ArtifactError: no such file, not HDF5, another kind, an unknown version, or a missing array or attribute.
        """
        with open_any((self,), path) as reader:
            yield reader

    def read(self, path: Path) -> dict[str, np.ndarray]:
        """Read all arrays that the file has into memory. Raises as :meth:`open`."""
        with self.open(path) as reader:
            return {name: reader[name] for name in self.arrays if name in reader}

    def required(self) -> set[str]:
        """Names of the arrays that no file lacks."""
        return {name for name, array in self.arrays.items() if not array.optional}


@contextmanager
def open_any(kinds: Sequence[Kind], path: Path) -> Iterator["Reader"]:
    """Open an artifact of one of several kinds; the reader's ``kind`` tells which. Raises as :meth:`Kind.open`."""
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file ({kinds[0].name} artifact, version {kinds[0].version})")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ArtifactError(f"{path}: not a readable HDF5 file ({error})") from error
    with file:
        yield Reader(next((kind for kind in kinds if kind.name == file.attrs.get("kind")), kinds[0]), file, path)


class Writer:
    """Appends rows to the arrays of one artifact. Made by :meth:`Kind.writer`."""

    def __init__(self, kind: Kind, file: h5py.File, attributes: dict[str, Any]) -> None:
        self.kind = kind
        self.attributes = attributes
        self._file = file
        self._sets: dict[str, h5py.Dataset] = {}
        self._cached: dict[str, int] = {}  # at most so many bytes of an array have no place in the file yet
        self._reserved = 0
        self._reserve(0)

    def append(self, **rows: Any) -> None:
        """Append rows: one value per declared array, each with a leading row dimension.

        Arrays that share their first dimension must bring the same number of rows. Optional arrays may be left out, the
        same ones in every call.
        """
        expected = set(self._sets) if self._sets else self.kind.required() | (set(rows) & set(self.kind.arrays))
        wrong = sorted(set(rows) ^ expected)
        if wrong:
            raise ArtifactError(
                f"{self.kind.name}: arrays {wrong} do not match the declared ones {sorted(self.kind.arrays)}"
            )
        sizes: dict[str, int] = {}
        for name, declared in self.kind.arrays.items():
            if name in rows:
                self._append_one(name, declared, rows[name], sizes)

    def _append_one(self, name: str, declared: Array, value: Any, sizes: dict[str, int]) -> None:
        if declared.dtype == BYTES:
            dtype: Any = h5py.vlen_dtype(np.uint8)
            data: Any = np.empty(len(value), dtype=dtype)
            for index, item in enumerate(value):
                data[index] = np.frombuffer(item, dtype=np.uint8)
        else:
            data = np.asarray(value)
            dtype = np.dtype(declared.or_dtype if data.dtype.name == declared.or_dtype else declared.dtype)
            if data.size and not np.can_cast(data.dtype, dtype, casting="same_kind"):
                raise ArtifactError(f"{self.kind.name}.{name}: got dtype {data.dtype}, declared {declared.dtype}")
            data = data.astype(dtype, copy=False)
        if data.ndim != len(declared.dims):
            raise ArtifactError(f"{self.kind.name}.{name}: got shape {data.shape}, declared dimensions {declared.dims}")
        for dim, size in zip(declared.dims, data.shape, strict=True):
            expected = int(dim) if dim.isdigit() else sizes.setdefault(dim, size)
            if size != expected:
                raise ArtifactError(f"{self.kind.name}.{name}: dimension {dim} is {size}, expected {expected}")
        chunk = (max(1, declared.chunk_rows), *(max(1, s) for s in data.shape[1:]))
        touched = _chunk_bytes(data, chunk, dtype)
        self._reserve(touched + (sum(item.nbytes + HEAP_BYTES for item in data) if declared.dtype == BYTES else 0))
        self._cached[name] = min(CACHE_BYTES, self._cached.get(name, 0) + touched)
        if name not in self._sets:
            self._sets[name] = self._file.create_dataset(
                name,
                shape=(0, *data.shape[1:]),
                maxshape=(None, *data.shape[1:]),
                dtype=dtype,
                chunks=chunk,
                compression="gzip" if declared.compress else None,
                compression_opts=1 if declared.compress else None,
                shuffle=declared.compress,
            )
            self._sets[name].attrs["dims"] = list(declared.dims)
            self._sets[name].attrs["unit"] = declared.unit
        target = self._sets[name]
        if dtype != target.dtype and declared.or_dtype:
            raise ArtifactError(f"{self.kind.name}.{name}: rows of {dtype} after {target.dtype}")
        if data.shape[1:] != target.shape[1:]:
            raise ArtifactError(f"{self.kind.name}.{name}: rows of shape {data.shape[1:]} after {target.shape[1:]}")
        start = target.shape[0]
        target.resize(start + len(data), axis=0)
        if declared.dtype == BYTES and len(data):
            # Past h5py's indexing, which takes rows that happen to be equally long for a matrix and refuses them.
            rows = target.id.get_space()
            rows.select_hyperslab((start,), (len(data),))
            target.id.write(h5py.h5s.create_simple((len(data),)), rows, data, h5py.h5t.py_create(dtype))
        elif len(data):
            target[start:] = data

    def _reserve(self, more: int) -> None:
        """Have the disk set aside ``more`` bytes beyond what HDF5 uses so far, before HDF5 writes them."""
        needed = self._file.id.get_filesize() + sum(self._cached.values()) + STRUCTURE_BYTES + more
        if needed > self._reserved:
            # Only what is new: where there is too little, tmpfs takes back all of the range that is not written yet.
            _set_aside(self._file.id.get_vfd_handle(), self._reserved, needed - self._reserved)
            self._reserved = needed

    def finish(self) -> int:
        """Write the attributes and flush; returns the file's size. Called at the end of :meth:`Kind.writer`."""
        missing = sorted(self.kind.required() - set(self._sets))
        if missing:
            raise ArtifactError(f"{self.kind.name}: nothing was written to {missing}")
        wrong = sorted(set(self.attributes) ^ set(self.kind.attributes))
        if wrong:
            raise ArtifactError(
                f"{self.kind.name}: attributes {wrong} do not match the declared ones {sorted(self.kind.attributes)}"
            )
        self._reserve(4 * sum(len(str(value)) for value in self.attributes.values()))
        self._file.attrs["kind"] = self.kind.name
        self._file.attrs["version"] = self.kind.version
        for name, type_ in sorted(self.kind.attributes.items()):
            self._file.attrs[name] = type_(self.attributes[name])
        self._file.flush()
        return int(self._file.id.get_filesize())


def _set_aside(descriptor: int, offset: int, length: int) -> None:
    """Reserve space on the disk for a part of a file that holds nothing yet. Raises OSError where there is too little."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, length)
    else:  # macOS
        for at in range(offset, offset + length, 2**20):
            os.pwrite(descriptor, bytes(min(2**20, offset + length - at)), at)


def _bound_cache(file: h5py.File) -> None:
    """HDF5 keeps byte strings in its cache of metadata, which may grow to 32 MiB; see to it that it does not."""
    config = file.id.get_mdc_config()
    config.set_initial_size, config.initial_size = True, CACHE_BYTES
    config.min_size = config.max_size = CACHE_BYTES
    file.id.set_mdc_config(config)


def _chunk_bytes(data: np.ndarray, chunk: tuple[int, ...], dtype: np.dtype) -> int:
    """At most what the chunks take on the disk that an append of ``data`` touches."""
    chunks = len(data) // chunk[0] + 2
    one = int(np.prod(chunk)) * dtype.itemsize
    return chunks * (one + one // 1000 + 64)  # random bytes grow by a little when they are compressed


class Extent(NamedTuple):
    """A run of rows that lie one after another in the file: its first row, how many, and the byte where it starts."""

    row: int
    rows: int
    offset: int


class Reader:
    """An opened artifact: ``reader[name]`` reads an array, ``reader.rows(name, slice)`` a part of one."""

    def __init__(self, kind: Kind, file: h5py.File, path: Path) -> None:
        attributes = file.attrs  # a new object each time that it is asked for
        found = (attributes.get("kind"), int(attributes.get("version", -1)))
        if found != (kind.name, kind.version):
            raise ArtifactError(
                f"{path}: holds kind {found[0]!r} version {found[1]}, "
                f"this reader knows {kind.name!r} version {kind.version}; run the stage that writes it again"
            )
        missing = [n for n in kind.arrays if n in kind.required() and n not in file]
        missing += [n for n in kind.attributes if n not in attributes]
        if missing:
            raise ArtifactError(f"{path}: {missing} missing from this {kind.name} artifact")
        # Opened once: opening a data set takes h5py as long as reading a picture from it.
        self._sets = {name: file[name] for name in kind.arrays if name in file}
        for name, data in self._sets.items():
            declared = kind.arrays[name]
            found_as = (_dtype_name(data), tuple(data.attrs.get("dims", ())))
            if found_as not in ((declared.dtype, declared.dims), (declared.or_dtype, declared.dims)):
                raise ArtifactError(
                    f"{path}: array {name!r} is {found_as[0]} {found_as[1]}, "
                    f"declared for {kind.name} version {kind.version}: {declared.dtype} {declared.dims}"
                )
        self.kind = kind
        self._path = path
        self.attributes: dict[str, Any] = {n: t(attributes[n]) for n, t in kind.attributes.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.rows(name, slice(None))

    def __contains__(self, name: object) -> bool:
        """Whether the file has this array."""
        return name in self._sets

    def rows(self, name: str, index: slice | np.ndarray) -> np.ndarray:
        """Read rows of one array; byte strings come as an object array of uint8 arrays.

        Raises:
            ArtifactError: an optional array that this file was written without.
        """
        if name not in self._sets:
            raise ArtifactError(f"{self._path}: written without {name!r}; it has {sorted(self._sets)}")
        return np.asarray(self._sets[name][index])

    def extents(self, name: str) -> list[Extent]:
        """Where the rows of an uncompressed array lie in the file, in order, for readers that take a few of many files.

        Raises:
            ArtifactError: the array is compressed, or its rows are not of one size.
        """
        declared, data = self.kind.arrays[name], self._sets[name]
        if declared.compress or declared.dtype == BYTES:
            raise ArtifactError(f"{self.kind.name}.{name}: only plain arrays of numbers have places in the file")
        chunks: list[Any] = []
        data.id.chunk_iter(chunks.append)
        return [
            Extent(chunk.chunk_offset[0], min(data.chunks[0], len(data) - chunk.chunk_offset[0]), chunk.byte_offset)
            for chunk in sorted(chunks, key=lambda chunk: chunk.chunk_offset[0])
        ]

    def strings(self, name: str) -> np.ndarray:
        """Where the rows of an array of byte strings lie in the file: [N] of :data:`pipeline.run.heap.REFERENCE`.

        Raises:
            ArtifactError: it is not one of byte strings.
        """
        if self.kind.arrays[name].dtype != BYTES:
            raise ArtifactError(f"{self.kind.name}.{name}: not an array of byte strings")
        data = self._sets[name]
        chunks = [data.id.read_direct_chunk((start,))[1] for start in range(0, len(data), data.chunks[0])]
        return np.frombuffer(b"".join(chunks), REFERENCE)[: len(data)]

    def __len__(self) -> int:
        """Number of rows of the first declared array."""
        return int(self._sets[next(iter(self.kind.arrays))].shape[0])


def _dtype_name(data: h5py.Dataset) -> str:
    return BYTES if h5py.check_vlen_dtype(data.dtype) == np.uint8 else str(data.dtype)
