"""Grid Pool and Grid Unpool (Coarse-Fine paper, section 3.1)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.encoders.ragged import padded
from models.temporal.fixed_pool import FixedPool, window
from models.temporal.grid_pool import GridPool, sample_frames
from models.temporal.grid_unpool import grid_unpool, inverse


def pool(alpha: float = 0.25, channels: int = 3) -> GridPool:
    torch.manual_seed(0)
    module = GridPool(channels, alpha).eval()
    with torch.no_grad():
        module.last.weight.mul_(20)  # confidences that differ
    return module


def features(clips: int = 2, frames: int = 16, channels: int = 3) -> Tensor:
    return torch.randn(clips, channels, frames, 16, 16, generator=torch.Generator().manual_seed(1))


def test_even_confidence_is_an_even_grid_and_unpooling_is_the_identity() -> None:
    module = pool()
    torch.nn.init.zeros_(module.last.weight)
    x = features(frames=17)
    pooled = module.sample(x)
    torch.testing.assert_close(pooled.grid, torch.linspace(0, 1, 6).expand(2, -1))
    expected = sample_frames(x, torch.linspace(0, 16, 6).expand(2, -1))
    torch.testing.assert_close(pooled.features, expected, rtol=0, atol=1e-5)
    logits = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(grid_unpool(logits, pooled.grid, 6), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("frames", "alpha", "kept"), [(128, 0.25, 33), (16, 0.5, 9), (18, 0.25, 6), (17, 0.125, 4), (1, 0.25, 2)]
)
def test_grid_rises_from_end_to_end(frames: int, alpha: float, kept: int) -> None:
    module, x = pool(alpha), features(frames=frames)
    with torch.no_grad():
        pooled = module.sample(x)
        p, _ = module.confidence(x)
    assert pooled.features.shape == (2, 3, kept, 16, 16)
    assert pooled.grid.shape == (2, kept)
    assert (pooled.grid[:, 0] == 0).all() and (pooled.grid[:, -1] == 1).all()
    steps = pooled.grid.diff(dim=1)
    assert (steps > 0).all()
    torch.testing.assert_close(steps, (1 - p) / (1 - p).sum(dim=1, keepdim=True))  # eq. 2
    torch.testing.assert_close(pooled.features[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(pooled.features[:, :, -1], x[:, :, -1])
    assert grid_unpool(torch.randn(2, 4, kept), pooled.grid, frames).shape == (2, 4, frames)


def test_sampling_equals_torchs_grid_sample() -> None:
    """The released code samples with a 5-D grid whose spatial part is the identity."""
    x = features(frames=9)
    grid = torch.rand(2, 5, generator=torch.Generator().manual_seed(3)).sort(dim=1).values
    theta = torch.eye(3, 4).expand(2, -1, -1)
    full = F.affine_grid(theta, [2, 3, 5, 16, 16], align_corners=True).clone()
    full[..., 2] = (2 * grid - 1).view(2, 5, 1, 1)
    expected = F.grid_sample(x, full, align_corners=True)
    torch.testing.assert_close(sample_frames(x, grid * 8), expected, rtol=0, atol=1e-4)


def test_gradients_through_sampling_and_unpooling() -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(1, 2, 6, 1, 1, generator=generator, dtype=torch.float64, requires_grad=True)
    position = torch.tensor([[0.3, 1.7, 4.45]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sample_frames, (x, position))
    logits = torch.randn(1, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    inner = torch.tensor([[0.21, 0.83]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a, g: grid_unpool(a, F.pad(F.pad(g, (1, 0)), (0, 1), value=1.0), 9), (logits, inner)
    )


def test_gradient_reaches_the_head() -> None:
    module = pool().train()
    module(features())[0].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert module.convs[0].weight.grad is not None and module.convs[0].weight.grad.any()


def test_inverse_undoes_the_grid() -> None:
    generator = torch.Generator().manual_seed(5)
    grid = F.pad(torch.rand(3, 8, generator=generator, dtype=torch.float64).cumsum(1), (1, 0))
    grid = grid / grid[:, -1:]
    back = inverse(grid, 33)
    even = torch.linspace(0, 1, 33, dtype=torch.float64)
    column = back * 8
    left = column.floor().long().clamp(max=7)
    there = torch.lerp(grid.gather(1, left), grid.gather(1, left + 1), column - left)
    torch.testing.assert_close(there, even.expand(3, -1))
    flat = torch.tensor([[0.0, 0.5, 0.5, 1.0]])  # two frames at one place
    assert inverse(flat, 5).isfinite().all() and (inverse(flat, 5).diff() >= 0).all()


def test_clips_of_unequal_length() -> None:
    module, x, lengths = pool(), features(3, 18), [18, 9, 1]
    with torch.no_grad():
        together = module.sample(x, padded(torch.tensor(lengths), 18))
        for i, length in enumerate(lengths):
            alone = module.sample(x[i : i + 1, :, :length])
            kept = alone.grid.shape[1]
            assert together.layout is not None
            assert together.layout.mask[i].flatten().sum() == kept
            torch.testing.assert_close(together.grid[i, :kept], alone.grid[0])
            torch.testing.assert_close(together.features[i, :, :kept], alone.features[0], rtol=0, atol=1e-5)
            assert not together.features[i, :, kept:].any()


@pytest.mark.parametrize("alpha", [1, 0.3, 0, -0.25])
def test_alpha_is_one_over_a_whole_number(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha is"):
        window(alpha)


def test_grid_pool_wants_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="power of 1/2"):
        GridPool(4, 1 / 3)


@pytest.mark.parametrize(("kind", "expected"), [("max", [3, 7, 8]), ("average", [1.5, 5.5, 8]), ("stride", [0, 4, 8])])
def test_fixed_pools(kind: str, expected: list[float]) -> None:
    module = FixedPool(kind, 0.25)  # type: ignore[arg-type]
    x = torch.arange(9.0).view(1, 1, 9, 1, 1)
    assert module(x)[0].flatten().tolist() == expected
    both, layout = module(torch.cat([x, x]), padded(torch.tensor([9, 6]), 9))
    short = {"max": [3, 5, 0], "average": [1.5, 4.5, 0], "stride": [0, 4, 0]}[kind]
    assert both[1].flatten().tolist() == short
    assert layout is not None and layout.mask.flatten(1).sum(1).tolist() == [3, 2]
