"""How the scored boxes of the stage ``long_form`` meet the true people, and where the context of a few boxes came from."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.spans import Instances, Sampling
from stages._box_actions import Labelled, Labelling
from stages._box_context import BoxContext, box_attention

if TYPE_CHECKING:
    from models.long_form import PretrainingModel


def counts(
    labelling: Labelling, ids: Sequence[str], boxes: BoxContext, labelled: Labelled, every_s: int
) -> dict[str, int]:
    """How the scored boxes and the true people go together; of boxes that segments label there is nothing to say.

    ``unmatched``: scored boxes without a true one, which are of no action; ``missed``: true people at the scored seconds
    whom no box of the bank matches, and who are not in the mAP.

    Args:
        labelling: of all boxes.
        ids: of the videos that the boxes are numbered by.
        boxes: those that are scored.
        labelled: the same.
        every_s: between the scored seconds.
    """
    if labelling.by == "segments":
        return {}
    told = [labelling.of[id_] for id_ in ids]
    unmatched = sum(int((~one.matched[boxes.row[labelled.video == n]]).sum()) for n, one in enumerate(told))
    return {"unmatched": unmatched, "missed": sum(int((one.missed % every_s == 0).sum()) for one in told)}


def looked(
    model: "PretrainingModel",
    ids: Sequence[str],
    videos: Mapping[str, Instances],
    boxes: BoxContext,
    labelled: Labelled,
    scores: NDArray[np.float32],
    classes: Sequence[str],
    sampling: Sampling,
    rounds: int,
    most: int,
) -> list[dict[str, Any]]:
    """Attention of the boxes whose action is most surely and rightly told, one of a video.

    Args:
        model: pre-trained.
        ids: of the videos that the boxes are numbered by.
        videos: their boxes.
        boxes: N boxes with the contexts that ``model`` gave.
        labelled: the same.
        scores: [N, classes] of the fused model.
        classes: their names.
        sampling: as the contexts were made.
        rounds: likewise.
        most: number of examples.

    Returns:
        For each ``video``, ``t`` in seconds, ``instance``, ``label``, ``score``, and ``rows``: time, instance and share of
        attention of every box of its span, in the order of time.
    """
    found: dict[int, dict[str, Any]] = {}
    sure = np.where(labelled.labels, scores, -1)
    for n in np.argsort(-sure.max(axis=1, initial=-1), kind="stable"):
        number = int(labelled.video[n])
        if len(found) == most or not labelled.labels[n].any():
            break
        if number in found:
            continue
        video, row, c = videos[ids[number]], int(boxes.row[n]), int(sure[n].argmax())
        rows, shares = box_attention(model.backbone, video, row, sampling, rounds)
        found[number] = {
            "video": ids[number], "t": float(video.t[row]), "instance": int(video.instance[row]), "label": classes[c],
            "score": float(scores[n, c]),
            "rows": list(zip(video.t[rows].tolist(), video.instance[rows].tolist(), shares.tolist(), strict=True)),
        }  # fmt: skip
    return list(found.values())
