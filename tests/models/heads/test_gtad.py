"""The G-TAD network, its losses and its proposals."""

import pytest
import torch
from torch import Tensor

from models.costs import parameters
from models.heads import build_head
from models.heads.gtad import GTAD, GCNeXt, gather_neighbours, semantic_neighbours
from models.heads.gtad_output import GTADOutput
from models.heads.proposals import boundary_candidates, proposals
from models.heads.targets import gtad_targets
from models.losses import balanced_cross_entropy, gtad_loss, regression_sample

SMALL = {"hidden": 32, "groups": 8, "aligned": 24, "localisation": 16}


def small(**options: object) -> GTAD:
    torch.manual_seed(0)
    return GTAD(16, **{**SMALL, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(("feature_dim", "count"), [(400, 5_563_268), (512, 5_584_772), (2048, 5_879_684)])
def test_parameters_are_the_published_ones(feature_dim: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(build_head("gtad", feature_dim=feature_dim)) == count
        assert parameters(GCNeXt(256)) == 166_912


def test_gcnext_equals_its_definition() -> None:
    torch.manual_seed(1)
    block = GCNeXt(16, groups=4, width_per_group=2).double()
    x = torch.randn(2, 16, 9, dtype=torch.float64)
    distance = torch.cdist(x.transpose(1, 2), x.transpose(1, 2))
    nearest = distance.argsort(dim=2)[:, :, :3]
    edges = torch.stack([torch.stack([x[b][:, nearest[b, :, j]] for j in range(3)], dim=2) for b in range(2)])
    edges = torch.cat([edges, x.unsqueeze(3).expand_as(edges)], dim=1)
    expected = torch.relu(block.temporal(x) + x + block.semantic(block.edge(edges)).amax(dim=3))
    torch.testing.assert_close(block(x), expected)


def test_neighbours_include_the_snippet_itself() -> None:
    x = torch.randn(2, 5, 12)
    neighbours = semantic_neighbours(x, 3)
    assert (neighbours == torch.arange(12).view(1, -1, 1)).any(dim=2).all()
    assert torch.equal(gather_neighbours(x, neighbours)[1, 2, 4], x[1, 2, neighbours[1, 4]])
    assert semantic_neighbours(x[:, :, :2], 3).shape == (2, 2, 2)


def test_context_is_the_mean_of_the_nearest_snippets_of_the_last_feature() -> None:
    model = small(sgalign="plain").double()
    features = torch.randn(1, 16, 9, dtype=torch.float64)
    graph = model.graph(model.base(features))
    nearest = torch.cdist(graph.transpose(1, 2), graph.transpose(1, 2))[0].argsort(dim=1)[:, :3]
    context = torch.stack([graph[0][:, nearest[t]].mean(dim=1) for t in range(9)], dim=1).unsqueeze(0)
    scores = model.localisation(model.sgalign(graph, context, 9)).sigmoid()[0]
    maps = model(features).maps[0]
    row = 0
    for d in range(9):
        for s in range(9 - d):
            torch.testing.assert_close(maps[:, d, s], scores[row].float())
            row += 1


@pytest.mark.parametrize("compat", ["fixed", "released"])
@pytest.mark.parametrize("length", [1, 2, 7, 25])
def test_same_weights_at_any_length(length: int, compat: str) -> None:
    model = small(compat=compat)
    for max_duration in {1, length}:
        output = model(torch.randn(2, 16, length), max_duration)
        assert output.start.shape == output.end.shape == (2, length)
        assert output.maps.shape == (2, 2, max_duration, length)
        assert all(part.isfinite().all() and (part >= 0).all() and (part <= 1).all() for part in output)
        invalid = torch.arange(max_duration).view(-1, 1) + torch.arange(length) >= length
        assert (output.maps[:, :, invalid] == 0).all()
        assert (output.maps[:, :, ~invalid] > 0).all()


def test_fused_and_plain_networks_agree() -> None:
    torch.manual_seed(5)
    features = torch.randn(2, 16, 18, dtype=torch.float64, requires_grad=True)
    targets = gtad_targets([torch.tensor([[0.1, 0.5], [0.4, 0.95]]), torch.tensor([[0.3, 1.0]])], 18)
    results = []
    for form in ("fused", "plain"):
        model = small(sgalign=form).double()
        loss = gtad_loss(model(features), targets, torch.Generator().manual_seed(7))
        results.append((loss.total, *torch.autograd.grad(loss.total, [features, *model.parameters()])))
    for fused, plain in zip(*results, strict=True):
        assert (fused - plain).norm() <= 1e-5 * plain.norm()


def test_video_does_not_depend_on_its_batch() -> None:
    model = small()
    features = torch.randn(3, 16, 20)
    together = model(features)
    for index in range(3):
        alone = model(features[index : index + 1])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[index], b[0], rtol=0, atol=1e-5)


def test_released_and_fixed_differ_in_the_maps_only() -> None:
    features = torch.randn(1, 16, 12)
    fixed, released = small()(features), small(compat="released")(features)
    assert torch.equal(fixed.start, released.start)
    assert torch.equal(fixed.end, released.end)
    assert (fixed.maps - released.maps).abs().max() > 1e-4


def test_low_precision_gives_float32_probabilities() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = small()(torch.randn(2, 16, 10))
    assert all(part.dtype == torch.float32 and part.isfinite().all() for part in output)
    exact = small()(torch.zeros(2, 16, 10))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = small()(torch.zeros(2, 16, 10))
    torch.testing.assert_close(rounded.maps, exact.maps, rtol=0, atol=0.01)


def test_static_video_is_finite() -> None:
    model = small()
    output = model(torch.ones(1, 16, 14))
    loss = gtad_loss(output, gtad_targets([torch.tensor([[0.0, 1.0]])], 14), torch.Generator().manual_seed(0))
    loss.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="feature_dim is 30, it must be a positive multiple of 4"):
        GTAD(30)
    with pytest.raises(ValueError, match=r"expected features \[B, 16, L\], got \[2, 10, 16\]"):
        small()(torch.zeros(2, 10, 16))
    with pytest.raises(ValueError, match=r"unknown head 'bmn'; allowed: .*gtad"):
        build_head("bmn")


# Losses


def released_cross_entropy(probability: Tensor, positive: Tensor) -> Tensor:
    """The balanced cross-entropy as the released code writes it."""
    mask = positive.float()
    ratio = mask.numel() / mask.sum()
    coefficient_0, coefficient_1 = 0.5 * ratio / (ratio - 1), 0.5 * ratio
    terms = (
        coefficient_1 * mask * (probability + 1e-6).log() + coefficient_0 * (1 - mask) * (1 - probability + 1e-6).log()
    )
    return -terms.mean()


def test_balanced_cross_entropy_is_the_released_formula() -> None:
    probability, positive = torch.rand(4, 30), torch.rand(4, 30) > 0.8
    torch.testing.assert_close(
        balanced_cross_entropy(probability, positive), released_cross_entropy(probability, positive)
    )
    valid = torch.rand(4, 30) > 0.5
    torch.testing.assert_close(
        balanced_cross_entropy(probability, positive, valid),
        released_cross_entropy(probability[valid], positive[valid]),
    )


@pytest.mark.parametrize("segments", [[], [[0.2, 0.21]], [[0.0, 1.0]], [[0.5, 0.5]], [[0.1, 0.6], [0.5, 1.2]]])
def test_loss_is_finite_for_any_labels(segments: list[list[float]]) -> None:
    model = small()
    targets = gtad_targets([torch.tensor(segments).view(-1, 2)] * 2, 16)
    loss = gtad_loss(model(torch.randn(2, 16, 16)), targets, torch.Generator().manual_seed(0))
    assert torch.stack(loss).isfinite().all()
    torch.testing.assert_close(loss.total, loss.node + 10 * loss.regression + loss.classification)
    loss.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_regression_sample_is_balanced_and_repeatable() -> None:
    targets = gtad_targets([torch.tensor([[0.11, 0.52], [0.6, 0.93]])] * 8, 64)
    iou = targets.iou
    kept = regression_sample(iou, torch.Generator().manual_seed(4))
    assert torch.equal(kept, regression_sample(iou, torch.Generator().manual_seed(4)))
    assert not torch.equal(kept, regression_sample(iou, torch.Generator().manual_seed(5)))
    high = int((iou > 0.7).sum())
    assert high > 100
    assert kept[iou > 0.7].all()
    assert not kept[iou == 0].any()
    for group in ((iou > 0.3) & (iou <= 0.7), (iou > 0) & (iou <= 0.3)):
        assert abs(int(kept[group].sum()) - high) < 5 * high**0.5


def test_training_finds_the_action() -> None:
    """A few steps on one video whose action is visible in the features: the best proposal is the action."""
    torch.manual_seed(2)
    features = 0.3 * torch.randn(1, 16, 20)
    features[:, :8, 6:15] += 1
    targets = gtad_targets([torch.tensor([[6 / 20, 15 / 20]])], 20)
    model, generator = small(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    for _ in range(60):
        optimiser.zero_grad()
        gtad_loss(model(features), targets, generator).total.backward()
        optimiser.step()
    found = proposals(model(features))[0]
    torch.testing.assert_close(
        found.segments[found.scores.argmax()], torch.tensor([6 / 20, 15 / 20]), rtol=0, atol=0.051
    )


# Proposals


def output_of(start: list[float], end: list[float], score: float = 0.5) -> GTADOutput:
    length = len(start)
    return GTADOutput(torch.tensor([start]), torch.tensor([end]), torch.full((1, 2, length, length), score))


def test_candidates() -> None:
    probability = torch.tensor([0.1, 0.3, 0.2, 0.9, 0.46, 0.2, 0.25])
    assert boundary_candidates(probability, 0, "fixed").nonzero().flatten().tolist() == [0, 1, 3, 4, 6]
    assert boundary_candidates(probability, 0, "released").nonzero().flatten().tolist() == [0, 1, 3, 4]
    assert boundary_candidates(probability, 6, "released").nonzero().flatten().tolist() == [1, 3, 4, 6]


def test_fixed_reaches_the_end_of_the_video_and_released_does_not() -> None:
    start, end = [0.1, 0.9, 0.1, 0.1], [0.1, 0.1, 0.1, 0.9]
    assert proposals(output_of(start, end))[0].segments.tolist() == [[0.25, 1.0], [0.0, 1.0]]
    released = proposals(output_of(start, end), "released")[0].segments
    assert released.tolist() == [[0.25, 0.75], [0.0, 0.75]]
    assert proposals(output_of([0.5], [0.5]))[0].segments.tolist() == [[0.0, 1.0]]


def test_no_proposal_is_an_empty_list() -> None:
    found = proposals(output_of([0.5], [0.5]), "released")[0]
    assert found.segments.shape == (0, 2)
    assert found.scores.shape == (0,)


def test_score_is_classification_times_regression() -> None:
    output = output_of([0.9, 0.1, 0.1], [0.1, 0.1, 0.9])
    output.maps[0, :, 2, 0] = torch.tensor([0.5, 0.25])
    found = proposals(output)[0]
    assert found.segments.tolist() == [[0.0, 1.0]]
    assert found.scores.tolist() == [0.125]
