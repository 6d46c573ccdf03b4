"""Where each stage writes, relative to the project's root; dvc.yaml's ``outs`` are these (a test compares them)."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.datasets.schema import Video

VIDEOS = "data/artifacts/videos"
FRAMES = "data/artifacts/frames"
SHOTS = "data/artifacts/shots"
COMPRESSED = "data/artifacts/compressed"
DETECTIONS = "data/artifacts/detections"
TRACKS = "data/artifacts/tracks"
BANK = "data/artifacts/bank"
FEATURES = "data/artifacts/features/{variant}"
ENCODERS = "data/checkpoints/encoders/{variant}"
DETECTOR = "data/checkpoints/detector"
HEADS = "data/checkpoints/heads/{variant}"
PREDICTIONS = "data/predictions/{variant}"
RECOGNISERS = "data/checkpoints/recognisers"
RECOGNITION = "data/predictions/recognise"
FRAME_NETWORKS = "data/checkpoints/framewise"
FRAME_SCORES = "data/predictions/framewise"
MEMORY_MODELS = "data/checkpoints/memory"
MEMORY = "data/predictions/memory"
METRICS = "reports/metrics"

DATASET_FILE = f"{VIDEOS}/dataset.json"
ENCODER_VARIANTS = ("lofi", "acp", "untrained")
"""The encoders that are compared: LoFi end to end, action classification pre-training, initial weights."""


def artifact(root: Path, folder: str, video: Video, suffix: str = ".h5") -> Path:
    """The file of a video in a stage's output folder, there or not."""
    return root / folder / f"{video.file_stem}{suffix}"


def truth(root: Path, video: Video) -> Path:
    """The file of what is true of a video, there or not."""
    return artifact(root, VIDEOS, video, ".truth.h5")


def existing(root: Path, folder: str, videos: Iterable[Video]) -> dict[Video, Path]:
    """The artifacts of videos in a stage's output folder; one that failed there has none."""
    paths = {video: artifact(root, folder, video) for video in videos}
    return {video: path for video, path in paths.items() if path.is_file()}
