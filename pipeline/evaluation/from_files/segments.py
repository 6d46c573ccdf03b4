"""Segment detection and proposals from ActivityNet-layout files: protocols activitynet, hacs, thumos, proposals."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.datasets.formats import activitynet as activitynet_files
from pipeline.datasets.formats import thumos14
from pipeline.evaluation import activitynet
from pipeline.evaluation.dedup import deduplicate, drop_unknown_labels, drop_videos
from pipeline.evaluation.from_files.request import Request, listed, read_names
from pipeline.evaluation.proposals import average_recall
from pipeline.evaluation.segments import (
    FloatArray,
    GroundTruth,
    Predictions,
    align_prefix,
    load_ground_truth,
    load_predictions,
)
from pipeline.evaluation.thumos import CHALLENGE_TIOUS, challenge
from pipeline.evaluation.video_scores import (
    VideoScores,
    align_videos,
    classify_proposals,
    coverage,
    load_video_scores,
    oracle_video_scores,
)

VARIANTS = ("official", "dedup")
CHALLENGE = "challenge"
THUMOS_TIOUS: FloatArray = np.linspace(0.3, 0.7, 5)
_NO_CLASS = ("", "proposal", "action")


class _Rule(NamedTuple):
    subset: str
    tious: FloatArray
    top_k: int


_RULES: Mapping[str, _Rule] = {
    "activitynet": _Rule("validation", activitynet.TIOUS, 2),
    "hacs": _Rule("validation", activitynet.TIOUS, 1),
    "thumos": _Rule("test", THUMOS_TIOUS, 2),
}


def run_activitynet(request: Request) -> dict[str, Any]:
    """ActivityNet 1.3: mAP at tIoU 0.5:0.05:0.95."""
    return _run("activitynet", request)


def run_hacs(request: Request) -> dict[str, Any]:
    """HACS segments: ActivityNet's rule on HACS' validation set."""
    return _run("hacs", request)


def run_thumos(request: Request) -> dict[str, Any]:
    """THUMOS14 on the test videos.

    ``official`` and ``dedup``: ActivityNet's rule at tIoU 0.3:0.1:0.7, as G-TAD and its successors report; ``challenge``:
    the rule of the challenge itself at 0.1:0.1:0.7, with the ambiguous spans where the truth is in the set's own files.
    """
    if request.choose((*VARIANTS, CHALLENGE)) != CHALLENGE:
        return _run("thumos", request)
    gt, pred, notes = _load(request, "test", "thumos")
    ambiguous = (
        {} if request.truth.name.removesuffix(".gz").endswith(".json") else thumos14.read_ambiguous(request.truth)
    )
    result = challenge(gt, pred, ambiguous, np.concatenate([CHALLENGE_TIOUS, THUMOS_TIOUS[3:]]))
    if not ambiguous:
        notes.append("no ambiguous spans were given; the challenge leaves out wrong detections in them")
    notes += [f"{result.ignored} detections of other classes were ignored"] if result.ignored else []
    return {
        "variant": CHALLENGE,
        "subset": request.subset or "test",
        "mAP": {f"{tiou:.2f}": float(value) for tiou, value in zip(result.tious, result.mAP, strict=True)},
        "videos": len(gt.videos),
        "classes": len(gt.labels),
        "instances": len(gt),
        "predictions": len(pred),
        "warnings": notes,
    }


def run_proposals(request: Request) -> dict[str, Any]:
    """AR@AN of class-agnostic proposals."""
    gt, pred, notes = _load(request, "validation", "activitynet")
    result = average_recall(gt, pred, 100)
    return {
        "subset": request.subset or "validation",
        **{f"AR@{n}": result.at(n) for n in (1, 5, 10, 50, 100)},
        "AUC": result.auc,
        "proposals_per_video": float(result.per_video[-1]),
        "videos": result.videos,
        "instances": result.instances,
        "predictions": result.proposals,
        "warnings": notes,
    }


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


def _run(protocol: str, request: Request) -> dict[str, Any]:
    rule, variant = _RULES[protocol], request.choose(VARIANTS)
    gt, pred, notes = _load(request, rule.subset, protocol)
    extra: dict[str, Any] = {}
    if variant == "dedup":
        gt, removed = deduplicate(gt)
        pred, unknown = drop_unknown_labels(gt, pred) if request.class_scores is None else (pred, 0)
        notes.append(f"{removed} instances that repeat another or have no length were removed")
        notes += [f"{unknown} predictions of classes that the subset lacks were left out"] if unknown else []
    if request.class_scores is not None:
        pred, extra["class_scores"] = _classify(request, gt, pred, request.top_k or rule.top_k)
    return {
        "variant": variant,
        "subset": request.subset or rule.subset,
        **extra,
        **summary(activitynet.evaluate(gt, pred, rule.tious), *notes),
    }


def _load(request: Request, subset: str, protocol: str) -> tuple[GroundTruth, Predictions, list[str]]:
    gt = _truth(request.truth, request.subset or subset, protocol)
    pred, renamed = align_prefix(gt, load_predictions(request.predictions))
    notes = [renamed] if renamed else []
    if request.exclude is not None:
        excluded = read_names(request.exclude)
        gone = sorted(set(gt.videos) & excluded)
        gt, pred = drop_videos(gt, pred, excluded)
        notes += listed(gone, "videos of the subset are excluded")
    return gt, pred, notes


def _truth(path: Path, subset: str, protocol: str) -> GroundTruth:
    """From ActivityNet's JSON, or from a folder of the set's own files (BMN's pair, THUMOS14's texts and CSVs)."""
    if path.is_file() and path.name.removesuffix(".gz").endswith(".json"):
        return load_ground_truth(path, subset)
    found = (thumos14 if protocol == "thumos" else activitynet_files).read(path).require()
    videos = found.subset(subset)
    rows = [(video.id, s.label, s.t_start, s.t_end) for video in videos for s in video.segments]
    if not rows:
        there = ", ".join(sorted({video.subset for video in found.videos})) or "none"
        raise ValueError(f"{path}: no annotation in subset {subset!r}; there are {there}")
    return GroundTruth.from_rows([video.id for video in videos], rows, str(path))


def _classify(request: Request, gt: GroundTruth, pred: Predictions, top_k: int) -> tuple[Predictions, str]:
    """Give class-agnostic proposals classes; the second value says from where and what it covers."""
    named = set(pred.labels) - set(_NO_CLASS) if len(pred) else set()
    if len(named) > 1:
        raise ValueError(
            f"{pred.source} has {len(named)} labels, so these are no class-agnostic proposals; leave --class-scores out"
        )
    scores: VideoScores
    if request.class_scores == "oracle":
        scores = oracle_video_scores(gt)
        top_k = len(gt.labels)
    else:
        scores = align_videos(load_video_scores(Path(str(request.class_scores))), gt)
    inside = set(gt.videos)
    covered = coverage(scores, [id_ for id_ in pred.videos if id_ in inside], gt.labels)
    if covered.missing_videos:
        raise ValueError(f"{scores.source}: {covered}")
    rows = np.array([id_ in set(scores.videos) for id_ in pred.videos], bool)[pred.video]
    pred = replace(
        pred, video=pred.video[rows], label=pred.label[rows], t_start=pred.t_start[rows], t_end=pred.t_end[rows],
        score=pred.score[rows],
    )  # fmt: skip
    classified, unknown = drop_unknown_labels(gt, classify_proposals(pred, scores, top_k))
    text = f"{scores.origin}: {scores.source}; {covered}; best {min(top_k, len(scores.classes))} classes of a video"
    return classified, text + (
        f"; {unknown} detections of classes that the subset lacks were left out" if unknown else ""
    )
