"""The benchmark ``bank-ava``: long-term feature banks of a whole data set, written, indexed and read. A door's part."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.bank_windows import WindowRule, index_banks, read_window
from pipeline.run import kinds

WINDOWS = 3000
RULE = WindowRule(window_s=60, per_second=5)  # section 7.2.1: AVA


def measure_banks(videos: int, seconds: int, mean_people: int, dim: int) -> dict[str, Any]:
    """Write simulated banks in half precision, index them, read random training windows; each in a process of its own.

    The peer is the published form held in memory, ``{video: {second: [vectors]}}`` (the released code's pickles), for one
    video: reading all of them takes as much memory as the features have. Sizes are in MiB, times of reading in
    milliseconds of CPU, with the files in the page cache.
    """
    size = {"videos": videos, "seconds": seconds, "mean_people": mean_people, "dim": dim}
    with tempfile.TemporaryDirectory(prefix="banks-") as folder:
        write = _in_own_process("write", folder, **size)
        read = _in_own_process("read", folder, **size)
        stored = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
    return {**size, "precision": "float16", "stored_MiB": round(stored), "write": write, "read": read}


def bank_ava() -> dict[str, Any]:
    """Feature banks of AVA's size, written and read at random (asked: bounded memory, a window in under a millisecond)."""
    return measure_banks(videos=300, seconds=900, mean_people=3, dim=2048)


def write_banks(folder: Path, videos: int, seconds: int, mean_people: int, dim: int) -> dict[str, Any]:
    """One file per video: every second of 0 to twice ``mean_people`` people with random features."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2 * mean_people * seconds, dim), np.float32).astype(np.float16)
    rows = 0
    for video in range(videos):
        people = rng.integers(0, 2 * mean_people + 1, seconds)
        count = int(people.sum())
        kinds.BANK.write(
            folder / f"{video}.h5",
            {
                "t": np.repeat(np.arange(seconds) + 0.5, people),
                "track": np.zeros(count, np.int32),
                "label": np.zeros(count, np.int16),
                "box": np.zeros((count, 4), np.float32),
                "score": rng.random(count, np.float32),
                "feature": np.roll(noise, int(rng.integers(dim)))[:count],
            },
            {"classes": "person", "encoder": "simulated", "window_s": 2.0, "duration_s": float(seconds)},
        )
        rows += count
    return {"rows": rows}


def read_banks(folder: Path, videos: int, seconds: int, mean_people: int, dim: int) -> dict[str, Any]:
    """Index all, then read :data:`WINDOWS` random windows of random videos."""
    start = time.process_time()
    index = index_banks({str(video): folder / f"{video}.h5" for video in range(videos)})
    figures: dict[str, Any] = {"index_and_check_cpu_s": round(time.process_time() - start, 2)}
    rng = np.random.default_rng(1)
    instants = rng.integers(0, seconds, WINDOWS).astype(float)
    chosen = rng.integers(0, videos, WINDOWS)

    def timed(action: Any) -> list[float]:
        times = []
        for video, instant in zip(chosen.tolist(), instants.tolist(), strict=True):
            start = time.process_time()
            action(str(video), instant)
            times.append(1000 * (time.process_time() - start))
        return times

    read = lambda video, instant: read_window(index, video, instant, RULE, rng)  # noqa: E731
    timed(read)
    ours = timed(read)
    with kinds.BANK.open(folder / "0.h5") as reader:
        t, feature = reader["t"], reader["feature"].astype(np.float32)
    published: dict[int, list[np.ndarray]] = {}
    for when, row in zip(t.tolist(), feature, strict=True):
        published.setdefault(int(when), []).append(row)

    def peer(_video: str, instant: float) -> np.ndarray:
        window = np.zeros((RULE.rows, dim), np.float32)
        rows: list[np.ndarray] = []
        for second in range(int(instant) - 30, int(instant) + 30):
            here = published.get(second, [])
            rows += (
                [here[i] for i in rng.choice(len(here), min(RULE.per_second, len(here)), replace=False)] if here else []
            )
        window[: len(rows)] = rows if rows else window[:0]
        return window

    theirs = timed(peer)
    held = 4 * index.rows * dim / 2**20
    return {
        **figures,
        "windows": WINDOWS,
        "window_rows": RULE.rows,
        "window_cpu_ms_median": round(float(np.median(ours)), 3),
        "window_cpu_ms_99_percent": round(float(np.quantile(ours, 0.99)), 3),
        "published_form_in_memory_cpu_ms_median": round(float(np.median(theirs)), 3),
        "published_form_in_memory_would_hold_MiB": round(held),
    }


def _in_own_process(action: str, folder: str, **size: int) -> dict[str, Any]:
    """Run :func:`write_banks` or :func:`read_banks` in a fresh process, whose peak memory is then its own."""
    arguments = [action, folder, *map(str, size.values())]
    done = subprocess.run([sys.executable, "-m", "pipeline.bench.bank", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bank-ava {action}: {done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _main(action: str, folder: str, *numbers: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    do = {"write": write_banks, "read": read_banks}[action]
    figures = do(Path(folder), *map(int, numbers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures |= {
        "cpu_s": round(time.process_time() - start, 1),
        "peak_memory_grew_MiB": round((peak - before) / 1024),
        "cores": os.cpu_count(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    _main(*sys.argv[1:])
