"""Localisation with SGS or Grid Pool inside the LoFi encoder beside the plain one: mAP, cost and time of encoding.

``python -m pipeline bench adaptive`` takes the finished run of this folder and those of recipes (``data/work/runs``) whose
encoder differs from it in ``temporal`` alone; ``python -m pipeline.bench.adaptive FOLDER...`` takes those of these folders.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.bench.runs import finished_runs, roots_here
from pipeline.run.params import PARAMS_FILE, read_params

SNIPPETS, BATCH, ROUNDS = 100, 20, 5
"""Test snippets that are encoded, how many at once (the stage's ``chunk``), and rounds over all encoders."""


def adaptive() -> dict[str, Any]:
    """The runs of this folder whose parameters of localisation differ by ``pretrain.encoder.temporal`` alone.

    Raises:
        ValueError: there is no finished run.
    """
    here, *others = roots_here()
    return measure([here, *(root for root in others if _localisation(root) == _localisation(here))])


def _localisation(root: Path) -> dict[str, Any]:
    """Parameters that localisation depends on, without the encoder's temporal module."""
    params = read_params(root / PARAMS_FILE)
    sections: dict[str, Any] = {
        name: params.get(name) for name in ("frames", "pretrain", "lofi", "features", "head", "evaluate")
    }
    sections["pretrain"]["encoder"].pop("temporal", None)
    return sections


def measure(roots: list[Path]) -> dict[str, Any]:
    """Rows of the finished runs among ``roots``, the plain encoder first.

    GMACs are those of convolutions as they run, per snippet and encoded alone: an adaptive encoder's differ from snippet to
    snippet. Milliseconds are CPU time of one thread per snippet, without reading; the encoders take turns.

    Raises:
        ValueError: there is no finished run.
    """
    import numpy as np
    import torch

    from models.costs import conv_macs
    from models.encoders.snippets import normalise_for, snippet_features
    from pipeline.bench.timing import alternating_seconds
    from pipeline.datasets.schema import Dataset
    from pipeline.training.device import set_threads
    from stages import _encoder, _outputs, _snippets

    set_threads(1)
    rows: list[dict[str, Any]] = []
    encoders = []
    plain = None
    for run in finished_runs(roots):
        root, spec = run.root, run.spec
        alike = spec.model_copy(update={"temporal": None})
        plain = plain or alike
        if alike != plain:
            continue
        encoder, _ = _encoder.load(root / _outputs.ENCODERS.format(variant="lofi"))
        dataset = Dataset.load(root / _outputs.DATASET_FILE)
        source = _snippets.Snippets.of_root(root, spec, [video.id for video in dataset])
        videos = [video for video in dataset.subset("testing") if video.id in source]
        if not videos:
            continue
        each = -(-SNIPPETS // len(videos))
        clips = torch.cat([source.clips(v.id, _snippets.centers(v.duration_s, each)) for v in videos])[:SNIPPETS]
        macs = [conv_macs(encoder, normalise_for(encoder, clip)) for clip in torch.split(clips, 1)]
        temporal = spec.temporal
        given = {} if temporal is None else {"after": temporal.after, **temporal.options}
        rows.append(
            {
                "name": spec.name if temporal is None else f"{spec.name} + {temporal.name}",
                "temporal": given,
                "data_set": run.dataset,
                **run.mean_ap(),
                "gmacs": round(float(np.mean(macs)) / 1e9, 5),
                "gmacs_range": [round(one / 1e9, 5) for one in (min(macs), max(macs))],
            }
        )
        encoders.append((encoder, clips))
    if not rows:
        raise ValueError("no finished run here; run the graph, or name the folders of runs")

    def encode(number: int) -> None:
        encoder, clips = encoders[number]
        for part in torch.split(clips, BATCH):
            snippet_features(encoder, part)

    with torch.inference_mode():
        seconds = alternating_seconds({str(number): partial(encode, number) for number in range(len(rows))}, ROUNDS)
    for number, row in enumerate(rows):
        row["ms"] = round(1000 * seconds[str(number)] / len(encoders[number][1]), 2)
    rows.sort(key=lambda row: bool(row["temporal"]))
    return {"snippets": SNIPPETS, "batch": BATCH, "rows": rows}


def main() -> None:
    """Measure the runs of the folders on the command line and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench.adaptive", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="checkouts or worktrees with a finished run")
    print(json.dumps(measure(parser.parse_args().folders), indent=1))


if __name__ == "__main__":
    main()
