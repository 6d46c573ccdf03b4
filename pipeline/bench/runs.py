"""Finished runs of the graph, for benchmarks that set cost beside mAP."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE
from pipeline.run.store import work_root

if TYPE_CHECKING:
    from stages._encoder import EncoderSpec


class FinishedRun(NamedTuple):
    """A folder with a LoFi encoder of ``spec`` and the evaluation of its localiser on a data set."""

    root: Path
    dataset: str
    spec: "EncoderSpec"
    metrics: dict[str, Any]

    def mean_ap(self) -> dict[str, float]:
        """Average mAP in 0..1 and its interval, as benchmarks write it."""
        return {f"mAP{end}": round(self.metrics[f"average_mAP{end}"], 4) for end in ("", "_low", "_high")}


def roots_here() -> list[Path]:
    """This checkout, and the worktrees that its runs with recipes and overrides have left."""
    root = Path.cwd()
    return [root, *sorted(path.parent for path in (work_root(root) / "runs").glob(f"*/{PARAMS_FILE}"))]


def finished_runs(roots: Iterable[Path]) -> Iterator[FinishedRun]:
    """Those of the folders that hold a finished evaluation of ``lofi``."""
    from pipeline.datasets.schema import Dataset
    from stages import _encoder, _outputs

    for root in roots:
        folder, metrics = root / _outputs.ENCODERS.format(variant="lofi"), root / "reports/metrics/evaluate@lofi.json"
        if metrics.is_file() and (folder / _encoder.SPEC_FILE).is_file():
            dataset = Dataset.load(root / _outputs.DATASET_FILE).name
            yield FinishedRun(root, dataset, _encoder.load_spec(folder), read_json(metrics)["metrics"])
