"""Where each stage writes, relative to the project's root; dvc.yaml's ``outs`` are these (a test compares them)."""

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
METRICS = "reports/metrics"

DATASET_FILE = f"{VIDEOS}/dataset.json"
ENCODER_VARIANTS = ("lofi", "acp", "untrained")
"""The encoders that are compared: LoFi end to end, action classification pre-training, initial weights."""
