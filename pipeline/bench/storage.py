"""Benchmark of ways to store decoded pictures: JPEG files, raw arrays, H.264 segments. Registered in ``bench``.

What each costs on the disk and in writing, and how long a random training clip takes from it.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.bench.decode import FRAMES, SHORT_SIDE, STRIDE, Figures, about, bench_clips
from pipeline.datasets.stored import KINDS, open_frames, write_frames
from pipeline.video.decode import Frame, decode

QUALITY, CRF, CLIPS = 90, 18, 12


def storage() -> Figures:
    """Bytes, CPU ms to write a picture, CPU ms to read 8 of 64 pictures, and PSNR, of up to 600 frames per clip."""
    rows: Figures = {}
    with bench_clips(least=FRAMES * STRIDE) as clips, tempfile.TemporaryDirectory() as temp:
        for name, path in clips.items():
            source = about(path)
            side = min(SHORT_SIDE, source["width"], source["height"])
            pictures = [frame.picture for frame, _ in zip(decode(path, short_side=side), range(600), strict=False)]
            file = Path(temp) / "a.h5"
            rows[name] = {"source": source, **{form: _measure(file, form, pictures) for form in KINDS}}
    forms = {
        form: {key: round(statistics.median(row[form][key] for row in rows.values()), 3) for key in rows[name][form]}
        for form in KINDS
    }
    return {"median": forms, "decision": DECISION, "clips": rows}


DECISION = (
    "jpeg is the default: a clip from it costs less than a training step of any of the encoders here, in a size that a "
    "training set can have. raw is for sets that fit a fast disk and must lose nothing, segments for sets whose JPEGs fit "
    "none; where even these are too much, VideoStore decodes the source files on the fly."
)


def _measure(file: Path, storage: str, pictures: list[np.ndarray]) -> Figures:
    """One storage of one clip's pictures, RGB."""
    start = time.process_time()
    frames = (Frame(float(at), one) for at, one in enumerate(pictures))
    write_frames(file, storage, frames, {"duration_s": 1.0}, quality=QUALITY, crf=CRF)
    writing = time.process_time() - start
    rng, spent, error = np.random.default_rng(0), list[float](), list[float]()
    for _ in range(CLIPS + 1):
        wanted = rng.integers(len(pictures) - FRAMES * STRIDE + 1) + np.arange(FRAMES) * STRIDE
        start = time.process_time()
        with open_frames(file) as stored:
            got = stored.pictures(wanted)
        spent.append(time.process_time() - start)
        error += [float(np.square(a.astype(float) - pictures[k]).mean()) for a, k in zip(got, wanted, strict=True)]
    return {
        "bytes_per_picture": round(file.stat().st_size / len(pictures)),
        "write_ms_per_picture": round(1000 * writing / len(pictures), 3),
        "clip_ms": round(1000 * statistics.median(spent[1:]), 2),
        "psnr_dB": round(float(10 * np.log10(255**2 / max(float(np.mean(error)), 1e-3))), 1),
    }
