"""Our networks answer what the reference code answered for the same weights and pictures.

Each row was made by running the public code in evaluation mode on :func:`filled` weights under its own names and on
:func:`pictures`; the literals are the first logits (before softmax) of its last layer.
"""

import pytest
import torch

from models.catalogue import MODELS, build_model
from models.checkpoints import load_checkpoint
from models.encoders import build_encoder
from models.recogniser import recogniser
from tests.models.checkpoints.filled import filled, key_list, pictures

# format, model, frames, size in px, logits
REFERENCE = [
    ("pyslowfast", "x3d_m", 4, 64, [0.040041, 0.338051, 0.336861, 0.082036]),
    ("pytorchvideo", "x3d_m", 4, 64, [0.206052, -0.056734, 0.108013, 0.033991]),
    ("pyslowfast", "slowfast_8x8_r50", 32, 64, [0.493361, 0.049995, 0.181502, -0.504249]),
    ("pyslowfast", "slowfast_4x16_r50", 32, 64, [0.436743, 0.079002, 0.059332, -0.463132]),
    ("pyslowfast", "slowfast_8x8_r50_nl", 32, 64, [0.654898, 1.017971, -0.402183, -0.786606]),
    ("pyslowfast", "i3d_r50_nl", 8, 64, [-0.012138, 0.117983, 1.33767, 0.360653]),
    ("pyslowfast", "i3d_r50_thesis_nl", 8, 64, [2578.236328, 3059.608154, 5757.786133, 1386.058716]),
    ("pytorch_i3d", "i3d_inception", 16, 64, [0.016238, 0.149633, 0.029808, 0.071787]),
    ("tsm", "tsm_resnet18", 4, 64, [-0.166587, 0.561018, 0.700271, 0.543283]),
    ("mmaction2", "x3d_m", 4, 64, [0.287537, -0.001883, -0.674873, -0.192332]),
    ("mmaction2", "slow_8x8_r50", 8, 64, [-0.080399, 0.340375, -0.136705, 0.211032]),
    ("torchvision", "r2plus1d_18", 8, 64, [0.216789, -0.134405, 0.055242, -0.12286]),
]


@pytest.mark.parametrize(("form", "name", "frames", "size", "logits"), REFERENCE)
def test_logits_of_the_reference_code(form: str, name: str, frames: int, size: int, logits: list[float]) -> None:
    with torch.device("meta"):
        model = build_model(name, MODELS[name].classes)
    model.to_empty(device="cpu").eval()
    loaded = load_checkpoint(model, filled(key_list(form, name)))
    assert (loaded.format, loaded.fresh) == (form, ())
    with torch.no_grad():
        found = model(pictures(frames, size))
    torch.testing.assert_close(found[0, : len(logits)], torch.tensor(logits), rtol=1e-3, atol=2e-4)


def test_logits_per_frame_of_coarse_fine_networks() -> None:
    """Its X3D-M in the task "loc", 157 classes: the first two classes at the four frames."""
    shapes = key_list("coarse_fine", "x3d_m") | {"fc2.weight": [157, 2048], "fc2.bias": [157]}
    model = recogniser(build_encoder("x3d_m"), 157, per_frame=True).eval()
    loaded = load_checkpoint(model, filled(shapes))
    assert loaded.fresh == ()
    assert loaded.not_loaded
    assert all(".split_bn." in key for key in loaded.not_loaded)
    expected = [[0.183396, 0.165544, 0.167487, 0.152785], [-0.036218, -0.058641, -0.0616, -0.037796]]
    with torch.no_grad():
        found = model(pictures(4, 64))
    torch.testing.assert_close(found[0, :2], torch.tensor(expected), rtol=1e-3, atol=2e-4)
