"""Segment classifier and recognition head."""

import pytest
import torch

from models.heads import HEADS, build_head
from models.heads.segment_classifier import SegmentClassifier, pool_segments


def test_every_head_of_the_table_builds() -> None:
    special: dict[str, dict[str, int]] = {"gtad": {}, "actionformer": {}, "feature_bank": {"bank_dim": 8, "classes": 5}}
    for name in HEADS:
        options = special.get(name, {"classes": 5})
        assert isinstance(build_head(name, feature_dim=16, **options), torch.nn.Module)


def test_pooling_weighs_snippets_by_overlap() -> None:
    features = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    segments = torch.tensor([[0.0, 0.5], [0.125, 0.5], [0.25, 0.25], [1.0, 1.0], [-1.0, 2.0], [0.8, 0.9]])
    expected = [[1.5], [(0.5 * 1 + 2) / 1.5], [2.0], [8.0], [3.75], [8.0]]
    torch.testing.assert_close(pool_segments(features, segments), torch.tensor(expected))
    assert pool_segments(features, torch.zeros(0, 2)).shape == (0, 1)


def test_classifier_standardises_and_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    head = SegmentClassifier(6, 4)
    features = 3 + 5 * torch.randn(2, 6, 12)
    features[:, 2] = 1.0
    segments = [torch.tensor([[0.1, 0.4], [0.3, 0.9]]), torch.zeros(0, 2)]
    pooled = pool_segments(features[0], segments[0])
    head.fit_standardisation(pooled)
    assert head.std[2] == 1
    logits = head(features, segments)
    assert [tuple(video.shape) for video in logits] == [(2, 4), (0, 4)]
    standard = (pooled - pooled.mean(dim=0)) / torch.where(head.std == 1, 1.0, pooled.std(dim=0, correction=0))
    torch.testing.assert_close(logits[0], head.linear(standard), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head(features[:1], segments[:1])[0], logits[0])
    with pytest.raises(ValueError, match="2 videos but segments of 1"):
        head(features, segments[:1])


def test_recognition_is_linear_in_evaluation() -> None:
    head = build_head("recognition", feature_dim=6, classes=3).eval()
    features = torch.randn(2, 5, 6)
    torch.testing.assert_close(head(features), features @ head.linear.weight.T + head.linear.bias)
