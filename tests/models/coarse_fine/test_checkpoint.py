"""Weights of the release: every key accounted for, and our network answers what the released code answered with them.

The literals were made by running the public code in evaluation mode on :func:`filled` weights under its own names, on
:func:`pictures`, and on fine features that are functions of their names.
"""

import io
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoints import CheckpointError
from models.coarse_fine import build_frame_network
from models.coarse_fine.checkpoint import load_coarse_fine, load_stream
from models.coarse_fine.two_stream import CoarseFine, FineFeatures
from tests.models.checkpoints.filled import filled, key_list, numbers, pictures

FRAMES, FINE_FRAMES, FINE_REAL, START = 8, 11, 10, 2

# Pooling to the logits of classes 0 and 100 at the 8 frames.
REFERENCE = {
    "grid_pool": [
        [-0.185303, -0.178248, -0.171192, -0.164137, -0.162573, -0.166499, -0.170425, -0.174352],
        [0.130771, 0.12548, 0.12019, 0.1149, 0.112984, 0.114443, 0.115902, 0.117361],
    ],
    None: [
        [-0.185095, -0.191669, -0.189661, -0.179147, -0.161681, -0.151506, -0.155152, -0.169937],
        [0.130718, 0.122723, 0.111692, 0.105805, 0.112375, 0.124713, 0.129921, 0.127396],
    ],
}


def released(pooling: str | None = "grid_pool", classes: int = 157) -> dict[str, Tensor]:
    x3d = key_list("coarse_fine", "x3d_m") | {"fc2.weight": [classes, 2048], "fc2.bias": [classes]}
    extras = json.loads((Path(__file__).parent / "released_keys.json").read_text())["keys"]
    if pooling is None:
        extras = {key: shape for key, shape in extras.items() if not key.startswith("pool_1.")}
    return filled(x3d | extras)


def network(pooling: str | None = "grid_pool", classes: int = 157) -> CoarseFine:
    with torch.device("meta"):
        net = build_frame_network("coarse_fine", classes=classes, pooling=pooling, centres="released")
    net.to_empty(device="cpu").eval()
    return net  # type: ignore[return-value]


@pytest.mark.parametrize("pooling", ["grid_pool", None])
def test_logits_of_the_released_code(pooling: str | None) -> None:
    net = network(pooling)
    loaded = load_coarse_fine(net, released(pooling))
    assert loaded.fresh == ()
    assert all(".split_bn." in key or key.endswith("num_batches_tracked") for key in loaded.not_loaded)
    channels = {"layer1": 24, "layer2": 48, "layer3": 96, "layer4": 192, "conv5": 432}
    *levels, last = (numbers(name, (1, width, FINE_FRAMES, 7, 7)).float() for name, width in channels.items())
    with torch.no_grad():
        fine = FineFeatures(tuple(levels), last, torch.tensor([FINE_REAL]))
        found = net.coarse_logits(pictures(FRAMES, 224), fine, torch.tensor([START]))
    expected = torch.tensor(REFERENCE[pooling])
    torch.testing.assert_close(found[0, [0, 100]], expected, rtol=0, atol=5e-6)


def test_a_file_is_read_and_other_classes_are_named() -> None:
    buffer = io.BytesIO()
    torch.save({"model_state_dict": released()}, buffer)
    net = network(classes=65)
    loaded = load_coarse_fine(net, buffer.getvalue())
    assert {key for key in loaded.fresh if key.startswith("fusion.")} == {
        f"fusion.late.{layer}.{leaf}" for layer in ("fc2", "fc4") for leaf in ("weight", "bias")
    }
    assert any("classes" in message for message in loaded.messages)


def test_nothing_is_loaded_in_silence() -> None:
    net, complete = network(), released()
    for change, message in (
        (lambda s: s.pop("rw3.fc1.weight"), r"missing: fusion\.levels\.1\.fc1\.weight"),
        (lambda s: s.update({"mix7.conv_at.weight": torch.zeros(1)}), r"unexpected: mix7\.conv_at\.weight"),
        (lambda s: s.update({"rw2.at1.weight": torch.zeros(24, 23, 1)}), r"shape: rw2\.at1\.weight"),
        (lambda s: s.pop("layer1.0.conv1.weight"), r"missing: layer1\.0\.conv1\.weight"),
    ):
        state = dict(complete)
        change(state)  # type: ignore[no-untyped-call]
        with pytest.raises(CheckpointError, match=message):
            load_coarse_fine(net, state)


def test_kinetics_weights_start_a_stream() -> None:
    with torch.device("meta"):
        stream = build_frame_network("coarse_only", classes=157)
    stream.to_empty(device="cpu")
    state = filled(key_list("pyslowfast", "x3d_m"))
    loaded = load_stream(stream, state)  # type: ignore[arg-type]
    assert loaded.format == "pyslowfast"
    assert torch.equal(stream.encoder.res2[0].conv_a.weight, state["s2.pathway0_res0.branch2.a.weight"])  # type: ignore[index]
