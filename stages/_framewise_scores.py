"""What the frame-wise networks say of whole videos, and how good that is."""

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.datasets.formats.common import AnnotatedVideo
from pipeline.datasets.schema import Video
from pipeline.evaluation.accuracy import multi_label_map
from pipeline.evaluation.bootstrap import Interval
from pipeline.evaluation.charades import at_instants, at_times, localize_truth
from pipeline.evaluation.frames import frame_truth
from pipeline.evaluation.multilabel_bootstrap import Resampled, resampled
from pipeline.run.files import write_bytes
from stages import _framewise_clips, _framewise_models
from stages._framewise_clips import Reader
from stages._framewise_networks import NetworkSection

if TYPE_CHECKING:
    from torch import nn

LOCALIZE, CLASSIFY = "charades_v1_localize", "charades_v1_classify"
MULTITHUMOS_CLASSES = tuple(str(index) for index in range(1, 66))


class Said(NamedTuple):
    """Scores of videos by video id, float32: at the 25 instants [25, K], and at every frame of the file [n_frames, K].

    ``videos``: of the whole video, each class at its highest frame [K]. ``grid``: times in seconds of the frames that Grid
    Pool took, float32; empty without it.
    """

    instants: Mapping[str, np.ndarray]
    frames: Mapping[str, np.ndarray]
    videos: Mapping[str, np.ndarray]
    grid: Mapping[str, np.ndarray]


