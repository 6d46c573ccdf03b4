"""HDF5 artifacts: same content same bytes, declarations are held, nobody sees half a file."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.run import kinds
from pipeline.run.artifacts import BYTES, Array, ArtifactError, Kind
from tests.run.tiny_project import clean_environment

KIND = Kind(
    "sample",
    2,
    "",
    {
        "pts": Array("float64", ("frame",), "s", ""),
        "vector": Array("float32", ("frame", "channel"), "1", "", compress=True),
        "box": Array("int16", ("box", "4"), "px", ""),
        "jpeg": Array(BYTES, ("frame",), "bytes", ""),
    },
    {"width": int, "name": str},
)
ATTRIBUTES = {"width": 3, "name": "x"}


def sample(rows: int = 3, **changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    return {
        "pts": np.arange(rows) / 8,
        "vector": rng.standard_normal((rows, 5)).astype(np.float32),
        "box": np.arange(8, dtype=np.int16).reshape(2, 4),
        "jpeg": [rng.bytes(int(size)) for size in rng.integers(0, 50, rows)],
    } | changed


def test_round_trip(tmp_path: Path) -> None:
    KIND.write(tmp_path / "a.h5", sample(), ATTRIBUTES)
    with KIND.open(tmp_path / "a.h5") as reader:
        assert len(reader) == 3
        assert reader.attributes == ATTRIBUTES
        assert reader.rows("pts", slice(1, 3)).tolist() == [0.125, 0.25]
    read = KIND.read(tmp_path / "a.h5")
    for name, value in sample().items():
        if name == "jpeg":
            assert [row.tobytes() for row in read[name]] == value
        else:
            assert np.array_equal(read[name], value)
            assert read[name].dtype == KIND.arrays[name].dtype


@pytest.mark.parametrize("sizes", [[4], [4, 4, 4], [0, 0], [1, 0, 2]], ids=str)
def test_byte_strings_of_any_lengths(tmp_path: Path, sizes: list[int]) -> None:
    jpeg = [bytes(range(size)) for size in sizes]
    KIND.write(tmp_path / "a.h5", sample(len(sizes), jpeg=jpeg), ATTRIBUTES)
    assert [row.tobytes() for row in KIND.read(tmp_path / "a.h5")["jpeg"]] == jpeg


def test_appending_gives_the_rows_in_order(tmp_path: Path) -> None:
    with KIND.writer(tmp_path / "a.h5", {"width": 0, "name": "x"}) as writer:
        writer.append(**sample(2))
        writer.append(**sample(0, box=np.zeros((0, 4))))
        writer.append(**sample(3))
        writer.attributes["width"] = 7
    read = KIND.read(tmp_path / "a.h5")
    assert np.array_equal(read["vector"], np.concatenate([sample(2)["vector"], sample(3)["vector"]]))
    assert len(read["box"]) == 4
    with KIND.open(tmp_path / "a.h5") as reader:
        assert reader.attributes["width"] == 7


def test_an_artifact_may_be_empty(tmp_path: Path) -> None:
    KIND.write(tmp_path / "a.h5", sample(0, vector=np.zeros((0, 5), np.float32), box=np.zeros((0, 4))), ATTRIBUTES)
    assert KIND.read(tmp_path / "a.h5")["vector"].shape == (0, 5)


def test_same_content_same_bytes(tmp_path: Path) -> None:
    KIND.write(tmp_path / "a.h5", sample(), ATTRIBUTES)
    code = (
        "import sys; from pathlib import Path; import tests.run.test_artifacts as t;"
        "t.KIND.write(Path(sys.argv[1]), t.sample(), dict(reversed(t.ATTRIBUTES.items())))"
    )
    environment = clean_environment()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "elsewhere" / "b.h5")], env=environment, check=True)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "elsewhere" / "b.h5").read_bytes()
    KIND.write(tmp_path / "c.h5", sample(pts=np.arange(3) / 9), ATTRIBUTES)
    assert (tmp_path / "a.h5").read_bytes() != (tmp_path / "c.h5").read_bytes()


@pytest.mark.parametrize(
    ("arrays", "attributes", "message"),
    [
        ({"vector": np.zeros((3, 5), complex)}, {}, "sample.vector: got dtype complex128, declared float32"),
        ({"box": np.zeros((2, 4))}, {}, "sample.box: got dtype float64, declared int16"),
        ({"vector": np.zeros(3)}, {}, "sample.vector: got shape (3,), declared dimensions ('frame', 'channel')"),
        ({"vector": np.zeros((2, 5))}, {}, "sample.vector: dimension frame is 2, expected 3"),
        ({"box": np.zeros((2, 5), np.int16)}, {}, "sample.box: dimension 4 is 5, expected 4"),
        ({"extra": [1]}, {}, "arrays ['extra'] do not match the declared ones ['box', 'jpeg', 'pts', 'vector']"),
        ({}, {"height": 4}, "attributes ['height'] do not match the declared ones ['name', 'width']"),
    ],
)
def test_writer_refuses_what_was_not_declared(
    tmp_path: Path, arrays: dict[str, Any], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArtifactError) as refused:
        KIND.write(tmp_path / "a.h5", sample(**arrays), ATTRIBUTES | attributes)
    assert message in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_writer_refuses_rows_of_another_width_and_arrays_never_written(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match=r"sample.vector: rows of shape \(6,\) after \(5,\)"),
        KIND.writer(tmp_path / "a.h5", ATTRIBUTES) as writer,
    ):
        writer.append(**sample())
        writer.append(**sample(vector=np.zeros((3, 6))))
    with (
        pytest.raises(ArtifactError, match="sample: nothing was written to"),
        KIND.writer(tmp_path / "a.h5", ATTRIBUTES),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def change_version(file: h5py.File) -> None:
    file.attrs["version"] = 3


def change_kind(file: h5py.File) -> None:
    file.attrs["kind"] = "other"


def drop_array(file: h5py.File) -> None:
    del file["box"]


def drop_attribute(file: h5py.File) -> None:
    del file.attrs["width"]


def change_dtype(file: h5py.File) -> None:
    dims = file["pts"].attrs["dims"]
    del file["pts"]
    file.create_dataset("pts", data=np.zeros(3, np.float32)).attrs["dims"] = dims


def change_dims(file: h5py.File) -> None:
    file["vector"].attrs["dims"] = ["frame", "class"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_version, "holds kind 'sample' version 3, this reader knows 'sample' version 2"),
        (change_kind, "holds kind 'other' version 2, this reader knows 'sample' version 2"),
        (drop_array, "['box'] missing from this sample artifact"),
        (drop_attribute, "['width'] missing from this sample artifact"),
        (change_dtype, "array 'pts' is float32 ('frame',), declared for sample version 2: float64 ('frame',)"),
        (change_dims, "array 'vector' is float32 ('frame', 'class'), declared"),
    ],
)
def test_reader_refuses_another_declaration(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "a.h5"
    KIND.write(path, sample(), ATTRIBUTES)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(ArtifactError) as refused, KIND.open(path):
        pass
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


def test_reader_names_files_that_are_no_artifacts(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere.h5: there is no such file"):
        KIND.read(tmp_path / "nowhere.h5")
    for content in (b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        (tmp_path / "bad.h5").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"bad.h5: not a readable HDF5 file"):
            KIND.read(tmp_path / "bad.h5")


def test_reader_never_sees_half_a_file_and_an_error_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with KIND.writer(path, ATTRIBUTES) as writer:
        writer.append(**sample())
        assert not path.exists()
    with pytest.raises(RuntimeError), KIND.writer(path, ATTRIBUTES) as writer:
        writer.append(**sample(1))
        assert len(KIND.read(path)["pts"]) == 3
        raise RuntimeError
    assert len(KIND.read(path)["pts"]) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_killed_writer_leaves_nothing_visible(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from pipeline.run.files import atomic_path
from tests.run.test_artifacts import ATTRIBUTES, KIND, sample
folder = Path(sys.argv[1])
with KIND.writer(folder / "a.h5", ATTRIBUTES) as writer, atomic_path(folder / "b.bin") as temp:
    writer.append(**sample())
    temp.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""
    environment = clean_environment()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert all(p.name.startswith(".writing-") for p in tmp_path.iterdir())


def test_a_declaration_tells_every_difference() -> None:
    texts = {kind.declaration() for kind in kinds.ALL.values()}
    assert len(texts) == len(kinds.ALL)
    changed = Kind(KIND.name, KIND.version, "other words", dict(reversed(KIND.arrays.items())), KIND.attributes)
    assert changed.declaration() == KIND.declaration()
    other = Kind(KIND.name, KIND.version, "", KIND.arrays | {"pts": Array("float32", ("frame",), "s", "")}, {})
    assert other.declaration() != KIND.declaration()


@pytest.mark.parametrize("kind", kinds.ALL.values(), ids=kinds.ALL)
def test_every_declared_kind_can_be_written_and_has_time(tmp_path: Path, kind: Kind) -> None:
    assert any(array.unit == "s" for array in kind.arrays.values()), "rows without a time of their own"
    assert all(array.unit for array in kind.arrays.values())
    arrays: dict[str, Any] = {}
    for name, array in kind.arrays.items():
        shape = [int(dim) if dim.isdigit() else 2 for dim in array.dims]
        arrays[name] = [b"x", b"yz"] if array.dtype == BYTES else np.zeros(shape, array.dtype)
    kind.write(tmp_path / "a.h5", arrays, {name: type_(1) for name, type_ in kind.attributes.items()})
    assert set(kind.read(tmp_path / "a.h5")) == set(kind.arrays)


def test_a_second_dtype_is_stored_as_it_comes_and_rows_have_places(tmp_path: Path) -> None:
    kind = Kind("k", 1, "", {"x": Array("float32", ("row", "2"), "1", "", chunk_rows=3, or_dtype="float16")})
    plain = Kind("k", 1, "", {"x": Array("float32", ("row", "2"), "1", "", chunk_rows=3)})
    values = np.arange(16, dtype=np.float16).reshape(8, 2)
    kind.write(tmp_path / "half.h5", {"x": values}, {})
    kind.write(tmp_path / "full.h5", {"x": values.astype(np.float64)}, {})
    assert kind.read(tmp_path / "half.h5")["x"].dtype == np.float16
    assert kind.read(tmp_path / "full.h5")["x"].dtype == np.float32
    assert plain.declaration() == kind.declaration(), "no stage's key changes by it"
    with pytest.raises(ArtifactError, match="array 'x' is float16"):
        plain.read(tmp_path / "half.h5")
    with kind.writer(tmp_path / "both.h5", {}) as writer:
        writer.append(x=values)
        with pytest.raises(ArtifactError, match="rows of float32 after float16"):
            writer.append(x=values.astype(np.float32))
    raw = (tmp_path / "half.h5").read_bytes()
    with kind.open(tmp_path / "half.h5") as reader:
        extents = reader.extents("x")
    assert [(extent.row, extent.rows) for extent in extents] == [(0, 3), (3, 3), (6, 2)]
    for row, rows, offset in extents:
        found = np.frombuffer(raw[offset : offset + 4 * rows], np.float16).reshape(rows, 2)
        np.testing.assert_array_equal(found, values[row : row + rows])
