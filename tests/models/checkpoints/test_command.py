"""``python -m pipeline weights``, from a public file to ours and back."""

from pathlib import Path

import pytest
import torch

from models.encoders import build_encoder
from models.weights import save_weights
from pipeline.cli import main
from tests.models.checkpoints.filled import filled, key_list


def weights(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["weights", *map(str, arguments)])
    if ended.value.code:
        raise RuntimeError(ended.value.code)


def test_public_to_ours_and_to_another_public_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public, ours, other = tmp_path / "X3D_S.pyth", tmp_path / "x3d.safetensors", tmp_path / "x3d_mm.pth"
    state = filled(key_list("pytorchvideo", "x3d_s"))
    torch.save({"model_state": state}, public)
    weights(public, "--model", "x3d_s", "--to", "safetensors", "--out", ours)
    said = capsys.readouterr().out
    assert "PyTorchVideo, 568 tensors loaded into x3d_s" in said
    assert "563 keys" in said
    weights(ours, "--to", "mmaction2", "--out", other)
    assert "ours, classes 400, model x3d_s" in capsys.readouterr().out
    found = torch.load(other, weights_only=True)["state_dict"]
    assert {key: list(value.shape) for key, value in found.items()} == key_list("mmaction2", "x3d_m")
    assert torch.equal(found["backbone.conv1_s.conv.weight"], state["blocks.0.conv.conv_t.weight"])


def test_an_encoder_of_a_stage_becomes_a_public_file(tmp_path: Path) -> None:
    encoder = build_encoder("tsm_resnet18", base_width=8)
    path, out = tmp_path / "encoder.safetensors", tmp_path / "resnet18.pth"
    path.write_bytes(save_weights(encoder, {"name": "tsm_resnet18", "base_width": 8, "frames": 8}))
    weights(path, "--to", "torchvision", "--out", out)
    found = torch.load(out, weights_only=True)
    assert found.keys() == encoder.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in encoder.state_dict().items())


def test_what_does_not_go_together_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"blocks.0.conv.weight": torch.zeros(1)}, path)
    nameless = tmp_path / "b.safetensors"
    nameless.write_bytes(save_weights(torch.nn.Linear(1, 1), {}))
    for arguments, says in (
        ((path, "--to", "tsm"), "--to and --out go together"),
        ((path, "--to", "onnx", "--out", path), "--to is 'onnx'; allowed: safetensors, pyslowfast"),
        ((path,), "--model is None; allowed: .*x3d_s"),
        ((path, "--model", "x3d_s"), r"a\.pth \(PyTorchVideo\) does not fit X3D"),
        ((nameless,), "does not say which model it is of"),
    ):
        with pytest.raises(RuntimeError, match=says):
            weights(*arguments)
