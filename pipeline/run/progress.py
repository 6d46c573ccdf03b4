"""Progress of a stage: a bar on a terminal, plain lines elsewhere, and ``status.json`` for whoever polls."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.run.files import write_json

Outcome = Literal["running", "done", "retry", "final"]
LINE_SECONDS = 10.0
STATUS_SECONDS = 1.0


class StageProgress:
    """Counts done, failed and reused units of one stage.

    ``status.json`` holds ``stage``, ``done``, ``total``, ``failed``, ``reused``, ``unit`` (what is counted), ``message`` and
    ``outcome``: ``running`` while it works, ``done``, ``retry`` (start it again and it goes on) or ``final`` (do not).
    """

    def __init__(self, stage: str, status_path: Path) -> None:
        self.stage = stage
        self.status: dict[str, Any] = {
            "stage": stage,
            "unit": "",
            "done": 0,
            "total": 0,
            "failed": 0,
            "reused": 0,
            "message": "",
            "outcome": "running",
        }
        self._path = status_path
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._last_line = self._last_status = 0.0

    def __enter__(self) -> "StageProgress":
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.stage, total=None, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def start(self, unit: str, total: int, done: int = 0, reused: int = 0) -> None:
        """Begin a loop over ``total`` units called ``unit``, of which ``done`` are done already."""
        self.status |= {"unit": unit, "total": total, "done": done, "reused": reused}
        self._show(force=True)

    def update(self, done: int, failed: int | None = None, note: str = "") -> None:
        """Set the number of finished units (failed ones included) and a short note such as the current loss."""
        self.status |= {"done": done, "message": note}
        if failed is not None:
            self.status["failed"] = failed
        self._show(force=done == self.status["total"])

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(f"{self.stage}: {text}", markup=False, highlight=False, soft_wrap=True)

    def finish(self, outcome: Outcome, message: str) -> None:
        """Record how the stage ended."""
        self.status |= {"outcome": outcome, "message": message}
        self._show(force=True, last=outcome == "done")

    def _show(self, force: bool, last: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._last_status >= STATUS_SECONDS:
            self._last_status = now
            try:
                write_json(self._path, self.status)
            except OSError as error:
                # Progress is a courtesy: a full disk must be reported by the writer of the work, not from here.
                print(f"{self.stage}: could not write {self._path}: {error}", file=sys.stderr)
        status = self.status
        note = status["message"] + (f" ({status['failed']} failed)" if status["failed"] else "")
        if self._bar:
            self._bar.update(self._task, total=status["total"] or None, completed=status["done"], note=note)
        elif last or now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            self.say(f"{status['done']}/{status['total']} {status['unit']} {note}".rstrip())
