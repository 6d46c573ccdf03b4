"""The 3-D backbones against their definitions and against torchvision's R(2+1)D."""

import pytest
import torch
from torch import nn
from torchvision.models.video import r2plus1d_18

from models.encoders import build_encoder
from models.encoders.non_local import NonLocal
from models.encoders.slowfast import slow_indices
from models.encoders.x3d import squeezed


def test_slow_pathway_sees_what_the_reference_sees() -> None:
    assert slow_indices(32, 4) == [0, 4, 8, 13, 17, 22, 26, 31]
    for frames, alpha in ((32, 8), (64, 4), (16, 4), (128, 8)):
        assert slow_indices(frames, alpha) == torch.linspace(0, frames - 1, frames // alpha).long().tolist()
    assert slow_indices(1, 8) == [0]
    assert slow_indices(9, 4) == [0, 4, 8]


def test_squeezed_channels_are_the_published_ones() -> None:
    assert [squeezed(inner) for inner in (54, 108, 216, 432, 72, 162, 306, 630)] == [8, 8, 16, 32, 8, 16, 24, 40]


def test_blocks_begin_as_identity_and_operators_as_nothing() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("i3d_r50_nl", base_width=8)
    last = [module for name, module in encoder.named_modules() if name.endswith("norm_c") or name.endswith(".norm")]
    zeros = [module for module in last if isinstance(module, nn.BatchNorm3d) and not module.weight.any()]
    assert len(zeros) == 16 + 5
    operator = NonLocal(8, "softmax")
    operator.apply(lambda module: nn.init.zeros_(module.weight) if isinstance(module, nn.BatchNorm3d) else None)
    x = torch.randn(1, 8, 2, 3, 3)
    assert torch.equal(operator.eval()(x, None), x)


def test_non_local_is_its_definition() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 2, 4, 2)
    for affinity in ("softmax", "dot_product"):
        operator = NonLocal(6, affinity).eval()
        expected = x.clone()
        with torch.no_grad():
            queries = operator.theta(x)[0].flatten(1)
            pooled = torch.nn.functional.max_pool3d(x, (1, 2, 2))
            keys, values = operator.phi(pooled)[0].flatten(1), operator.g(pooled)[0].flatten(1)
            seen = torch.zeros(3, 16)
            for i in range(16):
                likeness = torch.stack([queries[:, i] @ keys[:, j] for j in range(4)])
                weights = (likeness / 3**0.5).softmax(0) if affinity == "softmax" else likeness / 4
                seen[:, i] = sum(weights[j] * values[:, j] for j in range(4))
            mixed = operator.out(seen.view(1, 3, 2, 4, 2))
            expected += mixed / (1 + 1e-5) ** 0.5
            torch.testing.assert_close(operator(x, None), expected, rtol=1e-4, atol=1e-5)


TORCHVISION = {
    "stem": {"spatial": "0", "spatial_norm": "1", "temporal": "3", "temporal_norm": "4"},
    "block": {
        "conv_a.spatial": "conv1.0.0", "conv_a.norm": "conv1.0.1", "conv_a.temporal": "conv1.0.3", "norm_a": "conv1.1",
        "conv_b.spatial": "conv2.0.0", "conv_b.norm": "conv2.0.1", "conv_b.temporal": "conv2.0.3", "norm_b": "conv2.1",
        "shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1",
    },
}  # fmt: skip


@pytest.mark.parametrize("frames", [4, 7])
def test_r2plus1d_is_torchvisions(frames: int) -> None:
    torch.manual_seed(0)
    reference = r2plus1d_18(weights=None).eval()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.running_mean, std=0.1)
    theirs = reference.state_dict()
    state = {}
    encoder = build_encoder("r2plus1d_18").eval()
    for key in encoder.state_dict():
        stage, _, rest = key.partition(".")
        module, _, leaf = rest.rpartition(".")
        if stage == "stem":
            state[key] = theirs[f"stem.{TORCHVISION['stem'][module]}.{leaf}"]
        else:
            index, _, inside = module.partition(".")
            state[key] = theirs[f"layer{int(stage[3]) - 1}.{index}.{TORCHVISION['block'][inside]}.{leaf}"]
    encoder.load_state_dict(state)
    assert len(state) == len(theirs) - 2  # all but its classifier
    x = torch.randn(1, 3, frames, 48, 40)
    reference.fc = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(encoder(x).mean(dim=(2, 3, 4)), reference(x), rtol=1e-4, atol=1e-5)
