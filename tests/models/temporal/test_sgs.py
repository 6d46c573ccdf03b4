"""Similarity Guided Sampling (Fayyaz et al., CVPR 2021, section 4) against its formulas, written out."""

import math

import pytest
import torch
from torch import Tensor

from models.temporal.sgs import EDGE, FLOOR, SGS, assign, spherical, weighted_sums
from tests.models.checkpoints.filled import numbers


def literal(delta: list[float], bins: int) -> list[list[float]]:
    """Eq. 2, 3, 6 word for word: the weight of each frame in each bin."""
    gamma = max(delta) / (2 * bins)
    return [[max(0.0, 1 - abs(d - (2 * b - 1) * gamma) / gamma) for d in delta] for b in range(1, bins + 1)]


def matrix(index: Tensor, weight: Tensor, bins: int) -> Tensor:
    return torch.zeros(len(index), bins, index.shape[1], dtype=weight.dtype).scatter(1, index[:, None], weight[:, None])


def magnitudes(seed: int = 0, clips: int = 4, frames: int = 13) -> Tensor:
    return torch.rand(clips, frames, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bins", [1, 4, 13, 32])
def test_weights_are_equation_6(bins: int) -> None:
    delta = magnitudes()
    index, weight = assign(delta, (bins,), "paper")
    for clip in range(len(delta)):
        expected = torch.tensor(literal(delta[clip, :, 0].tolist(), bins), dtype=torch.float64)
        torch.testing.assert_close(matrix(index, weight, bins)[clip], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [-0.5, 0.0, 0.5])
def test_gradients_are_equations_7_and_8_as_printed(side: float) -> None:
    """Frame 1 lies before, on or behind the centre of bin 2 of 4; gamma is 1/8, a scale that eq. 8 does not have."""
    features = torch.randn(1, 2, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features.requires_grad_()
    delta = torch.tensor([[[1.0], [3 / 8 + side / 8], [0.03]]], dtype=torch.float64, requires_grad=True)
    index, weight = assign(delta, (4,), "paper")
    out = weighted_sums(features, matrix(index, weight, 4))
    to_features, to_delta = torch.autograd.grad(out[0, :, 1].sum(), (features, delta))
    assert to_features[0, 0, 1, 0, 0] == pytest.approx(1 - abs(side))  # eq. 7
    sign = 1.0 if side <= 0 else -1.0  # eq. 8
    assert to_delta[0, :, 0].tolist() == pytest.approx([0.0, sign * float(features[0, :, 1].detach().sum()), 0.0])


def test_exact_gradient_equals_finite_differences() -> None:
    def weights(delta: Tensor) -> Tensor:
        return assign(delta, (5,), "exact")[1]

    assert torch.autograd.gradcheck(weights, (magnitudes(3, 2, 6).requires_grad_(),))
    delta = magnitudes(3, 2, 6).requires_grad_()
    exact, paper = (
        torch.autograd.grad(assign(delta, (5,), kind)[1].sum(), delta)[0]  # type: ignore[arg-type]
        for kind in ("exact", "paper")
    )
    gamma = delta.detach().amax(1, keepdim=True) / 10
    inner = delta.detach() < delta.detach().amax(1, keepdim=True)  # the largest one's path through gamma is left out
    torch.testing.assert_close(exact[inner], (paper / gamma)[inner])


def test_every_frame_has_one_bin_and_a_weight_of_at_most_one() -> None:
    sgs = SGS(6)
    weights, lengths = sgs.weights(torch.randn(5, 6, 9, 3, 3, generator=torch.Generator().manual_seed(1)))
    assert ((weights > 0).sum(dim=1) <= 1).all()
    assert weights.max() <= 1
    assert (weights.sum(dim=(1, 2)) >= FLOOR - 1e-5).all()
    for row, length in zip(weights, lengths.tolist(), strict=True):
        assert (row[:length].sum(dim=1) > EDGE).all()
        assert (row[length:] == 0).all()


def test_a_static_clip_becomes_its_one_frame() -> None:
    sgs = SGS(4)
    frame = torch.randn(1, 4, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    for frames in (1, 2, 13):
        out, layout = sgs(frame.expand(-1, -1, frames, -1, -1))
        assert layout.mask.flatten().tolist() == [1.0]
        torch.testing.assert_close(out, frame)


def test_without_the_floor_a_static_clip_is_one_frame_of_zeros() -> None:
    out, layout = SGS(4, floor=0.0)(torch.ones(1, 4, 5, 2, 2))
    assert out.shape[2] == 1 and not out.any() and layout.mask.sum() == 1


def test_frames_on_edges_belong_to_the_bin_below() -> None:
    delta = torch.arange(1.0, 9.0, dtype=torch.float64).view(1, 8, 1)
    index, weight = assign(delta, (8,), "paper")
    assert index.tolist() == [list(range(8))] and not weight.any()
    index, _ = assign(torch.zeros(1, 3, 1), (8,), "paper")  # all zero: all the largest
    assert index.tolist() == [[7, 7, 7]]
    index, _ = assign(torch.tensor([[[0.0], [1.0]]]), (8,), "paper")
    assert index.tolist() == [[0, 7]]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_rounding_on_the_edge_of_the_largest_makes_no_bin(scale: float) -> None:
    delta = scale * torch.rand(200, 8, 1, generator=torch.Generator().manual_seed(3))
    weight = assign(delta, (8,), "paper")[1]
    assert (weight.gather(1, delta[..., 0].argmax(dim=1, keepdim=True)) == 0).all()


def test_empty_bins_are_dropped_and_order_is_kept() -> None:
    sgs = SGS(3, dims=1, bins=10)
    sgs.fc = torch.nn.Linear(3, 1, bias=False)  # type: ignore[assignment]
    with torch.no_grad():
        sgs.fc.weight.fill_(1.0)  # type: ignore[union-attr]
    sums = torch.tensor([0.75, 0.05, 0.77, 1.0])  # of 10 bins: the 8th, 1st, 8th, and the edge of the 10th
    out, layout = sgs((sums / 3).view(1, 1, 4, 1, 1).expand(1, 3, 4, 1, 1))
    assert layout.mask.flatten().tolist() == [1.0, 1.0]
    expected = [1.0 * 0.05, 1.0 * 0.75 + 0.6 * 0.77]
    torch.testing.assert_close(out.sum(dim=1).flatten(), torch.tensor(expected), rtol=0, atol=1e-5)


def test_kronecker_is_the_mean_of_a_bin() -> None:
    sgs = SGS(5, bins=4, kernel="kronecker")
    x = torch.randn(3, 5, 12, 2, 2, generator=torch.Generator().manual_seed(4))
    weights, lengths = sgs.weights(x)
    for row, length in zip(weights, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length].sum(dim=1), torch.ones(length))
        for one in row[:length]:
            assert len(set(one[one > 0].tolist())) == 1
    sgs(x)[0].sum().backward()
    assert sgs.fc[0].weight.grad is not None and sgs.fc[0].weight.grad.any()


def test_spherical_coordinates_go_back() -> None:
    z = torch.randn(7, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    radius, *angles = spherical(z).unbind(-1)
    angles[-1] = angles[-1] - math.pi
    back, rest = [], radius
    for angle in angles:
        back.append(rest * angle.cos())
        rest = rest * angle.sin()
    torch.testing.assert_close(torch.stack([*back, rest], dim=-1), z)
    origin = torch.zeros(1, 3, requires_grad=True)
    spherical(origin).sum().backward()
    assert origin.grad is not None and origin.grad.isfinite().all()


@pytest.mark.parametrize(("similarity", "bins"), [("angular", (4, 8)), ("spherical", (2, 4, 4))])
def test_several_coordinates_multiply_as_in_equation_9(similarity: str, bins: tuple[int, ...]) -> None:
    sgs = SGS(6, dims=3, bins=bins, similarity=similarity)  # type: ignore[arg-type]
    x = torch.randn(2, 6, 16, 2, 2, generator=torch.Generator().manual_seed(6))
    coordinates = sgs._coordinates(sgs.fc(x.mean(dim=(3, 4)).transpose(1, 2))).detach()
    index, weight = assign(coordinates, bins, "paper")
    for clip in range(2):
        parts = [torch.tensor(literal(coordinates[clip, :, k].tolist(), b)) for k, b in enumerate(bins)]
        expected = parts[0]
        for part in parts[1:]:
            expected = (expected[:, None] * part[None]).flatten(0, 1)
        torch.testing.assert_close(matrix(index, weight, math.prod(bins))[clip], expected, rtol=0, atol=1e-5)
    out, layout = sgs(x)
    assert out.shape[2] == int(layout.mask.flatten(1).sum(1).max()) <= 16


def test_bins_may_change_at_inference() -> None:
    sgs = SGS(6).eval()
    x = torch.randn(3, 6, 32, 2, 2, generator=torch.Generator().manual_seed(7))
    kept = []
    for bins in (None, 16, 8, 4, 1):
        sgs.bins = bins
        kept.append(int(sgs.weights(x)[1].max()))
        assert kept[-1] <= (bins or 32)
    assert kept == sorted(kept, reverse=True) and kept[-1] == 1


def test_blocks_are_sampled_on_their_own() -> None:
    sgs = SGS(6, block=4).eval()
    x = torch.randn(1, 6, 10, 2, 2, generator=torch.Generator().manual_seed(8))
    whole = SGS(6)
    whole.load_state_dict(sgs.state_dict())
    parts = [whole(part)[0] for part in x.split(4, dim=2)]
    torch.testing.assert_close(sgs(x)[0], torch.cat(parts, dim=2))


def test_released_form_compares_distances_to_the_mean() -> None:
    sgs = SGS(8, form="released").eval()
    assert sgs.fc[0].out_features == 4
    x = torch.randn(2, 8, 6, 2, 2, generator=torch.Generator().manual_seed(9))
    z = sgs.bn(sgs.fc(x.mean(dim=(3, 4)).transpose(1, 2)).flatten(0, 1)).view(2, 6, 8)
    expected = (z.mean(dim=1, keepdim=True) - z + 1e-6).square().sum(2).sqrt()
    torch.testing.assert_close(sgs._coordinates(z)[..., 0], expected)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [("linear", [1.02408, 1.26323, 2.3822, 6.78288]), ("kronecker", [7.0, 3.0, 2.33333, 7.0])],
)
def test_bins_are_the_released_samplers(kernel: str, expected: list[float]) -> None:
    """Literals: the public sampler (distance taken over the vectors' components, as meant) on frames 1..9."""
    z = numbers("sgs", (1, 9, 3)).float()
    weights = SGS(2, dims=3, form="released", kernel=kernel)._block_weights(z)[0]  # type: ignore[arg-type]
    found = weights[weights.sum(dim=1) > EDGE].detach() @ torch.arange(1.0, 10.0)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "cosine"}, "allowed: magnitude, angular, spherical"),
        ({"kernel": "gauss"}, "allowed: linear, kronecker"),
        ({"similarity": "angular", "bins": (4, 8)}, "in 8 dimensions needs 7"),
        ({"bins": 0}, "at least 1"),
        ({"block": 0}, "block is 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SGS(4, **options)  # type: ignore[arg-type]
