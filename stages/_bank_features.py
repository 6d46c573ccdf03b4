"""Features of a bank's rows: a region of what an encoder says of the snippet around an instant (thesis, section 7.1.2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.run.params import Section
from stages import _encoder, _snippets

if TYPE_CHECKING:
    from torch import Tensor


class Regions(Section):
    """How regions become features; a part of section ``bank`` of params.yaml."""

    short_side: int = Field(ge=32, description="px of the pictures that the encoder sees; finer regions cost more")
    grid: int = Field(4, ge=1, description="cells of the grid, each way")
    region: int = Field(7, ge=1, description="cells of an aligned region, each way")
    precision: Literal["fp32", "fp16"] = Field("fp32", description="of the stored features")
    chunk: int = Field(8, ge=1, description="seconds encoded at once")
    threads: int = Field(1, ge=1, description="torch threads of each process; part of what makes equal bytes")


def features(
    stored: Path, encoder_folder: Path, rows: Mapping[str, np.ndarray], names: Sequence[str],
    size: tuple[int, int], params: Regions,
) -> np.ndarray:  # fmt: skip
    """The features [N, D] of all rows, by one encoder; a few seconds' maps and one second's regions at a time."""
    import torch

    from models.encoders.snippets import normalise_for
    from pipeline.training.device import device
    from pipeline.video.crop import crop_resize

    encoder, spec = _encoder.load_for_inference(encoder_folder, params.threads)
    # The whole picture, not the window that snippets are cut to: people stand at the edges too.
    height, width = (round(side * params.short_side / min(size)) for side in size)
    snippets = _snippets.Snippets(spec, {"video": stored})
    instants = np.unique(rows["t"])
    found = [np.zeros((0, _encoder.feature_dim(encoder)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(instants), params.chunk):
            some = instants[start : start + params.chunk]
            pictures = snippets.pictures("video", some)
            flat = crop_resize(pictures.reshape(-1, *pictures.shape[2:]), height, width)
            clips = torch.from_numpy(flat.reshape(*pictures.shape[:2], height, width, -1)).permute(0, 4, 1, 2, 3)
            maps = encoder(normalise_for(encoder, clips.to(device()))).mean(dim=2)
            for i, when in enumerate(some):
                mine = rows["t"] == when
                label = np.array(names)[rows["label"][mine]]
                found.append(_regions(maps[i : i + 1], rows["box"][mine], label, size, params).cpu().numpy())
    feature = np.concatenate(found).astype({"fp32": np.float32, "fp16": np.float16}[params.precision])
    if not np.isfinite(feature).all():
        row = int(np.isfinite(feature).all(axis=1).argmin())
        raise ValueError(
            f"the feature of row {row} ({rows['t'][row]:.2f} s) is not finite in {params.precision}; encoder: {spec.name}"
        )
    return feature


def _regions(
    values: "Tensor", boxes: np.ndarray, label: np.ndarray, size: tuple[int, int], params: Regions
) -> "Tensor":
    """Features [n, D] of one instant's rows on its map ``values`` [1, D, h, w]; grid and global rows come last."""
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    from models.detectors import FeatureMap
    from models.roi import roi_features

    scale = (values.shape[2] / size[0], values.shape[3] / size[1])
    boxed = ~np.isin(label, ["grid", "global"])
    parts = [roi_features(FeatureMap(values, scale), [torch.from_numpy(boxes[boxed])], params.region)]
    for kind, cells in (("grid", params.grid), ("global", 1)):
        if (label == kind).any():
            parts.append(adaptive_avg_pool2d(values.float(), cells)[0].flatten(1).T)
    return torch.cat(parts)
