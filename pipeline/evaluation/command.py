"""``python -m pipeline evaluate``: score a prediction file against a ground truth by a named protocol."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.evaluation.from_files.request import Request, plain

_SEGMENTS = ("subset", "variant", "exclude", "class_scores", "top_k")
_CLIPS = ("subset", "variant", "split")


@dataclass(frozen=True)
class Protocol:
    """What a protocol is, which function reads its files and scores them, and the options it reads."""

    doc: str
    entry: str
    options: tuple[str, ...] = ("subset",)


_FROM = "pipeline.evaluation.from_files"
PROTOCOLS: Mapping[str, Protocol] = {
    "activitynet": Protocol(
        "ActivityNet 1.3 detection mAP, tIoU 0.5:0.05:0.95; variants official, dedup",
        f"{_FROM}.segments:run_activitynet",
        _SEGMENTS,
    ),
    "hacs": Protocol("the same on HACS segments; variants official, dedup", f"{_FROM}.segments:run_hacs", _SEGMENTS),
    "thumos": Protocol(
        "THUMOS14 detection mAP, tIoU 0.3:0.1:0.7; variants official, dedup, challenge",
        f"{_FROM}.segments:run_thumos",
        _SEGMENTS,
    ),
    "proposals": Protocol("AR@AN and its area (AUC)", f"{_FROM}.segments:run_proposals", ("subset", "exclude")),
    "charades_v1_localize": Protocol("Charades at 25 instants a video: mAP and wAP", f"{_FROM}.frames:run_localize"),
    "charades_v1_classify": Protocol("Charades, labels of the video: mAP and wAP", f"{_FROM}.frames:run_classify"),
    "charades_frames": Protocol("Charades, mAP over all frames", f"{_FROM}.frames:run_charades_frames"),
    "multithumos": Protocol("MultiTHUMOS, mAP over all frames", f"{_FROM}.frames:run_multithumos"),
    "frames": Protocol("mAP over all frames of any set", f"{_FROM}.frames:run_frames", ("subset", "format")),
    "kinetics": Protocol("top-1, top-5; variants: how views combine", f"{_FROM}.clips:run_kinetics", _CLIPS),
    "ssv2": Protocol("the same on Something-Something v2", f"{_FROM}.clips:run_ssv2", _CLIPS),
    "ucf101": Protocol("the same on UCF101, one split or the mean of three", f"{_FROM}.clips:run_ucf101", _CLIPS),
    "hmdb51": Protocol("the same on HMDB51", f"{_FROM}.clips:run_hmdb51", _CLIPS),
    "ava": Protocol(
        "AVA frame mAP at IoU 0.5; variants official, uncapped", f"{_FROM}.ava:run", ("variant", "classes", "exclude")
    ),
    "epic100": Protocol(
        "EPIC-Kitchens 100 top-1/5; variants no_prior (official), prior",
        f"{_FROM}.epic:run_100",
        ("variant", "training"),
    ),
    "epic55": Protocol(
        "EPIC-Kitchens 55 top-1/5 on P26-P31; variants prior, no_prior", f"{_FROM}.epic:run_55", ("variant", "training")
    ),
    "lvu": Protocol("LVU's nine tasks, accuracy and mse", f"{_FROM}.clips:run_lvu", ("subset", "task")),
    "coco": Protocol("COCO box AP", f"{_FROM}.clips:run_coco", ()),
}
"""Every protocol that the command speaks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    listed = "; ".join(f"{name}: {protocol.doc}" for name, protocol in PROTOCOLS.items())
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), required=True, metavar="NAME", help=listed)
    parser.add_argument(
        "--truth", "--ground-truth", type=Path, required=True, metavar="PATH", help="the data set's own file or folder"
    )
    parser.add_argument("--predictions", type=Path, required=True, metavar="PATH", help="JSON, CSV, text or .npz")
    parser.add_argument("--subset", help="the subset to score (default: the protocol's own)")
    parser.add_argument("--variant", help="a variant of the protocol (default: the first one named)")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="ava: the label map")
    parser.add_argument("--exclude", type=Path, metavar="FILE", help="lost videos; ava: excluded key frames")
    parser.add_argument(
        "--class-scores",
        metavar="FILE|oracle",
        help="predictions are class-agnostic proposals: their videos' class scores, or the truth's labels",
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="classes of a video that its proposals get")
    parser.add_argument("--training", type=Path, metavar="CSV", help="epic: training segments, for the prior")
    parser.add_argument("--task", help="lvu: one task (default: those that the predictions have)")
    parser.add_argument("--format", help="frames: the format of the truth (default: own)")
    parser.add_argument("--split", type=int, metavar="N", help="ucf101, hmdb51: which of the three splits")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score the two files; returns what the command prints as JSON.

    Every answer has ``protocol`` and the ``variant`` or ``subset`` that it speaks, what it stands on (``videos``,
    ``instances``) and ``warnings``: what a reader of the number should know, in words. ``mAP`` and AP are 0..1,
    accuracies percent.

    Raises:
        ValueError: bad input, see the protocol's readers, or an option that the protocol does not read; a missing file
            is a FileNotFoundError.
    """
    protocol = PROTOCOLS[args.protocol]
    request = Request(**{field.name: getattr(args, field.name) for field in fields(Request)})
    for name in request.given():
        if name not in protocol.options:
            allowed = ", ".join(f"--{option.replace('_', '-')}" for option in protocol.options) or "no option"
            raise ValueError(f"--{name.replace('_', '-')}: protocol {args.protocol} reads {allowed}")
    for file in (request.truth, request.predictions):
        if not file.exists():
            raise FileNotFoundError(f"{file}: there is no such file or folder")
    module, _, function = protocol.entry.partition(":")
    answer = getattr(import_module(module), function)(request)
    return {"protocol": args.protocol, **plain(answer)}
