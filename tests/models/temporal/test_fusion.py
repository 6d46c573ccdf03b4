"""Multi-stage Fusion against the released network's form, written out with its 6-D product (section 3.2)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.temporal.fusion import Level, MultiStageFusion, coarse_gaussians

CHANNELS, LAST, CLASSES, SMALL = (3, 4, 5, 6), 7, 9, 2


def plain_level(level: Level, fine: Tensor, gaussians: Tensor) -> tuple[Tensor, Tensor]:
    """A level with ``[N, C, T', J, H, W]`` held in full."""
    attention = (
        torch.sigmoid(level.at2(F.relu(level.at1(fine)))) if level.at1 is not None else torch.ones_like(fine[:, :1])
    )  # type: ignore[misc]
    weight = (attention.unsqueeze(3) * gaussians[:, None, :, :, None, None]).expand(-1, fine.shape[1], -1, -1, -1, -1)
    mean = (fine.unsqueeze(3) * weight).sum(dim=2) / (weight.sum(dim=2) + 1e-6)
    if level.late:
        mean = mean.mean(dim=(3, 4), keepdim=True)
    return level.fc2(F.relu(level.fc1(mean))), level.fc4(F.relu(level.fc3(mean)))


def plain_fuse(fusion: MultiStageFusion, coarse: list[Tensor], fine: list[Tensor], gaussians: Tensor) -> list[Tensor]:
    """The released order: every level at its location's own size, then mixed there."""
    sizes = [x.shape[3:] for x in coarse]
    large = [F.adaptive_max_pool3d(x, (x.shape[2], *size)) for x, size in zip(fine, sizes, strict=True)]
    levels = [plain_level(level, x, gaussians) for level, x in zip(fusion.levels, large, strict=True)]  # type: ignore[arg-type]
    fused = []
    for i, x in enumerate(coarse):
        shifts, scales = (
            torch.cat([F.adaptive_max_pool3d(level[k], (x.shape[2], *sizes[i])) for level in levels], dim=1)
            for k in (0, 1)
        )
        fused.append(torch.sigmoid(fusion.mix_scale[i](scales)) * x + fusion.mix_shift[i](shifts))
    return fused


def inputs(frames: int = 11, kept: int = 5) -> tuple[list[Tensor], list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = [
        torch.randn(2, c, kept, SMALL * 2**k, SMALL * 2**k, generator=generator)
        for k, c in zip((3, 2, 1, 0), CHANNELS, strict=True)
    ]
    fine = [torch.randn(2, c, frames, SMALL, SMALL, generator=generator) for c in CHANNELS]
    centre = torch.rand(2, kept, generator=generator).sort(dim=1).values * (frames - 1)
    return coarse, fine, coarse_gaussians(centre, torch.tensor([frames, frames - 3]), frames)


def network(**options: object) -> MultiStageFusion:
    torch.manual_seed(1)
    return MultiStageFusion(CHANNELS, LAST, CLASSES, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("reference", [True, False])
def test_small_form_equals_the_plain_one(mask: bool, reference: bool) -> None:
    fusion = network(mask=mask)
    fusion.reference_form = reference
    coarse, fine, gaussians = inputs()
    with torch.no_grad():
        prepared = fusion.prepare(fine, gaussians, [x.shape[3:] for x in coarse])
        found = [fusion.fuse(i, x, prepared) for i, x in enumerate(coarse)]
        for one, expected in zip(found, plain_fuse(fusion, coarse, fine, gaussians), strict=True):
            assert (one - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_gradients_equal_the_plain_forms() -> None:
    fusion = network()
    coarse, fine, gaussians = inputs()
    fine = [x.requires_grad_() for x in fine]
    wanted = [*fine, *fusion.levels.parameters(), *fusion.mix_scale.parameters()]
    prepared = fusion.prepare(fine, gaussians, [])
    ours = sum(fusion.fuse(i, x, prepared).square().sum() for i, x in enumerate(coarse))
    plain = sum(x.square().sum() for x in plain_fuse(fusion, coarse, fine, gaussians))
    for a, b in zip(torch.autograd.grad(ours, wanted), torch.autograd.grad(plain, wanted), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_late_fusion_scales_and_shifts_logits() -> None:
    fusion = network(connections="late")
    _, _, gaussians = inputs()
    fine = torch.randn(2, LAST, 11, 3, 3, generator=torch.Generator().manual_seed(2))
    logits = torch.randn(2, CLASSES, 5, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        shift, scale = (x[..., 0, 0] for x in plain_level(fusion.late, fine, gaussians))
        torch.testing.assert_close(fusion.fuse_logits(logits, fine, gaussians), logits * scale.sigmoid() + shift)
        assert fusion.prepare([], gaussians, []) == [] and fusion.fuse(0, logits, []) is logits


def test_one_to_one_sees_its_own_level_only() -> None:
    fusion = network(connections="one_to_one")
    coarse, fine, gaussians = inputs()
    with torch.no_grad():
        before = fusion.fuse(1, coarse[1], fusion.prepare(fine, gaussians, []))
        fine[0] = fine[0] + 1
        assert torch.equal(fusion.fuse(1, coarse[1], fusion.prepare(fine, gaussians, [])), before)
        fine[1] = fine[1] + 1
        assert not torch.equal(fusion.fuse(1, coarse[1], fusion.prepare(fine, gaussians, [])), before)


def test_gaussians() -> None:
    centre = torch.tensor([[0.0, 3.5, 7.0, 40.0]])
    g = coarse_gaussians(centre, torch.tensor([8]), 10)
    assert g.shape == (1, 10, 4)
    assert not g[0, 8:].any()
    torch.testing.assert_close(g[0].amax(dim=0), torch.ones(4))
    time = torch.arange(8.0)
    for j in (0, 1, 2):
        plain = (-(time - centre[0, j]).square() / 2).exp()  # sigma is 8 / 8
        torch.testing.assert_close(g[0, :8, j], plain / plain.max())
    assert g[0, 7, 3] == 1 and g[0, 6, 3] < 1e-6  # a centre far outside: the nearest frame, no division by zero


def test_connections_are_named() -> None:
    with pytest.raises(ValueError, match="allowed: multi_stage, one_to_one, late"):
        network(connections="early")


def test_without_time_and_space_the_fine_features_are_their_means() -> None:
    """Table 3b: a dimension that the fusion lacks is averaged before it."""
    coarse, fine, gaussians = inputs()
    centre, lengths, frames = torch.rand(2, 5) * 10, torch.tensor([11, 8]), 11
    for dims in ("CHW", "C"):
        fusion = network(dims=dims, mask=False)
        weights = fusion.weights(centre, lengths, frames)
        assert weights.shape == gaussians.shape
        shift, scale = fusion.prepare(fine, weights, [x.shape[3:] for x in coarse])[1]
        mean = torch.stack([x[:, :n].mean(dim=1) for x, n in zip(fine[1], (11, 8), strict=True)])
        if dims == "C":
            mean = mean.mean(dim=(2, 3), keepdim=True)
        level = fusion.levels[1]
        expected = level.fc2(F.relu(level.fc1(mean.unsqueeze(2))))
        assert shift.shape[2] == scale.shape[2] == 5
        torch.testing.assert_close(shift, expected.expand_as(shift), rtol=1e-4, atol=1e-5)
        fused = fusion.fuse(0, coarse[0], fusion.prepare(fine, weights, []))
        assert fused.shape == coarse[0].shape
        fusion.reference_form = True
        plain = fusion.fuse(0, coarse[0], fusion.prepare(fine, weights, [x.shape[3:] for x in coarse]))
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
    full = network()
    torch.testing.assert_close(full.weights(centre, lengths, frames), coarse_gaussians(centre, lengths, frames))
    with pytest.raises(ValueError, match="dims is 'T'; allowed: CHWT, CHW, C"):
        network(dims="T")
