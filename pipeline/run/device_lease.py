"""One GPU for one stage: a file lock per device of the machine, which the kernel frees on any death.

Queues bring a stage to a machine; which of its GPUs the stage gets is decided here, whoever started it. A machine
without a GPU has nothing to lease, and the same code runs on the CPU.
"""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
LOOK_SECONDS = 0.5


def visible_gpus() -> list[str]:
    """The devices that this process may use: those of ``CUDA_VISIBLE_DEVICES``, or all of the machine, by number."""
    named = os.environ.get(VISIBLE_VARIABLE)
    if named is not None:
        found = [name.strip() for name in named.split(",") if name.strip()]
        return found[: found.index("-1")] if "-1" in found else found  # CUDA stops at the first that is none
    numbers = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia*"))
    return sorted((number for number in numbers if number.isdigit()), key=int)


@contextmanager
def lease(needs: str, gpus: Sequence[str] | None = None, folder: Path | None = None) -> Iterator[str | None]:
    """Hold one GPU and make it the only visible one; nothing for a stage that needs none or a machine that has none.

    Call it before CUDA is initialised. Waits, and says so, while all are taken.

    Args:
        needs: what the stage declares, ``cpu`` or ``gpu``.
        gpus: the devices to choose from; default :func:`visible_gpus`.
        folder: where the locks lie; default one of the machine, not of the checkout.

    Yields:
        The device's name, or None.
    """
    choices = list(visible_gpus() if gpus is None else gpus) if needs == "gpu" else []
    if not choices:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / "long-form-video-gpus"
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(VISIBLE_VARIABLE)
    name, handle = _take(choices, folder)
    try:
        os.environ[VISIBLE_VARIABLE] = name
        yield name
    finally:
        if before is None:
            os.environ.pop(VISIBLE_VARIABLE, None)
        else:
            os.environ[VISIBLE_VARIABLE] = before
        handle.close()


def _take(choices: Sequence[str], folder: Path) -> tuple[str, IO[str]]:
    said = False
    while True:
        for name in choices:
            path = folder / f"{name.replace('/', '_')}.lock"
            handle = open(path, "a+")  # noqa: SIM115 (held for as long as the lease)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
                continue
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            return name, handle
        if not said:
            said = True
            print(f"all GPUs ({', '.join(choices)}) are in use; waiting for one", file=sys.stderr, flush=True)
        time.sleep(LOOK_SECONDS)
