"""AVA frame mAP from its CSVs: protocol ava."""

from typing import Any

from pipeline.datasets.formats.ava import read_boxes, read_excluded, read_label_map
from pipeline.datasets.formats.common import Defect
from pipeline.evaluation.ava import CAPACITY, ava_map
from pipeline.evaluation.from_files.request import Request

VARIANTS = ("official", "uncapped")


def run(request: Request) -> dict[str, Any]:
    """Score a results CSV. ``--classes``: the label map (60 classes); ``--exclude``: excluded key frames."""
    variant = request.choose(VARIANTS)
    if request.classes is None:
        raise ValueError(
            "protocol ava needs --classes, the label map such as ava_action_list_v2.2_for_activitynet_2019.pbtxt"
        )
    classes = read_label_map(request.classes)
    excluded = read_excluded(request.exclude) if request.exclude else frozenset()
    truth, found = read_boxes(request.truth, "person"), read_boxes(request.predictions)
    _refuse(truth.defects, "truth")
    _refuse(found.defects, "predictions")
    result = ava_map(truth, found, classes, excluded, "official" if variant == "official" else "uncapped")
    absent = [classes[id_] for id_, value in zip(result.ids, result.ap, strict=True) if value != value]
    notes = [] if excluded else ["no excluded key frames were given; the published figures leave them out"]
    if result.unknown_frames:
        notes.append(f"detections in {result.unknown_frames} pictures that the truth does not know were ignored")
    if absent:
        notes.append(f"{len(absent)} classes have no true box and are left out of the mean")
    return {
        "variant": variant if variant == "uncapped" else f"official ({CAPACITY} best rows of a picture)",
        "mAP": result.mAP,
        "AP": {classes[id_]: float(value) for id_, value in zip(result.ids, result.ap, strict=True)},
        "key_frames": result.key_frames,
        "classes": len(classes) - len(absent),
        "instances": result.true_boxes,
        "predictions": result.detections,
        "warnings": notes,
    }


def _refuse(defects: tuple[Defect, ...], what: str) -> None:
    errors = [defect for defect in defects if defect.severity == "error"]
    # A prediction whose box has no area is dropped by the rule; a row that cannot be read is refused.
    unreadable = [
        defect for defect in errors if what == "truth" or "box [" not in defect.text or "finite" in defect.text
    ]
    if unreadable:
        raise ValueError("; ".join(map(str, unreadable[:3])))
