"""Files: each container is read, and nothing in one can execute."""

import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.checkpoints import FORMATS, CheckpointError, load_checkpoint, save_checkpoint
from models.checkpoints.files import read_tensors
from models.checkpoints.restricted import read_pickle
from models.recogniser import recogniser

ARRAYS = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    np.arange(3, dtype=np.int64),
    np.array(2.5, dtype=np.float64),
    np.zeros((0, 3), dtype=np.float16),
    np.array([True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_come_as_they_are(array: np.ndarray, protocol: int) -> None:
    found = read_pickle(pickle.dumps({"blobs": OrderedDict(a=[array, (1, None, "text")])}, protocol=protocol))
    tensor, rest = found["blobs"]["a"]
    assert rest == (1, None, "text")
    assert tensor.dtype == torch.from_numpy(array.copy()).dtype
    assert torch.equal(tensor, torch.from_numpy(np.ascontiguousarray(array)).view(array.shape))


def python2(value: Any) -> bytes:
    """Protocol 2 as Python 2 wrote it: bytes of an array stand in the file as a plain string."""

    def text(data: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(data)) + data

    shape = b"(" + b"".join(b"K" + bytes([size]) for size in value.shape) + b"t"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1bt" b"R"
        b"(K\1" + shape + b"cnumpy\ndtype\n(U\2f4K\0K\1tR(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        b"\x89" + text(value.tobytes()) + b"tb"
    )  # fmt: skip
    return b"\x80\x02}U\x05blobs}U\x07conv1_w" + array + b"ss."


def test_a_file_of_python_2() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3) * 100
    assert pickle.loads(python2(array), encoding="latin1")["blobs"]["conv1_w"].tolist() == array.tolist()
    assert torch.equal(read_pickle(python2(array))["blobs"]["conv1_w"], torch.from_numpy(array))


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cannot_execute(tmp_path: Path, zipped: bool) -> None:
    trap = tmp_path / "executed"
    content = {"blobs": {"conv1_w": Call(os.mkdir, str(trap))}}
    buffer = io.BytesIO()
    if zipped:
        torch.save(content, buffer)
    else:
        pickle.dump(content, buffer)
    path = tmp_path / "trap.pkl"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"trap\.pkl(.|\n)*nothing was executed(.|\n)*mkdir"):
        load_checkpoint(nn.Linear(1, 1), path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        Call(np.load, "x"),
        Call(eval, "1"),
        Call(bytes, 1 << 20),
        Call(np.frombuffer, b"1234", "f4"),
        np.array([object()], dtype=object),
        np.zeros(2, dtype=">f4"),
        np.zeros(2, dtype=[("a", "f4")]),
        {1, 2},
        print,
    ],
    ids=["load", "eval", "bytes", "frombuffer", "objects", "big-endian", "record", "set", "builtin"],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_anything_but_arrays_and_plain_containers_is_refused(value: Any, protocol: int) -> None:
    if isinstance(value, set) and protocol == 4:
        assert read_pickle(pickle.dumps(value, protocol=4)) == value  # a plain container by then
        return
    with pytest.raises(pickle.UnpicklingError):
        read_pickle(pickle.dumps({"a": value}, protocol=protocol))


def test_a_lying_array_is_refused() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    honest = python2(array)
    for broken in (
        honest.replace(b"(K\2K\3t", b"(K\2K\4t"),
        honest.replace(b"U\2f4", b"U\2f8"),
        honest.replace(b"U\2f4", b"U\2O8"),
        honest[:-20],
        b"",
        b"\x80\x02.",
    ):
        assert broken != honest
        with pytest.raises(pickle.UnpicklingError):
            read_pickle(broken)


@pytest.mark.parametrize("form", ["pyslowfast", "caffe2", "pytorchvideo"])
def test_a_file_we_write_is_a_file_we_read(tmp_path: Path, form: str) -> None:
    from models.encoders.i3d import slow_r50

    torch.manual_seed(0)
    source, target = (recogniser(slow_r50(base_width=8), 5) for _ in range(2))
    path = tmp_path / "weights"
    path.write_bytes(save_checkpoint(source, form))
    loaded = load_checkpoint(target, path)
    assert (loaded.format, loaded.fresh, loaded.not_loaded) == (form, (), ())
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_training_state_around_the_weights_is_no_hindrance(tmp_path: Path) -> None:
    from models.encoders.x3d import small

    torch.manual_seed(0)
    model = recogniser(small(base_width=22), 5)
    content = torch.load(io.BytesIO(save_checkpoint(model, "coarse_fine")), weights_only=True)
    assert list(content) == [FORMATS["coarse_fine"].wrapper]
    path = tmp_path / "fine_039000_SAVE.pt"
    torch.save({"optimizer_state_dict": {"state": {0: torch.zeros(3)}}, "epoch": 3, **content}, path)
    assert load_checkpoint(model, path).format == "coarse_fine"


def test_momentum_of_caffe2_is_named_and_left() -> None:
    from models.encoders.i3d import slow_r50

    model = recogniser(slow_r50(base_width=8), 5)
    content = pickle.loads(save_checkpoint(model, "caffe2"))
    content["blobs"] |= {"conv1_w_momentum": np.zeros(3, np.float32), "model_iter": np.array([3], np.int64)}
    loaded = load_checkpoint(model, pickle.dumps(content, protocol=2))
    assert loaded.not_loaded == ("conv1_w_momentum", "model_iter")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_file_of_weights_is_named() -> None:
    for content, says in (
        (b"", "not a file of plain weights"),
        (b"text", "not a file of plain weights"),
        (pickle.dumps([1]), "holds a list"),
        (pickle.dumps({"epoch": 3}), "holds no tensors; keys: epoch"),
    ):
        with pytest.raises(CheckpointError, match=f"a.pth.*{says}"):
            read_tensors(content, "a.pth")
