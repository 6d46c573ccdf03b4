"""The bootstrap of multi-label AP against writing every drawn video out."""

import numpy as np
import pytest

from pipeline.datasets.frame_labels import FrameLabels
from pipeline.evaluation.bootstrap import draw_videos
from pipeline.evaluation.multilabel import multilabel
from pipeline.evaluation.multilabel_bootstrap import resampled


def labels_of(table: np.ndarray) -> FrameLabels:
    counts = table.sum(axis=1)
    return FrameLabels(np.r_[0, np.cumsum(counts)], np.nonzero(table)[1].astype(np.int32), table.shape[1])


def test_a_resample_equals_the_videos_written_out() -> None:
    rng = np.random.default_rng(3)
    tables = [rng.random((int(rng.integers(3, 9)), 4)) < [0.5, 0.3, 0.1, 0.0] for _ in range(6)]
    labels = [labels_of(table) for table in tables]
    scores = {name: [rng.normal(size=table.shape) + gain * table for table in tables] for name, gain in
              (("good", 2.0), ("bad", 0.0))}  # fmt: skip
    found = resampled(scores, labels, resamples=40, seed=5)
    for r, drawn in enumerate(draw_videos(6, 40, 5)):
        chosen = np.repeat(np.arange(6), drawn)
        for name, one in scores.items():
            # No two rows score the same but copies, which follow each other in the ranking either way.
            literal = multilabel([one[v] for v in chosen], [labels[v] for v in chosen])
            assert found.maps[name][r] == pytest.approx(literal.mAP_present, abs=1e-12)
            assert found.waps[name][r] == pytest.approx(literal.wAP, abs=1e-12)
    assert found.mAP("good").value == multilabel(scores["good"], labels).mAP_present
    assert found.mAP("good").low < found.mAP("good").value < found.mAP("good").high
    gain = found.difference("good", "bad")
    assert gain.value == pytest.approx(found.mAP("good").value - found.mAP("bad").value) and gain.low > 0


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tables = [rng.random((5, 2)) < 0.4 for _ in range(4)]
    labels, scores = [labels_of(t) for t in tables], {"it": [rng.normal(size=t.shape) for t in tables]}
    whole = resampled(scores, labels, resamples=30)
    monkeypatch.setattr("pipeline.evaluation.multilabel_bootstrap._BLOCK_ELEMENTS", 50)
    assert np.array_equal(resampled(scores, labels, resamples=30).maps["it"], whole.maps["it"])
