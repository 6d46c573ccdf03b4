"""Contexts of boxes and late fusion: no box sees itself, what others do is seen, two linear layers learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.heads.long_form import InstanceHead, LateFusionHead
from models.object_transformer import ObjectTransformer
from pipeline.datasets.spans import Instances, Sampling
from stages._box_context import BoxContext, box_attention, box_contexts, box_scores, fit_late_fusion
from stages._long_form_schedule import Schedule


def couple(seconds: int = 40, people: int = 3, seed: int = 0) -> Instances:
    rng = np.random.default_rng(seed)
    n = seconds * people
    return Instances(
        np.repeat(np.arange(seconds) + 0.5, people),
        np.sort(rng.random((n, 4)), axis=1).astype(np.float32),
        np.tile(np.arange(people), seconds),
        np.ones(n, np.int64),
        np.zeros(n, np.int64),
        rng.standard_normal((n, 5)).astype(np.float16),
    )


@pytest.fixture
def backbone() -> Any:
    torch.manual_seed(0)
    model = ObjectTransformer((5,), width=16, layers=1, heads=2, inner=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.mark.parametrize("rounds", [2, 3, 10])
def test_a_box_does_not_see_itself_but_the_others(backbone: Any, rounds: int) -> None:
    video, sampling = couple(), Sampling(length_s=20)
    before = box_contexts(backbone, video, range(10, 20), sampling, rounds)
    assert before.row.tolist() == list(range(30, 60)) and before.context.shape == (30, 16)
    np.testing.assert_array_equal(before.feature, video.feature[before.row])
    assert before.feature.dtype == np.float16, "as precise as stored"
    feature = video.feature.copy()
    feature[video.instance == 1] += 2
    after = box_contexts(backbone, replace(video, feature=feature), range(10, 20), sampling, rounds)
    moved = np.abs(after.context - before.context).max(axis=1)
    mine = video.instance[before.row] == 1
    assert moved[mine].max() < 1e-5, "its own features are hidden, at every second"
    # With two rounds, persons 0 and 2 are hidden together, and 1 is seen by both.
    assert moved[~mine].min() > 1e-4
    assert backbone.training, "its mode is put back"


def test_attention_is_that_of_the_pass_in_which_the_box_is_hidden(backbone: Any) -> None:
    video, sampling = couple(), Sampling(length_s=20, budget=50)
    row = 3 * 15 + 1
    rows, shares = box_attention(backbone, video, row, sampling, 3)
    assert len(rows) == 50 and row in rows and 0.5 < shares.sum() < 1, "the rest goes to [CLS]"
    assert set(video.second[rows]) <= set(range(5, 25))
    for who, seen in ((1, False), (0, True)):
        feature = video.feature.copy()
        feature[video.instance == who] += 2
        _, after = box_attention(backbone, replace(video, feature=feature), row, sampling, 3)
        assert (np.abs(after - shares).max() > 1e-5) == seen, "its own features are hidden, those of others are not"
    assert backbone.training, "its mode is put back"


def test_key_frames_without_boxes_and_beyond_the_budget(backbone: Any) -> None:
    video = couple(6, 4)
    nothing = box_contexts(backbone, video, [90], Sampling(length_s=20))
    assert nothing.context.shape == (0, 16) and nothing.feature.shape == (0, 5)
    assert len(box_contexts(backbone, video, [3], Sampling(length_s=20, budget=3)).row) == 3


def test_fusion_learns_in_two_layers_only() -> None:
    rng = np.random.default_rng(0)
    context, feature = (
        rng.standard_normal((400, 16)).astype(np.float32),
        rng.standard_normal((400, 5)).astype(np.float32),
    )
    torch.manual_seed(0)
    head = LateFusionHead(InstanceHead(16, 3), 5)
    with torch.no_grad():  # what the frozen layers make of the context
        seen = head.context.norm(torch.nn.functional.gelu(head.context.dense(torch.from_numpy(context)))).numpy()
    # One class is told by the context, one by the box itself, one by both.
    labels = np.stack([seen[:, 0] > 0, feature[:, 0] > 0, seen[:, 1] + feature[:, 1] > 0], axis=1)
    frozen = {name: value.clone() for name, value in head.named_parameters() if not value.requires_grad}
    boxes = BoxContext(np.arange(400), context, feature)
    history = fit_late_fusion(head, boxes, labels.astype(float), Schedule(steps=100, batch=64, lr=5e-2))
    assert history[-1]["total"] < 0.6 * history[0]["total"]
    fused = ((box_scores(head, boxes) > 0.5) == labels).mean(axis=0)
    alone = ((box_scores(head, boxes, fused=False) > 0.5) == labels).mean(axis=0)
    assert fused.min() > 0.8
    assert alone[1] < 0.65 < alone[0], "the context alone cannot tell what only the box shows"
    for name, value in frozen.items():
        assert torch.equal(dict(head.named_parameters())[name], value), name
