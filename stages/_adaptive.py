"""The report on an encoder with a temporal module: what it does with the test clips, and what it costs.

Drawn of the ``lofi`` encoder, on the snippet in the middle of each action instance of the test videos.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.datasets.schema import Dataset
from pipeline.evaluation.bootstrap import Interval
from pipeline.report import blocks
from pipeline.report.plots import Plot
from pipeline.report.temporal_plots import Clip, Cost, frames_by_class, grid_locations, grouped_frames, score_by_cost
from pipeline.run.files import read_json
from stages import _encoder, _outputs, _snippets

if TYPE_CHECKING:
    from models.temporal.look import Look

SHOWN = 3
"""Clips that are drawn, from the one that keeps fewest frames to the one that keeps most."""

_MOST_CLIPS = 400
_BATCH = 32
BENCH = "reports/bench/adaptive.json"
Drawn = Mapping[str, Plot]
"""Plots by the name of their file."""


def drawn(root: Path, dataset: Dataset) -> Drawn:
    """Plots of the temporal module; none where the encoder has none, or is not there."""
    folder = root / _outputs.ENCODERS.format(variant="lofi")
    if not (folder / _encoder.SPEC_FILE).is_file():
        return {}
    temporal = _encoder.load_spec(folder).temporal
    plots = dict[str, Plot]()
    if temporal is not None:
        clips, counts = _looked_at(root, dataset, folder)
        if clips and clips[0].weights is not None:
            plots |= {f"bins_{i}": grouped_frames(clip) for i, clip in enumerate(clips)}
            plots["bins_by_class"] = frames_by_class(counts, len(clips[0].pictures), "active bins")
        elif clips and clips[0].positions is not None:
            plots["grid_locations"] = grid_locations(clips)
    return plots | _cost(root)


def section(plots: Drawn) -> list[blocks.Section]:
    """The section of the report, if there is anything to show."""
    if not plots:
        return []
    wide = [plot for name, plot in plots.items() if name.startswith(("bins_0", "bins_1", "bins_2", "grid"))]
    others = [plot for plot in plots.values() if plot not in wide]
    text = "Clips of the test videos, the middle of an action each, in the encoder trained end to end."
    parts = [blocks.Plots(wide, wide=True)] * bool(wide) + [blocks.Plots(others)] * bool(others)
    return [blocks.Section("adaptive", "Adaptive time inside the encoder", text if wide else "", parts)]


def frames_kept(root: Path, dataset: Dataset, folder: Path) -> dict[str, np.ndarray]:
    """Real frames behind the temporal module of the encoder in ``folder``, for each test instance of each class."""
    return _looked_at(root, dataset, folder)[1]


def _looked_at(root: Path, dataset: Dataset, folder: Path) -> tuple[list[Clip], dict[str, np.ndarray]]:
    """Some clips with what the module made of them, and how many frames those of each class keep."""
    import torch

    from models.encoders.snippets import normalise_for
    from models.encoders.staged import StagedEncoder
    from models.temporal.look import look

    encoder, spec = _encoder.load(folder)
    if not isinstance(encoder, StagedEncoder):  # several encoders side by side have several modules
        return [], {}
    source = _snippets.Snippets.of_root(root, spec, [video.id for video in dataset])
    found: list[tuple[str, str, float, Look, int]] = []
    counts: dict[str, list[int]] = {}
    places = [
        (video.id, segment.label, (segment.t_start + segment.t_end) / 2)
        for video in dataset.subset("testing")
        if video.id in source
        for segment in video.segments
    ][:_MOST_CLIPS]
    for start in range(0, len(places), _BATCH):
        part = places[start : start + _BATCH]
        clips = torch.cat([source.clips(id_, np.array([at])) for id_, _, at in part])
        seen = look(encoder, normalise_for(encoder, clips))
        for row, (id_, label, at) in enumerate(part):
            counts.setdefault(label, []).append(int(seen.frames[row]))
            found.append((id_, label, at, seen, row))
    # By the frames that they keep; where all keep as many, by how uneven the places are that they are taken from.
    order = sorted(range(len(found)), key=lambda i: _activity(found[i][3], found[i][4]))
    chosen = [order[round(place)] for place in np.linspace(0, len(order) - 1, min(SHOWN, len(order)))]
    return [_clip(source, *found[i]) for i in chosen], {name: np.array(values) for name, values in counts.items()}


def _activity(seen: "Look", row: int) -> float:
    if seen.positions is None:
        return float(seen.frames[row])
    return float(seen.positions[row].diff().std(unbiased=False))


def _clip(source: _snippets.Snippets, id_: str, label: str, at: float, seen: "Look", row: int) -> Clip:
    count = int(seen.frames[row])

    def of(values: Any) -> Any:
        return None if values is None else values[row][:count].numpy()

    pictures = source.clips(id_, np.array([at]))[0].permute(1, 2, 3, 0).numpy()[..., :3]
    name = f"{label}: {id_} at {at:.1f} s"
    return Clip(name, pictures, seen.before[row].numpy(), of(seen.after), of(seen.weights), of(seen.positions))


def _cost(root: Path) -> dict[str, Plot]:
    """mAP against cost, where ``python -m pipeline bench adaptive`` has measured it."""
    path = root / BENCH
    if not path.is_file():
        return {}
    rows = read_json(path)["rows"]
    costs = [Cost(row["name"], row["gmacs"], Interval(row["mAP"], row["mAP_low"], row["mAP_high"])) for row in rows]
    caption = "Average mAP of the test videos with 95 % intervals; cost of encoding a test snippet, mean over clips."
    return {"map_by_cost": score_by_cost(costs, "Average mAP", caption)}
