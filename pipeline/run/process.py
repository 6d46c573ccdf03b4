"""The life of a stage's process: signals, the watchdog on its parents, and the lock on a work folder."""

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

EXIT_STOPPED = 75
"""Exit status of a stage that was told to stop, or whose parent is gone: start it again and it goes on."""


def wait_passively() -> None:
    """Let OpenMP threads sleep at a barrier instead of spinning; call it before torch is imported.

    On a machine that is busy with anything else, spinning threads burn the very time that the last one needs: a training
    step of two threads took eight times its CPU time here. On a quiet machine there is no difference to see.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class Stopped(BaseException):
    """SIGINT or SIGTERM reached the stage; a BaseException so that no handler of a unit's errors takes it."""


def stop_on_signals() -> None:
    """Turn SIGINT and SIGTERM into :class:`Stopped` in the main thread.

    The process group stays as it is: Ctrl-C on ``dvc repro`` must reach the stage.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def end_with_parent(parent_pid: int | None = None, interval_s: float = 0.5) -> None:
    """Start a watchdog: when the parent (or the ``dvc`` above it) is gone, this process and its children end.

    Without it a killed ``dvc`` leaves its stage running, and the next ``dvc repro`` starts a second copy.

    Args:
        parent_pid: who started this process, where that is known: it may be gone already.
        interval_s: seconds between two looks.
    """
    watched = _supervisors()
    orphaned = parent_pid is not None and os.getppid() != parent_pid
    # dvc may have been killed while this process was still importing: then it is not above us any more.
    orphaned = orphaned or ("DVC_STAGE" in os.environ and not any(_is_dvc(p) for p in psutil.Process().parents()))

    def watch() -> None:
        while not orphaned and all(_same_process(process) for process in watched):
            time.sleep(interval_s)
        for child in psutil.Process().children(recursive=True):
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        os._exit(EXIT_STOPPED)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()


def _supervisors() -> list[psutil.Process]:
    parents = psutil.Process().parents()
    watched: list[psutil.Process] = list(parents[:1])
    for parent in parents[1:]:
        # A shell may stand between dvc and the stage; it survives dvc's death.
        if _is_dvc(parent):
            watched.append(parent)
    return watched


def _is_dvc(process: psutil.Process) -> bool:
    try:
        return any(Path(word).name == "dvc" for word in process.cmdline()[:3])
    except psutil.Error:
        return False


def _same_process(process: psutil.Process) -> bool:
    # is_running() compares the creation time too, so a recycled PID is not taken for the parent.
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold an exclusive ``flock`` on ``folder``; wait for another holder and say so. Freed by the kernel on any death."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            print(f"{folder} is in use by process {holder}; waiting for it to finish", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield
