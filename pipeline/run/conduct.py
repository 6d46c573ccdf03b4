"""Running the stages of a session one by one, watched and stoppable: what the flow does, without knowing Prefect."""

import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.run.dvc import start_dvc, start_push, stop_tree
from pipeline.run.files import read_json
from pipeline.run.launch import Session

STOP_GRACE_S = 3.0
LOOK_SECONDS = 1.0
_LAST_LINES = 30
# What dvc says of a stage that it did not run.
_SKIPPED = ("didn't change, skipping", "is cached - skipping run")
# What dvc says about itself; no news for the log of a run.
_CHATTER = (
    "To track the changes",
    "git add",
    "To enable auto staging",
    "dvc config core",
    "Use `dvc push`",
    "lock file",
)


class StageFailed(RuntimeError):
    """A stage did not end well; the text is the stage's own."""


class StageStopped(RuntimeError):
    """The run was told to stop, so the stage was ended or not started; start it again and it goes on."""


@dataclass(frozen=True)
class StageResult:
    """How a stage ended: ``executed`` is false where nothing had to be computed; ``summary`` is one line."""

    name: str
    executed: bool
    summary: str


class Conductor:
    """Runs stages of one session, several at once where the caller does so; ``stop`` ends them all.

    With ``share``, results are taken from the DVC remote where another machine has pushed them, and pushed there.
    """

    def __init__(self, session: Session, share: bool = False) -> None:
        self._session, self._share = session, share
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._on_stop: list[Callable[[], object]] = []
        self._fresh: set[str] | None = None
        self._executed: set[str] = set()

    def find_fresh(self) -> set[str]:
        """Stages whose outputs are up to date, by ``dvc status``: as long as what they stand on is not executed anew."""
        process = self._start(["status", "--json"])
        text, _ = process.communicate()
        self._forget(process)
        try:
            changed = set(json.loads(text[text.index("{") :]))
        except ValueError:
            changed = {node.name for node in self._session.plan.nodes}  # dvc repro will say what is wrong
        self._fresh = {node.name for node in self._session.plan.nodes} - changed
        return self._fresh

    def run(
        self, name: str, on_line: Callable[[str], None], on_status: Callable[[Mapping[str, Any]], None]
    ) -> StageResult:
        """Bring one stage up to date.

        Args:
            name: of the stage; what it stands on must be up to date.
            on_line: is given each line that the stage prints, from a thread.
            on_status: is given the content of status.json whenever it changed, from a thread. It may be slow or raise: the
                stage does not wait for it.

        Raises:
            StageFailed: with the stage's own message.
            StageStopped: after :meth:`stop`.
        """
        node = next(node for node in self._session.plan.nodes if node.name == name)
        if name in (self._fresh or ()) and not self._executed & set(node.after):
            return StageResult(name, False, "up to date")
        watch = _StatusWatch(self.status_path(name), on_status)
        process = self._start(["repro", *(["--pull"] if self._share else []), "-s", name])
        watch.start()
        lines: deque[str] = deque(maxlen=_LAST_LINES)
        skipped = False
        try:
            assert process.stdout is not None
            for line in process.stdout:
                text = line.rstrip()
                skipped = skipped or any(words in text for words in _SKIPPED)
                if text and not any(words in text for words in _CHATTER):
                    lines.append(text)
                    on_line(text)
            code = process.wait()
        finally:
            self._forget(process)
            status = watch.finish()
        if self._stopping.is_set() and code:
            raise StageStopped(f"{name} was stopped; start the run again and it goes on")
        if code:
            message = status.get("message") if status.get("outcome") in ("final", "retry") else None
            raise StageFailed(message or "\n".join(lines) or f"{name}: dvc ended with {code}")
        if self._share:
            self._push(name, on_line)
        if skipped:
            return StageResult(name, False, "up to date, restored from the cache")
        self._executed.add(name)
        return StageResult(name, True, str(status.get("message", "")))

    def status_path(self, name: str) -> Path:
        """Where the stage writes its progress."""
        return self._session.workspace / "data" / "work" / "status" / f"{name}.json"

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopping.is_set()

    def on_stop(self, action: Callable[[], object]) -> None:
        """Have :meth:`stop` call ``action`` too (at once if it was called): for work elsewhere on behalf of this run."""
        with self._lock:
            self._on_stop.append(action)
            late = self._stopping.is_set()
        if late:
            action()

    def stop(self) -> None:
        """End every stage that runs, within a few seconds, and let none begin."""
        with self._lock:
            self._stopping.set()
            running, actions = list(self._processes), list(self._on_stop)
        enders = [threading.Thread(target=stop_tree, args=(process, STOP_GRACE_S)) for process in running]
        enders += [threading.Thread(target=action) for action in actions]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def _push(self, name: str, on_line: Callable[[str], None]) -> None:
        process = self._register(lambda: start_push(name, self._session.workspace, self._session.environment))
        text, _ = process.communicate()
        self._forget(process)
        if process.returncode:
            said = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
            cause = said[-1] if said else "dvc push said nothing"  # indented lines are its advice, or a traceback
            on_line(f"{name}: its results are in this machine's cache but not in the DVC remote: {cause}")

    def _start(self, arguments: list[str]) -> "subprocess.Popen[str]":
        session = self._session
        return self._register(
            lambda: start_dvc(arguments, session.workspace, session.environment, own_group=True, output=subprocess.PIPE)
        )

    def _register(self, start: Callable[[], "subprocess.Popen[str]"]) -> "subprocess.Popen[str]":
        with self._lock:
            if self._stopping.is_set():
                raise StageStopped("the run was stopped before this stage began")
            process = start()
            self._processes.add(process)
        return process

    def _forget(self, process: "subprocess.Popen[str]") -> None:
        with self._lock:
            self._processes.discard(process)


class _StatusWatch(threading.Thread):
    """Looks at a status file that is newer than the watch and passes on what changed."""

    def __init__(self, path: Path, tell: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(name="status", daemon=True)
        self._path, self._tell = path, tell
        self._since = time.time()
        self._done = threading.Event()
        self._last: dict[str, Any] = {}

    def run(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self._look()
        self._look()

    def finish(self) -> dict[str, Any]:
        self._done.set()
        self.join(2 * LOOK_SECONDS)  # whoever is told may hang: its server is down
        return self._read()

    def _look(self) -> None:
        status = self._read()
        if status and status != self._last:
            self._last = status
            try:
                self._tell(status)
            except Exception as error:
                print(f"progress of {self._path.stem} could not be told: {error}")

    def _read(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_mtime < self._since:
                return {}
            return dict(read_json(self._path))
        except (OSError, ValueError):
            return {}
