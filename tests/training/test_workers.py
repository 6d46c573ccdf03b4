"""Batches of several processes: equal to those made here, in order, and honest about what went wrong."""

import os
import signal

import numpy as np
import pytest

from pipeline.training import workers
from pipeline.training.sampler import step_rng
from pipeline.training.workers import WorkerBatches

SHAPES = ((4, 3, 5), (2, 7, 2))


def shape(step: int) -> tuple[int, ...]:
    return SHAPES[step // 2 % 2]


def fill(step: int, item: int, out: np.ndarray) -> None:
    out[...] = step_rng(item, step).integers(0, 256, out.shape, dtype=np.uint8)


def expected(step: int) -> np.ndarray:
    batch = np.empty(shape(step), np.uint8)
    for item, out in enumerate(batch):
        fill(step, item, out)
    return batch


@pytest.mark.parametrize("count", [1, 3])
def test_batches_do_not_depend_on_the_processes(count: int) -> None:
    with WorkerBatches(fill, shape, 60, workers=count, ahead=2) as batches:
        before = None
        for step in range(3, 12):  # as a resumed training begins
            found = batches(step)
            assert np.array_equal(found, expected(step))
            if before is not None:
                assert np.array_equal(before, expected(step - 1)), "kept until the second call after it"
            before = found


def test_steps_come_one_after_the_other() -> None:
    with WorkerBatches(fill, shape, 60, workers=1) as batches:
        batches(0)
        with pytest.raises(ValueError, match="step 5 was asked for after 0"):
            batches(5)


def test_what_went_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(step: int, item: int, out: np.ndarray) -> None:
        raise OSError(f"no frames of item {item}")

    with (
        WorkerBatches(broken, lambda step: (1, 2), 2, workers=1) as batches,
        pytest.raises(RuntimeError, match="step 0 could not be made: item 0: OSError: no frames of item 0"),
    ):
        batches(0)
    with (
        WorkerBatches(fill, lambda step: (1, 3), 2, workers=1) as batches,
        pytest.raises(ValueError, match="has 3 bytes, more than largest = 2"),
    ):
        batches(0)
    monkeypatch.setattr(workers, "_LOOK_S", 0.2)

    def dies(step: int, item: int, out: np.ndarray) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with (
        WorkerBatches(dies, shape, 60, workers=2) as batches,
        pytest.raises(RuntimeError, match="processes that make batches died"),
    ):
        batches(0)


def test_the_processes_end_with_the_context() -> None:
    with WorkerBatches(fill, shape, 60, workers=2) as batches:
        batches(0)
        made = list(batches._processes)
    assert not any(process.is_alive() for process in made)
    with pytest.raises(ValueError, match="workers is 0"):
        WorkerBatches(fill, shape, 60, workers=0)
