"""evaluate@E: detections of encoder E's head on the test split, scored by the official ActivityNet rule.

In: features and head of encoder E. Out: ``predictions.json`` in ActivityNet's submission format, and the metrics: mAP at
tIoU 0.5:0.05:0.95 and their average, with a percentile bootstrap over the test videos.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.files import write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import _detections, _localiser, _outputs


class Evaluate(Section):
    """Section ``evaluate`` of params.yaml."""

    postprocess: _detections.Postprocess
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0)
    threads: int = Field(2, ge=1, description="torch threads")


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    features = context.root / _outputs.FEATURES.format(variant=context.variant)
    return [
        context.root / _outputs.DATASET_FILE,
        features,
        context.root / _outputs.HEADS.format(variant=context.variant),
    ]


def evaluate_encoder(context: Context) -> Mapping[str, float]:
    """Predict every test video, write the submission, score it."""
    from pipeline.evaluation.bootstrap import bootstrap
    from pipeline.evaluation.segments import load_ground_truth, load_predictions
    from pipeline.training.device import device, set_threads

    params: Evaluate = context.params
    set_threads(params.threads)
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    folder = _outputs.FEATURES.format(variant=context.variant)
    localiser, classifier, classes = _localiser.load(context.root / _outputs.HEADS.format(variant=context.variant))
    localiser.to(device()), classifier.to(device())
    testing = [v for v in dataset.subset("testing") if v.segments]
    if not testing:
        raise StageError("there is no annotated video in the subset 'testing'")
    # The official rule refuses a class that the subset does not have; such detections can only be wrong there.
    known = {s.label for v in testing for s in v.segments}
    results, outside = {}, 0
    context.progress.start("videos", len(testing))
    for done, video in enumerate(testing, start=1):
        path = _outputs.artifact(context.root, folder, video)
        rows = []
        if path.is_file():  # a video that failed before stays in the truth: its instances count as missed
            features = _detections.read_features(path).to(device())
            rows = _detections.localise(localiser, classifier, classes, params.postprocess, features, video.duration_s)
        results[video.id] = [row for row in rows if row["label"] in known]
        outside += len(rows) - len(results[video.id])
        context.progress.update(done)
    submission = context.result / "predictions" / "predictions.json"
    write_json(submission, {"version": "VERSION 1.3", "external_data": {}, "results": results})

    truth = load_ground_truth(context.root / _outputs.DATASET_FILE, "testing")
    sampled = bootstrap(truth, {"it": load_predictions(submission)}, resamples=params.resamples, seed=params.seed)
    metrics = {f"mAP/{tiou:.2f}": float(value) for tiou, value in zip(sampled.tious, sampled.point["it"], strict=True)}
    return {
        **metrics,
        **sampled.average("it").metrics("average_mAP"),
        "test_videos": float(len(truth.videos)),
        "instances": float(len(truth)),
        "predictions": float(sum(map(len, results.values()))),
        "predictions_of_unseen_classes": float(outside),
    }


STAGE = DatasetStage(
    name="evaluate",
    section=Evaluate,
    variants=_outputs.ENCODER_VARIANTS,
    reads=(kinds.FEATURES,),
    code=lambda _params, root, variant: _localiser.saved_entries(root / _outputs.HEADS.format(variant=variant)),
    inputs=inputs,
    run=evaluate_encoder,
    outs={"predictions": _outputs.PREDICTIONS},
)

if __name__ == "__main__":
    main("evaluate")
