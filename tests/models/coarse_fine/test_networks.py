"""Coarse-Fine Networks: costs of the paper, the contract of the table, two-stage training."""

import pytest
import torch
from torch import nn

from models.catalogue import MODELS
from models.coarse_fine import FRAME_NETWORKS, build_frame_network
from models.coarse_fine.two_stream import CoarseFine, second_stage
from models.costs import cost
from models.encoders.ragged import padded
from pipeline.training.optim import make_optimizer
from tests.models.temporal.encoders import alive

# 157 classes, 128 x 224 x 224: parameters and convolution MACs in G, of the reference code, and what runs here.
COSTS = [
    ("fine_only", {}, 3_296_415, 37.958),
    ("coarse_only", {}, 3_327_880, 16.529),
    ("coarse_only", {"pooling": "stride"}, 3_296_415, 15.416),
    ("coarse_only", {"pooling": "average_pool"}, 3_296_415, 15.416),
    ("coarse_only", {"pooling": "max_pool"}, 3_296_415, 15.416),
    ("fine_fine", {}, 7_797_277, 94.803),  # 37.958 + 37.958 + 18.886
    ("fine_fine", {"connections": "late"}, 7_290_393, 77.155),
    ("fine_fine", {"connections": "one_to_one"}, 7_537_357, 81.797),
    ("coarse_fine", {}, 7_828_742, 60.927),
    ("slowfast_det", {}, 7_407_006, 57.047),
]


@pytest.mark.parametrize(("name", "options", "params", "giga"), COSTS)
def test_costs(name: str, options: dict[str, str], params: int, giga: float) -> None:
    with torch.device("meta"):
        network, clip = build_frame_network(name, classes=157, **options), torch.empty(1, 3, 128, 224, 224)
    found = cost(network, clip)
    assert found.params == params
    assert found.conv_macs / 1e9 == pytest.approx(giga, abs=0.0006)
    assert found.executed_macs <= found.macs


def test_a_longer_input_and_the_paper_s_own_sum() -> None:
    def conv(name: str, frames: int) -> float:
        with torch.device("meta"):
            network, clip = build_frame_network(name, classes=157), torch.empty(1, 3, frames, 224, 224)
        return cost(network, clip).conv_macs / 1e9

    assert conv("coarse_only", 256) == pytest.approx(32.82, abs=0.005)  # table 3e, T = 256
    fine, coarse, both = conv("fine_only", 128), conv("coarse_only", 128), conv("fine_fine", 128)
    assert fine + coarse + (both - 2 * fine) == pytest.approx(73.37, abs=0.005)  # table 2's Coarse-Fine is this sum


def test_the_catalogue_lists_them() -> None:
    assert set(FRAME_NETWORKS) <= set(MODELS)


@pytest.fixture(params=sorted(FRAME_NETWORKS))
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return alive(build_frame_network(request.param, classes=5, base_width=8))


def test_a_video_does_not_depend_on_its_batch(network: nn.Module) -> None:
    pixels, lengths = torch.randn(3, 3, 20, 32, 32, generator=torch.Generator().manual_seed(1)), [20, 13, 5]
    with torch.no_grad():
        together = network(pixels, layout=padded(torch.tensor(lengths), 20))
        assert together.shape == (3, 5, 20)
        for i, length in enumerate(lengths):
            alone = network(pixels[i : i + 1, :, :length])
            assert alone.shape == (1, 5, length)
            scale = alone.abs().max()
            torch.testing.assert_close(together[i, :, :length] / scale, alone[0] / scale, rtol=0, atol=1e-4)
            assert not together[i, :, length:].any()


def test_gradients_reach_all_that_has_a_part(network: nn.Module) -> None:
    network.train()
    network(torch.randn(2, 3, 16, 32, 32, generator=torch.Generator().manual_seed(2))).square().mean().backward()
    silent = {name.split(".classifier")[0] for name, p in network.named_parameters() if p.grad is None}
    idle = {"fine.head"} if hasattr(network, "fusion") else set()
    if hasattr(network, "laterals"):
        idle = {"fine.head", *(name for name, _ in network.named_parameters() if name.startswith("fine.encoder.conv5"))}
    assert silent <= idle


def coarse_fine(**options: object) -> CoarseFine:
    torch.manual_seed(0)
    return alive(build_frame_network("coarse_fine", classes=5, base_width=8, **options))  # type: ignore[return-value]


def test_a_clip_is_seen_where_it_lies_in_its_video() -> None:
    """Fine features stored once serve every clip; the start moves the Gaussians."""
    network = coarse_fine()
    video = torch.randn(1, 3, 24, 32, 32, generator=torch.Generator().manual_seed(3))
    clip = video[:, :, 8:16]
    with torch.no_grad():
        fine = network.fine_features(video)
        stored = network.coarse_logits(clip, fine, torch.tensor([8]))
        torch.testing.assert_close(network(clip, video, torch.tensor([8])), stored)
        assert not torch.allclose(network(clip, video, torch.tensor([0])), stored)
        whole = network(video)
        torch.testing.assert_close(network(video, video, torch.tensor([0])), whole)


def test_both_forms_of_the_network_are_equal() -> None:
    network = coarse_fine()
    video = torch.randn(1, 3, 16, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        here = network(video)
        network.fusion.reference_form = network.reference_form = True
        torch.testing.assert_close(network(video), here, rtol=0, atol=float(1e-5 * here.abs().max()))


def test_released_centres_and_unknown_ones() -> None:
    video = torch.randn(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert not torch.allclose(coarse_fine()(video), coarse_fine(centres="released")(video))
    with pytest.raises(ValueError, match="allowed: paper, released"):
        coarse_fine(centres="learned")


@pytest.mark.parametrize("fine", ["joint", "frozen"])
def test_two_stage_training(fine: str) -> None:
    network = coarse_fine()
    for name in ("coarse", "fine"):
        first = build_frame_network(f"{name}_only", classes=5, base_width=8)
        getattr(network, name).load_state_dict(first.state_dict())
    factors = second_stage(network, fine)  # type: ignore[arg-type]
    optimizer = make_optimizer(network, "sgd", 0.02, multipliers=factors)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        trained = not name.startswith("fine.head") and (fine == "joint" or not name.startswith("fine."))
        assert rates.get(id(parameter)) == (None if not trained else 0.2 if name.startswith("fusion.") else 0.02), name
    with pytest.raises(ValueError, match="allowed: joint, frozen"):
        second_stage(network, "alone")  # type: ignore[arg-type]
