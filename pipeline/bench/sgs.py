"""Speed of X3D-S with SGS behind res2 against X3D-S alone (Fayyaz et al., table A.2: +51 % frames per second).

``python -m pipeline bench sgs`` takes the defaults, ``python -m pipeline.bench.sgs`` their alternatives, also on a machine
that has torch and little else. The networks are untrained and a clip's active bins are given: B' decides the speed, not
which frame is in which bin; the similarity network runs all the same. Plain network and packed forms alternate within one
run, on the same clips and in the same precision; a ratio is the median over the rounds.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.encoders import build_encoder
from models.encoders.ragged import Layout, mean_per_clip
from models.encoders.staged import StagedEncoder
from models.heads.x3d import X3DHead
from models.temporal.rows import encode_by_length
from models.temporal.sgs import SGS, Packing
from pipeline.bench import where
from pipeline.bench.timing import device_seconds
from pipeline.run.files import read_json
from pipeline.training.device import device, set_threads

FRAMES, SIZE, CLASSES = 13, 160, 400

# Mean 5.75 of 13: the B' that the paper's 1.1 GFLOPs on Mini-Kinetics mean for X3D-S; its spread is not published.
PAPER_BINS = (2, 3, 4, 5, 6, 7, 8, 11)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ASKED = {"cpu": 1.2, "cuda": 1.5}


class GivenBins(SGS):
    """SGS whose clips keep given numbers of bins, in turn; its own similarities are computed and not used."""

    def __init__(self, channels: int, counts: Sequence[int]) -> None:
        super().__init__(channels)
        self.counts = counts

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`SGS.weights`, with the frames spread evenly over the given number of bins."""
        super().weights(x)
        clips, frames = x.shape[0], x.shape[2]
        lengths = torch.tensor([self.counts[i % len(self.counts)] for i in range(clips)], device=x.device)
        bins = torch.arange(frames, device=x.device) * lengths.unsqueeze(1) // frames
        weights = torch.zeros(clips, int(lengths.max()), frames, device=x.device)
        return weights.scatter(1, bins.unsqueeze(1), 0.5), lengths


def measure(bins: Sequence[int], batch: int, rounds: int, precision: str, size: int = SIZE) -> dict[str, Any]:
    """Frames per second and ratios of plain X3D-S and its ragged forms at one distribution of bins.

    Args:
        bins: active bins of the clips, in turn, each 1..13.
        batch: clips.
        rounds: each runs every form once, after one round that does not count.
        precision: of weights and features, see :data:`PRECISIONS`.
        size: of the pictures, px.

    Raises:
        ValueError: a value that is not allowed.
    """
    if not bins or min(bins) < 1 or max(bins) > FRAMES:
        raise ValueError(f"bins is {list(bins)}; it must be numbers of 1..{FRAMES}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
    target, dtype = device(), PRECISIONS[precision]
    torch.manual_seed(0)
    plain, head = build_encoder("x3d_s"), X3DHead(432, CLASSES)
    adaptive: StagedEncoder = build_encoder("x3d_s")  # type: ignore[assignment]
    adaptive.load_state_dict(plain.state_dict())
    sgs = GivenBins(adaptive.stage_channels["res2"], bins)
    adaptive.plug("res2", sgs)
    for module in (plain, adaptive, head):
        module.to(target, dtype).eval()
    sgs.fc.float()  # similarities are always compared in float32
    pixels = torch.randn(batch, 3, FRAMES, size, size, device=target, dtype=dtype)

    def classify(features: Tensor, layout: Layout | None) -> Tensor:
        logits: Tensor = head(mean_per_clip(features, layout))
        return logits

    def together(packing: Packing) -> Tensor:
        sgs.packing = packing
        return classify(*adaptive.encode(pixels))

    def by_length(most: int | None) -> Tensor:
        sgs.packing = "padded"
        return encode_by_length(adaptive, pixels, classify, most)

    forms: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: classify(plain(pixels), None),
        "padded": lambda: together("padded"),
        "one_row": lambda: together("row"),
        "by_length": lambda: by_length(None),
        "by_length_3": lambda: by_length(3),
    }
    with torch.inference_mode():
        results = {name: run() for name, run in forms.items()}
        seconds = {name: [] for name in forms}  # type: dict[str, list[float]]
        for _ in range(rounds):
            for name, run in forms.items():
                seconds[name].append(device_seconds(run, target.type))
    frames = batch * FRAMES
    reference = results["by_length"]
    rows = {
        name: {
            "input_frames_per_s": round(frames / statistics.median(taken), 1),
            "times_plain": round(statistics.median(p / t for p, t in zip(seconds["plain"], taken, strict=True)), 3),
        }
        for name, taken in seconds.items()
    }
    return {
        "precision": precision,
        "batch": batch,
        "clip": f"{FRAMES}x{size}x{size}",
        "bins": list(bins),
        "mean_bins": round(statistics.mean(bins[i % len(bins)] for i in range(batch)), 3),
        "forms": rows,
        "largest_difference_between_forms": max(
            float((results[name] - reference).abs().max() / reference.abs().max()) for name in forms if name != "plain"
        ),
    }


