"""The report of a run: one self-contained HTML page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.report.blocks import Measure, Section
from pipeline.report.html import render
from pipeline.report.tables import HEADLINE_TIOUS, Difference, Score, bounds


@dataclass(frozen=True)
class StageRow:
    """One stage of the run; a ``cached`` one has the times of the run that made its results."""

    name: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    cached: bool = False
    done: int | None = None
    failed: int | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class FailureRow:
    """One file that could not be used, in which stage, and why."""

    stage: str
    video: str
    cause: str


@dataclass(frozen=True)
class Report:
    """Everything the page shows; what is empty leaves its section out, apart from the failures, which say "none".

    ``facts`` are short figures under the headline table (videos, instances, protocol, commit, hardware), ``measures`` the
    other figures with intervals beside it, and ``parameters`` section -> name -> value. ``tracking`` is the address of
    the MLflow server that the run ids are linked to; the page needs it for nothing else.
    """

    title: str
    subtitle: str = ""
    notes: Sequence[str] = ()
    scores: Sequence[Score] = ()
    measures: Sequence[Measure] = ()
    differences: Sequence[Difference] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    stages: Sequence[StageRow] = ()
    failures: Sequence[FailureRow] = ()
    warnings: Sequence[str] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run_id: str | None = None
    tracking: str = ""


def report_page(report: Report) -> str:
    """Render the report."""
    return render(
        "report.html.j2",
        report=report,
        tious=HEADLINE_TIOUS,
        bounds=bounds,
        scale=_scale(report.scores),
        total_seconds=_total(stage.seconds for stage in report.stages if not stage.cached),
        total_cpu_seconds=_total(stage.cpu_seconds for stage in report.stages if not stage.cached),
        n_executed=sum(not stage.cached for stage in report.stages),
    )


def _scale(scores: Sequence[Score]) -> float:
    """The average mAP that fills a meter: the highest upper bound shown."""
    ends = [end for score in scores for end in (score.average.value, score.average.high) if math.isfinite(end)]
    return max([*ends, 1e-6])


def _total(values: Iterable[float | None]) -> float:
    return float(sum(value for value in values if value is not None))
