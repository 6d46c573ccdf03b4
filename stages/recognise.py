"""recognise: CoViAR, action recognition on the compressed stream (Wu et al., CVPR 2018; thesis, chapter 4).

In: compressed streams (and frames, for optical flow), and the segments of the data set. A network for each stream
(I-frames, motion, residuals, flow) is trained on the clips of the training subsets and scored on those of ``testing``; the
scores are then added up. Out: the networks, their histories, the scores of every test clip (``<stream>.npz``: scores [N,
classes], labels, names), and the table: top-1 accuracy with intervals over the test videos, beside chance.
``task: frames`` labels sampled frames of whole videos instead and scores videos by mAP and wAP, as on Charades.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from pipeline.datasets.clips import ClipSpec, Sources, Stream
from pipeline.datasets.schema import SUBSETS, Dataset, Segment
from pipeline.run import kinds
from pipeline.run.files import write_bytes, write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import _outputs, _streams, _training
from stages._streams import Item, Task

NAMES = {"i": "I", "mv": "M", "residual": "R", "flow": "flow"}
"""How the thesis' tables call the streams; fused ones are joined by +."""


class Recognise(Section):
    """Section ``recognise`` of params.yaml."""

    task: Literal["clips", "frames"] = Field("clips", description="one label of a clip; or labels of a video's frames")
    subsets: tuple[Literal["auxiliary", "training"], ...] = Field(("auxiliary", "training"), min_length=1)
    clips: ClipSpec
    streams: tuple[Stream, ...] = Field(_streams.ORDER, min_length=1, description="which are trained and fused")
    networks: dict[Stream, _streams.NetworkSection] = Field(description="at least those of streams")
    fusion: dict[Stream, float] = Field({"i": 2.0, "mv": 1.0, "residual": 1.0, "flow": 2.0})
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0, description="of the resamples")

    @field_validator("fusion")
    @classmethod
    def _weights_for_all(cls, fusion: dict[Stream, float]) -> dict[Stream, float]:
        if set(fusion) != set(_streams.ORDER):
            raise ValueError(f"needs a weight for each of {', '.join(_streams.ORDER)}, got {', '.join(fusion)}")
        return fusion

    @model_validator(mode="after")
    def _networks_for_all(self) -> "Recognise":
        if missing := [stream for stream in self.streams if stream not in self.networks]:
            raise ValueError(f"networks lack the streams {', '.join(missing)}")
        return self


def inputs(context: Context) -> Sequence[Path]:
    """The data set, and the artifacts that the chosen streams read."""
    streams = context.params.streams
    folders = [_outputs.COMPRESSED] * (set(streams) != {"flow"}) + [_outputs.FRAMES] * ("flow" in streams)
    networks = [context.params.networks[stream] for stream in streams]
    weights = [context.root / network.weights for network in networks if network.weights]
    return [context.root / _outputs.DATASET_FILE, *(context.root / folder for folder in folders), *weights]


def items_of(dataset: Dataset, subsets: Sequence[str], sources: Sources, params: Recognise) -> list[Item]:
    """The clips (or whole videos) of subsets that every stream can read."""
    videos = [
        video
        for subset in subsets
        for video in dataset.subset(subset)
        if video.segments and all(sources.has(video.id, stream) for stream in params.streams)
    ]
    if params.task == "frames":
        return [Item(v.id, Segment("", 0.0, v.duration_s), v.segments) for v in videos]
    return [Item(v.id, segment, v.segments) for v in videos for segment in v.segments]


