"""From proposals to detections: suppression and voting as the parameters say."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages._detections import Postprocess, suppressed

SEGMENTS = torch.tensor([[0.0, 0.4], [0.04, 0.4], [0.6, 0.9]])
SCORES = torch.tensor([0.9, 0.8, 0.5])


class Proposals:
    """A localiser's last step alone: what it is given are the proposals."""

    @staticmethod
    def proposals(output: tuple[torch.Tensor, torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [output]


def kept(**post: object) -> tuple[np.ndarray, np.ndarray]:
    (result,) = suppressed(Proposals(), (SEGMENTS, SCORES), Postprocess(**post))  # type: ignore[arg-type]
    return result


def test_the_three_ways_to_lower_scores() -> None:
    # IoU of the first two is 0.9; the third overlaps none.
    assert kept()[1] == pytest.approx([0.9, 0.5, 0.8 * np.exp(-0.81 / 0.8)])
    assert kept(soft_nms_sigma=0.4)[1] == pytest.approx([0.9, 0.5, 0.8 * np.exp(-0.81 / 0.4)])
    assert kept(soft_nms="linear")[1] == pytest.approx([0.9, 0.5, 0.08])
    assert kept(soft_nms="hard")[1] == pytest.approx([0.9, 0.5])
    assert kept(soft_nms="hard", soft_nms_iou=0.95)[1] == pytest.approx([0.9, 0.8, 0.5])
    assert kept(top_k=1)[1] == pytest.approx([0.9])


def test_voting_moves_what_was_kept_to_its_neighbours_mean() -> None:
    segments, scores = kept(soft_nms="hard", vote="score")
    assert segments == pytest.approx(np.array([[0.8 * 0.04 / 1.7, 0.4], [0.6, 0.9]]), abs=1e-6)
    assert scores == pytest.approx([0.9, 0.5])
    by_iou, _ = kept(soft_nms="hard", vote="score_iou")
    assert by_iou[0, 0] == pytest.approx(0.8 * 0.9 * 0.04 / (0.9 + 0.72), abs=1e-6)
    assert kept(soft_nms="hard", vote="score", vote_iou=0.95)[0][0, 0] == 0


def test_what_is_not_allowed_is_named() -> None:
    with pytest.raises(ValidationError, match=r"soft_nms\n.*'gaussian', 'linear' or 'hard'"):
        Postprocess(soft_nms="softer")  # type: ignore[arg-type]
