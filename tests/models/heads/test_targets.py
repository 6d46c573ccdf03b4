"""G-TAD's labels against the published rules, one cell at a time."""

import pytest
import torch

from models.heads.targets import gtad_targets


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


@pytest.mark.parametrize(("length", "max_duration"), [(1, 1), (10, 10), (16, 5)])
def test_against_brute_force(length: int, max_duration: int) -> None:
    generator = torch.Generator().manual_seed(length)
    videos = [torch.rand(count, 2, generator=generator).sort(dim=1).values for count in (3, 0, 1)]
    targets = gtad_targets(videos, length, max_duration)
    assert targets.iou.shape == (3, max_duration, length)
    for index, video in enumerate(videos):
        segments = [(low * length, high * length) for low, high in video.tolist()]
        for d in range(max_duration):
            for s in range(length):
                anchor = (s, s + d + 1)
                ious = [overlap(anchor, g) / (d + 1 + g[1] - g[0] - overlap(anchor, g)) for g in segments]
                expected = max(ious, default=0.0) if s + d < length else 0.0
                assert targets.iou[index, d, s].item() == pytest.approx(expected, abs=1e-5)
                assert targets.valid[d, s].item() == (s + d < length)
        for t in range(length):
            for side, labels in ((0, targets.start), (1, targets.end)):
                regions = [(g[side] - 1.5, g[side] + 1.5) for g in segments]
                two_cells = max((overlap((t - 0.5, t + 1.5), region) / 2 for region in regions), default=0.0)
                one_cell = max((overlap((t, t + 1), region) for region in regions), default=0.0)
                assert labels[index, t].item() == (two_cells > 0.5) == (one_cell > 0.5)


def test_segments_are_cut_to_the_video() -> None:
    cut, whole = gtad_targets([torch.tensor([[-0.5, 1.5]]), torch.tensor([[0.0, 1.0]])], 8).iou
    assert torch.equal(cut, whole)


def test_reversed_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="video 1 in the batch"):
        gtad_targets([torch.zeros(0, 2), torch.tensor([[0.7, 0.2]])], 8)
