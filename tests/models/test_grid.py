"""Grid and global features, and the boxes they stand for."""

import pytest
import torch

from models.detectors import FeatureMap
from models.grid import grid_boxes, grid_features
from models.roi import roi_features


def test_bins_are_means_in_reading_order() -> None:
    values = torch.arange(2 * 3 * 4 * 8, dtype=torch.float32).reshape(2, 3, 4, 8)
    found = grid_features(values, 2)
    expected = [values[:, :, y : y + 2, x : x + 4].mean(dim=(2, 3)) for y in (0, 2) for x in (0, 4)]
    torch.testing.assert_close(found, torch.stack(expected, dim=1))
    torch.testing.assert_close(grid_features(values, 1)[:, 0], values.mean(dim=(2, 3)))
    with pytest.raises(ValueError, match="cells is 0"):
        grid_features(values, 0)


def test_boxes_are_those_of_the_bins() -> None:
    boxes = grid_boxes(4, 40, 80)
    assert boxes[0].tolist() == [0, 0, 20, 10] and boxes[-1].tolist() == [60, 30, 80, 40]
    values = (
        torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
        .repeat_interleave(8, 2)
        .repeat_interleave(8, 3)
    )
    centres = torch.cat([boxes[:, :2] * 0.7 + boxes[:, 2:] * 0.3, boxes[:, :2] * 0.3 + boxes[:, 2:] * 0.7], dim=1)
    regions = roi_features(FeatureMap(values, (32 / 40, 32 / 80)), [centres], size=2)
    torch.testing.assert_close(grid_features(values, 4)[0], regions)
