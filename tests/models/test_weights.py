"""Weights: round trip, same bytes, clear errors, nothing executes."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from models.encoders import build_encoder
from models.weights import WeightsError, load_weights, save_weights


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


def test_round_trip(tmp_path: Path) -> None:
    source, target = (build_encoder("tsm_resnet18", base_width=8) for _ in range(2))
    metadata = {"encoder": "tsm_resnet18", "options": {"base_width": 8}, "epochs": 3}
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(save_weights(source, metadata))
    assert not same(source, target)
    loaded = load_weights(target, path)
    assert same(source, target)
    assert (loaded.format, loaded.metadata, loaded.not_loaded) == ("safetensors", metadata, ())


def test_same_weights_same_bytes_in_any_process(root: Path) -> None:
    code = (
        "import hashlib, torch; from models.heads import build_head; from models.weights import save_weights;"
        "torch.manual_seed(0); m = build_head('recognition', feature_dim=4, classes=2);"
        "print(hashlib.sha256(save_weights(m, {c: c for c in 'hgfedcba'})).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_every_mismatch_is_listed_and_nothing_is_loaded() -> None:
    wanted = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 2)})
    given = nn.ModuleDict({"a": nn.Linear(2, 4), "c": nn.Linear(1, 1, bias=False)})
    before = {key: value.clone() for key, value in wanted.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(wanted, save_weights(given, {}))
    assert str(caught.value).splitlines() == [
        "weights (safetensors) does not fit ModuleDict:",
        "  missing: b.bias [2]",
        "  missing: b.weight [2, 2]",
        "  unexpected: c.weight [1, 1]",
        "  shape: a.bias is [4] in the file, [3] in the model",
        "  shape: a.weight is [4, 2] in the file, [3, 2] in the model",
    ]
    assert all(torch.equal(before[key], value) for key, value in wanted.state_dict().items())


@pytest.mark.parametrize("counters", [True, False])
def test_torchvision_file(tmp_path: Path, counters: bool) -> None:
    reference = torchvision.models.resnet18(weights=None)
    state = {k: v for k, v in reference.state_dict().items() if counters or not k.endswith("num_batches_tracked")}
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    encoder = build_encoder("tsm_resnet18")
    loaded = load_weights(encoder, path)
    assert loaded.format == "torchvision"
    assert loaded.not_loaded == ("fc.bias", "fc.weight")
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in encoder.state_dict().items())
    with pytest.raises(WeightsError, match=r"conv1.weight is \[64, 3, 7, 7\] in the file, \[8, 3, 7, 7\] in the model"):
        load_weights(build_encoder("tsm_resnet18", base_width=8), path)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_cannot_execute(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    zipped, plain = tmp_path / "zipped.pth", tmp_path / "plain.pth"
    torch.save({"conv1.weight": Bomb(trap)}, zipped)
    plain.write_bytes(pickle.dumps({"conv1.weight": Bomb(trap)}))
    for path in (zipped, plain):
        with pytest.raises(WeightsError, match=path.name):
            load_weights(nn.Linear(1, 1), path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x10\0\0\0\0\0\0\0{broken"])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.safetensors"):
        load_weights(nn.Linear(1, 1), path)


def test_other_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(WeightsError, match="holds a list"):
        load_weights(nn.Linear(1, 1), path)
