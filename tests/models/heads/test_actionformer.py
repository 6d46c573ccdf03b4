"""ActionFormer against its published rules: sizes, local attention, labels, losses, decoding."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.costs import parameters
from models.heads import build_head
from models.heads.actionformer import ActionFormer, LocalAttention
from models.heads.pyramid import (
    PyramidOutput,
    diou_loss,
    focal_loss,
    pyramid_loss,
    pyramid_proposals,
    pyramid_targets,
)


def published_parameters(f: int, c: int) -> int:
    """Counted by layer from the released ActivityNet configuration (2 + 2 + 5 layers, 6 levels, one class)."""
    norm = 2 * c
    attention = 3 * (3 * c + norm) + 4 * (c * c + c)
    block = attention + 2 * norm + (4 * c * c + 4 * c) + (4 * c * c + c) + 2 * c
    embedding = 3 * f * c + 3 * c * c + 2 * norm
    heads = 2 * 2 * (3 * c * c + norm) + (3 * c + 1) + (2 * 3 * c + 2)
    return embedding + 7 * block + 6 * norm + heads + 6


@pytest.mark.parametrize(("feature_dim", "hidden"), [(512, 256), (2048, 512)])
def test_parameters_are_the_published_ones(feature_dim: int, hidden: int) -> None:
    with torch.device("meta"):
        head = build_head("actionformer", feature_dim=feature_dim, hidden=hidden)
    assert parameters(head) == published_parameters(feature_dim, hidden)


def test_attention_sees_its_window_only() -> None:
    """Against attention written out for one query at a time."""
    torch.manual_seed(0)
    attention = LocalAttention(8, 2, window=5, stride=1, dropout=0.0).double()
    x, length = torch.randn(1, 8, 11, dtype=torch.float64), 9
    x[:, :, length:] = 0
    found = attention(x, length)
    q, k, v = (p(i(x))[0].T.view(11, 2, 4) for i, p in zip(attention.inputs, attention.projections, strict=True))
    for t in range(length):
        rows = [s for s in range(length) if abs(s - t) <= 2]
        heads = []
        for h in range(2):
            weight = torch.softmax(torch.stack([q[t, h] @ k[s, h] / 2 for s in rows]), dim=0)
            heads.append(sum(w * v[s, h] for w, s in zip(weight, rows, strict=True)))
        expected = attention.out(torch.cat(heads).view(1, 8, 1))[0, :, 0]
        torch.testing.assert_close(found[0, :, t], expected)


def test_padding_changes_nothing() -> None:
    """A length that needs no padding, padded by one more coarsest step: the same points say the same."""
    torch.manual_seed(1)
    head = build_head("actionformer", feature_dim=6, hidden=16, heads=2, window=3, levels=3).eval()
    assert isinstance(head, ActionFormer)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(2, 16, 12)
    for block in head.stem:
        padded = block(F.pad(x, (0, 4)), 12)
        torch.testing.assert_close(padded[:, :, :12], block(x, 12))
        assert (padded[:, :, 12:] == 0).all()
        padded = head.branch[0](F.pad(x, (0, 4)), 12)
        torch.testing.assert_close(padded[:, :, :6], head.branch[0](x, 12))


def test_points_of_all_levels() -> None:
    head = build_head("actionformer", feature_dim=6, hidden=16, heads=2, window=3, levels=3).eval()
    output = head(torch.randn(1, 6, 10))
    assert output.position.tolist() == [*range(10), *range(0, 10, 2), 0, 4, 8]
    assert output.level.tolist() == [0] * 10 + [1] * 5 + [2] * 3
    assert output.logits.shape == (1, 18) and output.offsets.shape == (1, 18, 2)
    assert output.logits.sigmoid().max() < 0.1  # the prior


def output_of(length: int, levels: int) -> PyramidOutput:
    position = [(2.0**i * k, i) for i in range(levels) for k in range(-(-length // 2**i))]
    place, level = (torch.tensor(column) for column in zip(*position, strict=True))
    return PyramidOutput(torch.zeros(1, len(place)), torch.zeros(1, len(place), 2), place, level, length)


RANGES = [(0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, math.inf)]


@pytest.mark.parametrize(("length", "levels"), [(1, 1), (25, 3), (100, 6), (37, 6)])
def test_labels_against_the_rule_one_point_at_a_time(length: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(length)
    output = output_of(length, levels)
    videos = [torch.rand(count, 2, generator=generator).sort(dim=1).values for count in (4, 0, 1, 9)]
    targets = pyramid_targets(videos, length, levels)
    found = 0
    for b, video in enumerate(videos):
        for p in range(len(output.position)):
            t, level = float(output.position[p]), int(output.level[p])
            low, high = RANGES[level] if level < levels - 1 else (RANGES[level][0], math.inf)
            best: tuple[float, list[float]] | None = None
            for start, end in video.mul(length).sub(0.5).tolist():
                centre = (start + end) / 2
                near = max(start, centre - 1.5 * 2**level) < t < min(end, centre + 1.5 * 2**level)
                longest = max(t - start, end - t)
                if near and low <= longest <= high and (best is None or end - start < best[0]):
                    best = (end - start, [(t - start) / 2**level, (end - t) / 2**level])
            assert bool(targets.positive[b, p]) == (best is not None)
            if best is not None:
                found += 1
                assert targets.offsets[b, p].tolist() == pytest.approx(best[1], abs=1e-4)
            else:
                assert targets.offsets[b, p].tolist() == [0, 0]
    assert found > 0 or length == 1


def test_perfect_offsets_decode_to_the_actions() -> None:
    """Labels read back through the decoder give the segments that made them."""
    output, segments = output_of(100, 6), torch.tensor([[0.1, 0.13], [0.2, 0.45], [0.5, 0.99]])
    targets = pyramid_targets([segments], 100, 6)
    logits = torch.where(targets.positive, 5.0, -20.0)
    ((found, scores),) = pyramid_proposals(output._replace(logits=logits, offsets=targets.offsets))
    assert len(found) == int(targets.positive.sum()) > 3
    assert scores.min() > 0.99
    nearest = torch.cdist(found, segments).min(dim=1)
    assert nearest.values.max() < 1e-5
    assert set(nearest.indices.tolist()) == {0, 1, 2}


def test_most_proposals_of_a_level() -> None:
    output = output_of(3000, 2)
    logits = torch.linspace(-3, 3, len(output.position)).view(1, -1)
    ((_, scores),) = pyramid_proposals(output._replace(logits=logits, offsets=torch.ones(1, len(output.position), 2)))
    assert len(scores) == 2000 + 1500
    assert scores[:2000].min() == logits[0, 1000].sigmoid()


def test_segments_without_length_are_left_out() -> None:
    output = output_of(8, 1)
    ((found, _),) = pyramid_proposals(output)
    assert len(found) == 0


def test_focal_loss_is_the_published_formula() -> None:
    """Equation 4 of Lin et al.: -alpha_t (1 - p_t)^gamma log p_t with alpha 0.25, gamma 2."""
    for logit, target in ((0.3, 1.0), (0.3, 0.0), (-4.0, 1.0), (6.0, 0.0)):
        p = 1 / (1 + math.exp(-logit))
        right, alpha = (p, 0.25) if target else (1 - p, 0.75)
        expected = -alpha * (1 - right) ** 2 * math.log(right)
        assert focal_loss(torch.tensor(logit), torch.tensor(target)).item() == pytest.approx(expected, rel=1e-4)


def test_diou_loss_is_the_published_formula() -> None:
    """Equation 7 of Zheng et al. in one dimension, from the segments' ends."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (3 * torch.rand(50, 2, generator=generator) for _ in range(2))
    for a, b, loss in zip(ours.tolist(), theirs.tolist(), diou_loss(ours, theirs).tolist(), strict=True):
        (s1, e1), (s2, e2) = (-a[0], a[1]), (-b[0], b[1])
        shared = min(e1, e2) - max(s1, s2)
        iou = shared / (e1 - s1 + e2 - s2 - shared)
        apart = ((s1 + e1) / 2 - (s2 + e2) / 2) / (max(e1, e2) - min(s1, s2))
        assert loss == pytest.approx(1 - iou + apart**2, rel=1e-4)
    assert diou_loss(ours, ours).abs().max() < 1e-6
    zero = torch.zeros(2, 2, requires_grad=True)
    diou_loss(zero, torch.zeros(2, 2)).sum().backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


