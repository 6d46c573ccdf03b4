"""evaluate@E: detections of encoder E's head on the test split, scored by the official ActivityNet rule.

In: features and head of encoder E, the feature banks if the head has long-term context, and where ``classes.source`` is
external a score file. Out: ``predictions.json`` in
ActivityNet's submission format, and the metrics: mAP at tIoU 0.5:0.05:0.95 and their average, with a percentile bootstrap
over the test videos.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.datasets.schema import Dataset, Video
from pipeline.run import kinds
from pipeline.run.files import write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import _detections, _localiser, _opened_head, _outputs, _video_classes, _video_classifier
from stages._head_context import InBank

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.evaluation.segments import GroundTruth


class Evaluate(Section):
    """Section ``evaluate`` of params.yaml."""

    postprocess: _detections.Postprocess
    classes: _video_classes.Classes = _video_classes.Classes()
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0)
    threads: int = Field(2, ge=1, description="torch threads")


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    features = context.root / _outputs.FEATURES.format(variant=context.variant)
    head = context.root / _outputs.HEADS.format(variant=context.variant)
    scores = context.params.classes.file
    files = [context.root / scores] if scores else []
    banks = [context.root / _outputs.BANK] if _opened_head.has_context(head) else []
    return [context.root / _outputs.DATASET_FILE, features, head, *files, *banks]


def evaluate_encoder(context: Context) -> Mapping[str, float]:
    """Predict every test video, write the submission, score it."""
    from pipeline.evaluation.bootstrap import bootstrap
    from pipeline.evaluation.segments import load_ground_truth, load_predictions
    from pipeline.training.device import set_threads

    params: Evaluate = context.params
    set_threads(params.threads)
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    folder = _outputs.FEATURES.format(variant=context.variant)
    head = context.root / _outputs.HEADS.format(variant=context.variant)
    testing = [v for v in dataset.subset("testing") if v.segments]
    if not testing:
        raise StageError("there is no annotated video in the subset 'testing'")
    truth = load_ground_truth(context.root / _outputs.DATASET_FILE, "testing")
    # A video that failed before has no features; it stays in the truth: its instances count as missed.
    stored = _outputs.existing(context.root, folder, testing)
    features = {video: _detections.read_features(path) for video, path in stored.items()}
    found, metrics, source = _detect(context, head, features, truth)
    # The official rule refuses a class that the subset does not have; such detections can only be wrong there.
    results = {v.id: [row for row in found.get(v.id, []) if row["label"] in truth.labels] for v in testing}
    outside = sum(map(len, found.values())) - sum(map(len, results.values()))
    submission = context.result / "predictions" / "predictions.json"
    write_json(submission, {"version": "VERSION 1.3", "external_data": source, "results": results})

    sampled = bootstrap(truth, {"it": load_predictions(submission)}, resamples=params.resamples, seed=params.seed)
    metrics |= {f"mAP/{tiou:.2f}": float(value) for tiou, value in zip(sampled.tious, sampled.point["it"], strict=True)}
    return {
        **metrics,
        **sampled.average("it").metrics("average_mAP"),
        "test_videos": float(len(truth.videos)),
        "instances": float(len(truth)),
        "predictions": float(sum(map(len, results.values()))),
        "predictions_of_unseen_classes": float(outside),
    }


def _detect(
    context: Context, head: Path, features: "Mapping[Video, Tensor]", truth: "GroundTruth"
) -> tuple[Mapping[str, list[dict[str, Any]]], dict[str, float], dict[str, Any]]:
    """Detections by video id, best first; metrics of the class scores; what the submission says of other sources."""
    import torch

    from pipeline.evaluation.video_scores import coverage
    from pipeline.training.device import device

    params: Evaluate = context.params
    opened = _opened_head.load(head, context.root, list(features))
    metrics = {"without_bank": float(opened.banks.missing(list(features)))} if opened.banks else {}
    found, proposals = {}, {}
    context.progress.start("videos", len(features))
    for done, (video, stored) in enumerate(features.items(), start=1):
        one = stored.to(device())
        localiser, classifier = opened.of(InBank(video.id, video.duration_s))
        if params.classes.source == "proposals":
            found[video.id] = _detections.localise(
                localiser, classifier, opened.classes, params.postprocess, one, video.duration_s
            )
        else:
            with torch.inference_mode():
                (proposals[video.id],) = _detections.suppressed(localiser, localiser(one[None]), params.postprocess)
        context.progress.update(done)
    if params.classes.source == "proposals":
        return found, metrics, {}
    of_videos = {video.id: one for video, one in features.items()}
    scores = _video_classes.chosen_scores(params.classes, context.root, head, of_videos, truth)
    covered = coverage(scores, list(of_videos), truth.labels)
    context.progress.say(f"classes: {scores.origin}: {scores.source}: {covered}")
    metrics |= {"classes_missing": float(len(covered.missing_classes))}
    source = {"used": params.classes.source == "external", "details": f"classes: {scores.origin}"}
    durations_s = {video.id: video.duration_s for video in features}
    return _video_classes.detections(params.classes, scores, proposals, durations_s), metrics, source


STAGE = DatasetStage(
    name="evaluate",
    section=Evaluate,
    variants=_outputs.ENCODER_VARIANTS,
    reads=(kinds.FEATURES,),
    code=lambda _params, root, variant: [
        *_localiser.saved_entries(root / _outputs.HEADS.format(variant=variant)),
        _video_classifier.entry(),
    ],
    inputs=inputs,
    run=evaluate_encoder,
    outs={"predictions": _outputs.PREDICTIONS},
)

if __name__ == "__main__":
    main("evaluate")