def recognise(context: Context) -> Mapping[str, float]:
    """Train every stream, score the test clips, fuse."""
    from models.weights import save_weights
    from pipeline.datasets.compressed_store import CompressedStore
    from pipeline.datasets.flow_store import FlowStore
    from pipeline.datasets.opened import stored_files
    from pipeline.datasets.snippets import FrameStore
    from pipeline.training.device import device

    params: Recognise = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    ids = [video.id for video in dataset]
    frames = FrameStore(stored_files(context.root / _outputs.FRAMES, ids))
    sources = Sources(
        CompressedStore(stored_files(context.root / _outputs.COMPRESSED, ids)), FlowStore(frames, params.clips.flow)
    )
    task = Task(sources, params.clips, {name: i for i, name in enumerate(dataset.classes)}, params.task == "frames")
    training, held_out, testing = (
        items_of(dataset, subsets, sources, params) for subsets in (params.subsets, ["validation"], ["testing"])
    )
    if not training or not testing:
        have = ", ".join(f"{len(items_of(dataset, [s], sources, params))} in {s}" for s in SUBSETS)
        raise StageError(f"data set {dataset.name}: recognition needs clips to train on and to test; there are {have}")

    found: dict[str, np.ndarray] = {}
    metrics: dict[str, float] = {"training_items": float(len(training)), "test_items": float(len(testing))}
    labels = (_streams.video_labels if task.frames else _streams.clip_labels)(task, testing)
    names = np.array([f"{item.id} {item.span.t_start:.3f} {item.span.t_end:.3f}" for item in testing])
    for stream in (stream for stream in _streams.ORDER if stream in params.streams):
        section = params.networks[stream]
        _training.prepare(section.training)
        network, not_loaded = _streams.build(task, stream, section, context.root)
        if not_loaded:
            context.progress.say(f"{NAMES[stream]}: fresh weights in {', '.join(not_loaded)}")
        network.to(device())
        metrics |= {
            f"{key}/{stream}": value
            for key, value in _streams.fit(context, network, task, stream, section, training, held_out).items()
        }
        start = time.process_time()
        found[NAMES[stream]] = _streams.scores(network, task, stream, testing, section.training.seed)
        pictures = len(testing) * params.clips.test_segments * params.clips.test_crops
        metrics[f"test_cpu_ms_per_picture/{stream}"] = 1000 * (time.process_time() - start) / pictures
        metrics[f"gmacs_per_picture/{stream}"] = _streams.gmacs(network, params.clips.size)
        spec = {"stream": stream, "classes": list(dataset.classes), **section.model_dump(mode="json")}
        write_bytes(context.result / "networks" / f"{stream}.safetensors", save_weights(network, spec))
        _write_scores(context.result / "scores" / f"{stream}.npz", found[NAMES[stream]], labels, names)
    found |= fused(found, {NAMES[stream]: weight for stream, weight in params.fusion.items()})
    metrics |= _frame_metrics(found, labels) if task.frames else _clip_metrics(params, task, found, training, testing)
    # No clock in an output: the times stand in the metrics alone.
    timeless = {name: value for name, value in metrics.items() if not name.startswith("test_cpu_ms")}
    write_json(context.result / "scores" / "table.json", timeless)
    return metrics


def fused(found: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The weighted sums of table 4.1: I-frames with any of the others, and all with flow."""
    compressed = [name for name in ("M", "R") if name in found]
    chosen = [("I", *rest) for n in (1, 2) for rest in combinations(compressed, n)] if "I" in found else []
    if "flow" in found and len(found) > 1:
        chosen.append(tuple(found))
    return {"+".join(names): np.sum([weights[name] * found[name] for name in names], axis=0) for names in chosen}


def _write_scores(path: Path, scores: np.ndarray, labels: np.ndarray, names: np.ndarray) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, scores=scores, labels=labels, names=names)
    write_bytes(path, buffer.getvalue())


def _clip_metrics(
    params: Recognise, task: Task, found: Mapping[str, np.ndarray], training: Sequence[Item], testing: Sequence[Item]
) -> dict[str, float]:
    from pipeline.evaluation.accuracy import chance, top1

    labels = _streams.clip_labels(task, testing)
    _, video = np.unique([item.id for item in testing], return_inverse=True)
    measured = top1(found, labels, video, resamples=params.resamples, seed=params.seed)
    guessed = chance(_streams.clip_labels(task, training), labels, len(task.classes))
    metrics = {"chance_uniform": guessed.uniform, "chance_majority": guessed.majority}
    for name in found:
        interval = measured.interval(name)
        metrics |= {
            f"top1/{name}": interval.value,
            f"top1_low/{name}": interval.low,
            f"top1_high/{name}": interval.high,
        }
        metrics[f"above_chance/{name}"] = float(interval.low > guessed.higher)
        if "+" in name:
            gain = measured.difference(name, "I" if "I" in found else next(iter(found)))
            metrics |= {f"gain/{name}": gain.value, f"gain_low/{name}": gain.low, f"gain_high/{name}": gain.high}
    return metrics


def _frame_metrics(found: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    from pipeline.evaluation.accuracy import multi_label_map

    values = {name: multi_label_map(scores, labels) for name, scores in found.items()}
    return {f"{key}/{name}": pair[i] for i, key in enumerate(("mAP", "wAP")) for name, pair in values.items()}


STAGE = DatasetStage(
    name="recognise",
    section=Recognise,
    reads=(kinds.COMPRESSED, kinds.FRAMES),
    needs="gpu",
    inputs=inputs,
    run=recognise,
    outs={
        "networks": _outputs.RECOGNISERS,
        "scores": _outputs.RECOGNITION,
        "history": "data/checkpoints/history/recognise",
    },
)

if __name__ == "__main__":
    main("recognise")