def sgs() -> dict[str, Any]:
    """The default measurement of this machine: its device, the paper's mean bins."""
    kind = device().type
    if kind == "cpu":
        set_threads(1)
        found = {"clock": "CPU seconds, one thread", "runs": [measure(PAPER_BINS, 8, 3, "float32")]}
    else:
        runs = [measure(PAPER_BINS, batch, 20, precision) for precision in PRECISIONS for batch in (32, 128)]
        found = {"clock": f"wall, {torch.cuda.get_device_name()}", "runs": runs}
    return {"variant": kind, "asked_times_plain": ASKED[kind], "torch": torch.__version__, **found}


def trained_bins(run: Path, count: int) -> dict[str, Any]:
    """Active bins that the encoder after ``pretrain`` keeps of the test instances: ``count`` quantiles, and the histogram.

    Raises:
        ValueError: its clips have another number of frames, or it has no SGS.
    """
    from pipeline.datasets.schema import Dataset
    from stages import _adaptive, _encoder, _outputs

    folder = run / _outputs.ENCODERS.format(variant="acp")
    spec = _encoder.load_spec(folder)
    if spec.frames != FRAMES or spec.temporal is None or spec.temporal.name != "sgs":
        raise ValueError(f"{folder}: {spec.frames} frames, temporal {spec.temporal}; needed: {FRAMES} frames and sgs")
    counts = _adaptive.frames_kept(run, Dataset.load(run / _outputs.DATASET_FILE), folder)
    kept = sorted(int(one) for values in counts.values() for one in values)
    quantiles = [kept[int((i + 0.5) * len(kept) / count)] for i in range(count)]
    histogram = {str(n): kept.count(n) for n in sorted(set(kept))}
    return {"bins": quantiles, "instances": len(kept), "trained_mean_bins": statistics.mean(kept), "kept": histogram}


def trained_accuracy(run: Path) -> dict[str, float]:
    """What pre-training said of that encoder: top-1 accuracy on validation, its 95 % interval, chance."""
    metrics = read_json(run / "reports" / "metrics" / "pretrain.json")["metrics"]
    return {f"trained_{key}": metrics[key] for key in ("accuracy", "accuracy_low", "accuracy_high", "chance")}


def main() -> None:
    """Measure what the command line says and write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.sgs", description=__doc__)
    parser.add_argument("--bins", default=",".join(map(str, PAPER_BINS)), help="active bins of the clips, in turn")
    parser.add_argument(
        "--run", type=Path, help="in place of --bins: a folder with a finished pretrain of an SGS encoder"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument("--out", type=Path, help="a JSON file; default: print only")
    options = parser.parse_args()
    if device().type == "cpu":
        set_threads(1)
    bins = [int(number) for number in options.bins.split(",")]
    trained = {} if options.run is None else trained_bins(options.run, options.batch) | trained_accuracy(options.run)
    found = measure(trained.get("bins", bins), options.batch, options.rounds, options.precision)
    figures = {**where(Path.cwd()), "asked_times_plain": ASKED[device().type], **trained, **found}
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
