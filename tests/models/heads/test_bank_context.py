"""Long-term context in front of a localiser: what it gives by hand, what an empty window leaves, and that both train."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.heads import build_head
from models.heads.bank_context import BankContext, BankLocaliser, BankSegmentClassifier, BankWindows
from models.heads.segment_classifier import SegmentClassifier
from models.heads.standardise import StandardisedLocaliser

SIZES: dict[str, dict[str, Any]] = {
    "gtad": {"hidden": 16, "groups": 4, "inner_points": 4, "context_points": 2, "aligned": 8, "localisation": 8},
    "actionformer": {"hidden": 16, "heads": 2, "window": 3, "levels": 3, "drop_path": 0.0, "dropout": 0.0},
}
LENGTH = 6


def shaken(module: nn.Module, seed: int = 1) -> Any:
    """Weights of which none is zero, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module.eval()


def windows(of: list[int], filled: tuple[int, ...] = (0, 3, 5), dim: int = 4) -> BankWindows:
    """Windows of 0, 3 and 5 rows; NaN where not filled."""
    generator = torch.Generator().manual_seed(3)
    valid = torch.arange(5) < torch.tensor(filled)[:, None]
    rows = torch.randn(len(filled), 5, dim, generator=generator)
    return BankWindows(rows.masked_fill(~valid[..., None], torch.nan), valid, torch.tensor(of))


def localiser(name: str) -> StandardisedLocaliser:
    torch.manual_seed(0)
    return StandardisedLocaliser(8, build_head(name, feature_dim=8, **SIZES[name]))


def tensors(output: Any) -> list[Tensor]:
    """All tensors of a head's output, whatever its form."""
    if isinstance(output, Tensor):
        return [output]
    return [t for part in output for t in tensors(part)] if isinstance(output, (list, tuple)) else []


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_the_pooled_window_is_added_to_its_own_queries(pool: Any) -> None:
    context = shaken(BankContext(8, 4, pool))
    features, given = torch.randn(5, 8), windows([2, 0, 1, 2, 1])
    joined = context(features, given).detach().numpy()
    weight, bias = (context.project.get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    for n, number in enumerate((2, 0, 1, 2, 1)):
        rows = given.rows[number, : (0, 3, 5)[number]].numpy()
        expected = features[n].numpy()
        if len(rows):
            expected = expected + weight @ (rows.mean(axis=0) if pool == "avg" else rows.max(axis=0)) + bias
        np.testing.assert_allclose(joined[n], expected, rtol=1e-5, atol=1e-6)


def test_attention_of_a_query_does_not_depend_on_who_shares_its_window() -> None:
    context = shaken(BankContext(8, 4, "nl", layers=2, hidden=8))
    features, of = torch.randn(5, 8), [2, 1, 1, 2, 1]
    joined = context(features, windows(of))
    for n, number in enumerate(of):
        alone = context(features[n : n + 1], windows([number]))
        torch.testing.assert_close(joined[n : n + 1], alone)
        assert (alone - features[n : n + 1]).abs().max() > 0.1
    moved = windows(of)
    moved.rows[1, 0] += 1
    assert ((context(features, moved) - joined).abs().amax(dim=1) > 1e-4).tolist() == [number == 1 for number in of]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("operator", ["nl", "avg", "max"])
def test_without_rows_and_before_training_it_is_the_localiser_alone(name: str, operator: Any) -> None:
    plain = shaken(localiser(name))
    features = torch.randn(2, 8, LENGTH)
    expected = tensors(plain(features))
    empty, full = windows([0] * 2 * LENGTH), windows([1, 2] * LENGTH)
    torch.manual_seed(5)
    fresh = BankLocaliser(plain, BankContext(8, 4, operator, layers=1, hidden=8)).eval()
    for given in (empty, full):
        for ours, theirs in zip(tensors(fresh(features, given)), expected, strict=True):
            assert torch.equal(ours, theirs)
    trained = BankLocaliser(plain, shaken(fresh.context))
    for ours, theirs in zip(tensors(trained(features, empty)), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert any(not torch.equal(a, b) for a, b in zip(tensors(trained(features, full)), expected, strict=True))


@pytest.mark.parametrize("name", SIZES)
def test_the_gradient_reaches_operator_and_head_as_one(name: str) -> None:
    model = BankLocaliser(localiser(name), BankContext(8, 4, "nl", layers=1, hidden=8, dropout=0.0)).train()
    shaken(model.context).train()
    features, segments = torch.randn(2, 8, LENGTH), [torch.tensor([[0.1, 0.6]]), torch.tensor([[0.4, 0.9]])]
    output = model(features, windows([0] * LENGTH + [1, 2] * (LENGTH // 2)))
    labels = model.localiser.labels(segments, LENGTH)
    model.localiser.loss(output, labels, torch.Generator().manual_seed(0)).total.backward()
    for part in ("localiser.head", "context.operator.reduce_short", "context.operator.reduce_bank", "context.project"):
        norms = [p.grad.norm() for p in model.get_submodule(part).parameters() if p.grad is not None]
        assert norms and torch.stack(norms).sum() > 0 and torch.stack(norms).isfinite().all(), part


def test_a_segments_class_may_depend_on_the_window_alone() -> None:
    classifier = SegmentClassifier(8, 3)
    classifier.fit_standardisation(torch.randn(20, 8) * 3 + 1)
    pooled = torch.randn(4, 8)
    model = shaken(BankSegmentClassifier(classifier, BankContext(8, 4, "max")))
    logits = model.classify(pooled, windows([0, 0, 1, 2]))
    plain = classifier.classify(pooled)
    assert torch.equal(logits[:2], plain[:2])
    assert ((logits - plain)[2:].abs().amax(dim=1) > 1e-3).all()
    assert model.classify(pooled[:0], windows([])).shape == (0, 3)


def test_what_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="pool is 'sum'; allowed: avg, max"):
        BankContext(8, 4, "sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layers is 4"):
        BankContext(8, 4, layers=4)