def cell_logits(
    network: "nn.Module", section: NetworkSection, reader: Reader, video: Video
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [T, K] of the T cells of a video, its parts (of at most ``test_frames`` cells) one after the other.

    And the times in seconds at which Grid Pool took frames, of all parts.
    """
    import torch

    from pipeline.training.device import device, to_device

    cells, most = reader.cells(video), reader.spec.test_frames or reader.cells(video)
    parts = -(-cells // most)
    found, looked = [], [np.zeros(0, np.float32)]
    with torch.inference_mode():
        for part in np.array_split(np.arange(cells), parts):
            pictures = reader.pictures(video, int(part[0]), len(part), None)
            batch = to_device(_framewise_clips.whole(pictures), device())
            logits, _ = _framewise_models.answer(network, section, batch, len(part))
            found.append(logits[0].T.float().cpu().numpy())
            grid = _framewise_models.grid(network, section, batch)
            if grid is not None:
                looked.append((part[0] + grid.float().cpu().numpy() + 0.5) * (video.duration_s / cells))
    return np.concatenate(found), np.concatenate(looked).astype(np.float32)


def say(
    network: "nn.Module",
    section: NetworkSection,
    reader: Reader,
    videos: Sequence[Video],
    done: Callable[[int], object] | None = None,
) -> Said:
    """Ask a network about whole videos; logits are interpolated in time (section 4.1), then squashed.

    Without ``done``, which is told how many videos are, only at the 25 instants.
    """
    network.eval()
    instants, frames, whole, grid = (dict[str, np.ndarray]() for _ in range(4))
    for number, video in enumerate(videos, start=1):
        logits, looked = cell_logits(network, section, reader, video)
        instants[video.id] = _squashed(at_instants(logits, video.duration_s))
        if done is not None:
            done(number)
            times = np.arange(video.n_frames, dtype=np.float64) * video.duration_s / max(video.n_frames, 1)
            whole[video.id] = _squashed(logits.max(axis=0))
            grid |= {video.id: looked} if len(looked) else {}
            frames[video.id] = _squashed(at_times(logits, video.duration_s, times))
    return Said(instants, frames, whole, grid)


def _squashed(logits: np.ndarray) -> np.ndarray:
    squashed: np.ndarray = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return squashed


def annotated(video: Video) -> AnnotatedVideo:
    """A video as the evaluators know it."""
    return AnnotatedVideo(video.id, video.subset, video.segments, video.duration_s)


def quality(said: Said, videos: Sequence[Video], index: Mapping[str, int]) -> float:
    """For the choice of weights: mAP at the 25 instants, over the classes that occur."""
    from pipeline.evaluation.charades import localize

    return localize([annotated(video) for video in videos], said.instants, index).mAP_present


def frames_protocol(classes: Sequence[str]) -> str:
    """How the mAP over all frames is called: MultiTHUMOS' protocol on its classes, else ``frames``."""
    return "multithumos" if tuple(classes) == MULTITHUMOS_CLASSES else "frames"


def measure(
    found: Mapping[str, Said], videos: Sequence[Video], classes: Sequence[str], resamples: int, seed: int
) -> dict[str, float]:
    """Metrics of all networks on the same resamples of the test videos.

    ``charades_v1_localize_mAP`` and ``_wAP`` (25 instants a video; the mean is over the classes that occur, the official
    one wherever all do), ``charades_v1_classify_mAP`` and ``_wAP`` (of whole videos) and, over all frames of the files,
    ``frames_mAP`` or ``multithumos_mAP`` (a class that never occurs counts 0). ``gain``: in the first figure over the first
    network.
    """
    index = {name: i for i, name in enumerate(classes)}
    truths = [annotated(video) for video in videos]
    at_25 = resampled(
        {name: [said.instants[v.id] for v in videos] for name, said in found.items()},
        [localize_truth(video, index) for video in truths], resamples, seed,
    )  # fmt: skip
    everywhere = resampled(
        {name: [said.frames[v.id] for v in videos] for name, said in found.items()},
        [frame_truth(a, classes, v.n_frames) for a, v in zip(truths, videos, strict=True)], resamples, seed,
    )  # fmt: skip
    first = next(iter(found))
    share = everywhere.point[first].positives
    metrics = {"classes_without_test_rows": float((at_25.point[first].positives == 0).sum())}
    metrics["chance_mAP"] = _chance(at_25, first)
    for name in found:
        metrics |= _named(f"{LOCALIZE}_mAP", name, at_25.mAP(name)) | _named(f"{LOCALIZE}_wAP", name, at_25.wAP(name))
        frames = everywhere.mAP(name)
        occur = float((share > 0).mean())  # APMeter's mean has a 0 for each class that never occurs
        metrics |= _named(
            f"{frames_protocol(classes)}_mAP", name, Interval(*(occur * value for value in vars(frames).values()))
        )
        mean, weighted = multi_label_map(np.stack([found[name].videos[v.id] for v in videos]), occurring(videos, index))
        metrics |= {f"{CLASSIFY}_mAP/{name}": mean, f"{CLASSIFY}_wAP/{name}": weighted}
        if name != first:
            metrics |= _named("gain", name, at_25.difference(name, first))
    return metrics


def occurring(videos: Sequence[Video], index: Mapping[str, int]) -> np.ndarray:
    """Which classes occur in videos, 0/1 [V, K]."""
    labels = np.zeros((len(videos), len(index)), np.uint8)
    for row, video in zip(labels, videos, strict=True):
        row[[index[segment.label] for segment in video.segments]] = 1
    return labels


def _chance(at_25: Resampled, name: str) -> float:
    """Mean share of rows at which a class is on: what scores without meaning get, about."""
    result = at_25.point[name]
    return float((result.positives[result.positives > 0] / result.rows).mean())


def _named(key: str, name: str, interval: Interval) -> dict[str, float]:
    return {f"{key}/{name}": interval.value, f"{key}_low/{name}": interval.low, f"{key}_high/{name}": interval.high}


def costs(network: "nn.Module", section: NetworkSection, reader: Reader, video: Video) -> dict[str, float]:
    """Parameters in 1e6, and multiply-accumulates of convolutions, in 1e9, for a clip of ``context`` frames.

    As the papers write the network down; one with SGS, whose cost hangs on what it sees, on a clip of ``video``.
    """
    import torch

    from models.costs import cost

    spec = reader.spec
    where = "meta" if section.sgs is None else "cpu"
    with torch.device(where):
        clip = torch.zeros(1, 3, spec.context, spec.height, spec.width)
    if section.sgs is not None:
        from models.encoders.snippets import normalise_for

        pictures = reader.pictures(video, 0, min(spec.context, reader.cells(video)), None)
        clip = normalise_for(network, _framewise_clips.whole(pictures).video)
    counted = cost(copy.deepcopy(network).to(where), clip)
    return {"params_m": counted.params / 1e6, "conv_gmacs": counted.conv_macs / 1e9}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An ``.npz`` by video id, as ``python -m pipeline evaluate`` reads it."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())