def test_loss_without_positives_is_that_of_the_background() -> None:
    output = output_of(20, 3)
    loss = pyramid_loss(output, pyramid_targets([torch.zeros(0, 2)], 20, 3))
    assert float(loss.regression) == 0
    assert float(loss.classification) == pytest.approx(
        float(focal_loss(output.logits, torch.full((1, 35), 0.05)).sum())
    )


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="hidden is 10, it must be even and a multiple of heads = 4"):
        ActionFormer(8, hidden=10)
    with pytest.raises(ValueError, match="levels is 7, it must be between 1 and 6"):
        ActionFormer(8, levels=7)
    with pytest.raises(ValueError, match="window is 4, it must be odd"):
        ActionFormer(8, window=4)
    with pytest.raises(ValueError, match=r"expected features \[B, 8, L\], got \[2, 9, 5\]"):
        ActionFormer(8, hidden=8, heads=1)(torch.zeros(2, 9, 5))


def reference_positions(length: int, channels: int) -> Tensor:
    rows = [
        [
            (math.sin if i % 2 == 0 else math.cos)(p / 10000 ** (2 * (i // 2) / channels)) / math.sqrt(channels)
            for p in range(length)
        ]
        for i in range(channels)
    ]
    return torch.tensor(rows)


def test_positions_are_the_sinusoids() -> None:
    from models.heads.actionformer import _positions

    torch.testing.assert_close(_positions(9, 6, torch.zeros(1)), reference_positions(9, 6))
