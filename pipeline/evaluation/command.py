"""``python -m pipeline evaluate``: score a prediction file against a ground truth file by a named protocol."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation import activitynet
from pipeline.evaluation.segments import GroundTruth, Predictions, align_prefix, load_ground_truth, load_predictions


@dataclass(frozen=True)
class Protocol:
    """How one protocol reads its two files and scores them, and the subset it is published on."""

    doc: str
    subset: str
    load_ground_truth: Callable[[Path, str], GroundTruth]
    load_predictions: Callable[[Path], Predictions]
    evaluate: Callable[[GroundTruth, Predictions], activitynet.Result]


PROTOCOLS: Mapping[str, Protocol] = {
    "activitynet": Protocol(
        "official ActivityNet and HACS detection mAP, tIoU 0.5:0.05:0.95",
        "validation",
        load_ground_truth,
        load_predictions,
        activitynet.evaluate,
    ),
}
"""Every protocol that the command speaks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    listed = "; ".join(f"{name}: {protocol.doc}" for name, protocol in PROTOCOLS.items())
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), required=True, help=listed)
    parser.add_argument("--ground-truth", type=Path, required=True, metavar="JSON", help="JSON or JSON.gz")
    parser.add_argument("--predictions", type=Path, required=True, metavar="JSON", help="JSON or JSON.gz")
    parser.add_argument("--subset", help="the ground truth's subset to score (default: the protocol's own)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score the two files; returns what the command prints as JSON.

    ``mAP`` maps each threshold ("0.50") to 0..1; ``videos`` and ``instances`` are those of the subset, ``predictions``
    all of the file; ``warnings`` says in words what a reader of the number should know.

    Raises:
        ValueError: bad input, see the protocol's readers; a missing file is a FileNotFoundError.
    """
    protocol = PROTOCOLS[args.protocol]
    subset = args.subset or protocol.subset
    gt = protocol.load_ground_truth(args.ground_truth, subset)
    pred, renamed = align_prefix(gt, protocol.load_predictions(args.predictions))
    return {"protocol": args.protocol, "subset": subset, **summary(protocol.evaluate(gt, pred), renamed)}


def summary(result: activitynet.Result, *notes: str | None) -> dict[str, Any]:
    """A result as plain JSON values."""
    return {
        "mAP": {f"{tiou:.2f}": float(value) for tiou, value in zip(result.tious, result.mAP, strict=True)},
        "average_mAP": result.average_mAP,
        "videos": result.videos,
        "classes": len(result.labels),
        "instances": result.instances,
        "predictions": result.predictions,
        "warnings": [*(note for note in notes if note), *result.warnings],
    }
