"""Features of regions: RoIAlign on a feature map, then the maximum over the region (Wu et al., LFB, section 4.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from models.detectors import FeatureMap


def roi_features(feature_map: FeatureMap, boxes: Sequence[Tensor], size: int = 7) -> Tensor:
    """One feature vector per box.

    Args:
        feature_map: of B pictures.
        boxes: for each of the B pictures its boxes ``[N_b, 4]``, px of the picture.
        size: cells of the aligned region, each way.

    Returns:
        ``[sum of N_b, C]``, picture after picture.

    Raises:
        ValueError: not one list of boxes per picture.
    """
    values, (vertical, horizontal) = feature_map
    if len(boxes) != len(values):
        raise ValueError(f"{len(boxes)} lists of boxes for {len(values)} pictures")
    scale = torch.tensor([horizontal, vertical, horizontal, vertical], device=values.device)
    cells = [one.to(values.device, torch.float32) * scale for one in boxes]
    if not sum(map(len, cells)):
        return values.new_zeros((0, values.shape[1]))
    aligned: Tensor = roi_align(values.float(), cells, size, sampling_ratio=2, aligned=True)
    return aligned.amax(dim=(2, 3))
