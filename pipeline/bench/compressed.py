"""Benchmark ``compressed-extraction``: reading the coded stream beside PyAV's plain decoding to RGB. A door, like bench.

Clips are coded as CoViAR's were, 340 x 256 px, MPEG-4 Part 2, groups of 12, best quality: the procedural world, and real
clips where ``../shared/videos`` is. One core, CPU time; rounds alternate, and the best round of each side counts.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.bench.timing import cpu_seconds

WIDTH, HEIGHT, FRAMES, ROUNDS, LONGER = 340, 256, 300, 9, 8
REAL = (
    "actions/archery_example.avi",
    "formats/structuralize_gym.mp4",
    "people/vtest_pets09_s2l1.avi",
    "actions/basketball.mp4",
)
TASKS = {
    "accumulated_motion_and_residual": ("mv_accumulated", "residual_accumulated"),
    "motion_and_residual": ("mv", "residual"),
    "motion_only": ("mv", "mv_accumulated", "valid", "vectors"),
    "everything": ("vectors", "mv", "mv_accumulated", "residual", "residual_accumulated", "valid", "i_frame"),
}


def extraction(root: Path | None = None) -> dict[str, Any]:
    """CPU ms a frame of each task and of plain decoding, and the peak memory at 1 and 8 times the length."""
    import cv2

    from pipeline.datasets.world import world_plan, write_video

    cores = os.sched_getaffinity(0)
    videos = (root or Path.cwd()).parent / "shared" / "videos"
    rows: dict[str, Any] = {}
    try:
        os.sched_setaffinity(0, {min(cores)})
        cv2.setNumThreads(1)
        with tempfile.TemporaryDirectory() as temp:
            folder = Path(temp)
            plan = next(plan for plan in world_plan("medium", seed=1) if plan.subset == "testing")
            write_video(plan, folder / "world.mp4", folder / "world.h5")
            sources = {"world": folder / "world.mp4"}
            sources |= {Path(name).stem: videos / name for name in REAL if (videos / name).is_file()}
            for name, source in sources.items():
                rows[name] = _rounds(code(source, folder / f"coded-{name}.mp4", FRAMES))
            short, long = (code(sources["world"], folder / f"{k}.mp4", k * FRAMES) for k in (1, LONGER))
            memory = {"frames": [FRAMES, LONGER * FRAMES], "peak_MiB": [_peak_mib(short), _peak_mib(long)]}
    finally:
        os.sched_setaffinity(0, cores)
    worst = {task: max(row["ratio"][task] for row in rows.values()) for task in TASKS}
    return {"asked_ratio": 3.0, "aim_ratio": 2.0, "worst_ratio": worst, "clips": rows, "memory": memory}


def code(source: Path, target: Path, frames: int) -> Path:
    """Code ``frames`` pictures of a video, from the start again where it is shorter, as CoViAR's videos were."""
    import av

    with av.open(str(target), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"flags": "+qscale", "global_quality": "118"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 12
        stream.codec_context.thread_count = 1
        count = 0
        while count < frames:
            with av.open(str(source)) as read:
                for frame in read.decode(video=0):
                    pixels = frame.reformat(WIDTH, HEIGHT, "yuv420p").to_ndarray()
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="yuv420p")))
                    count += 1
                    if count == frames:
                        break
        container.mux(stream.encode(None))
    return target


def plain_decode(path: Path) -> int:
    """The peer: every frame to an RGB array, as PyAV's manual does it."""
    import av

    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            frame.to_ndarray(format="rgb24")
            count += 1
    return count


def read_all(path: Path, arrays: tuple[str, ...]) -> int:
    """Ours; what is read is dropped."""
    from pipeline.video.compressed import read_compressed

    return sum(1 for _ in read_compressed(path, arrays))


def _rounds(path: Path) -> dict[str, Any]:
    times: dict[str, list[float]] = {"plain": [], **{task: [] for task in TASKS}}
    frames = plain_decode(path)
    for _ in range(ROUNDS):
        times["plain"].append(cpu_seconds(lambda: plain_decode(path)))
        for task, arrays in TASKS.items():
            times[task].append(cpu_seconds(lambda arrays=arrays: read_all(path, arrays)))  # type: ignore[misc]
    ratio = {task: min(times[task]) / min(times["plain"]) for task in TASKS}
    return {
        "frames": frames,
        "ms_per_frame": {task: round(1000 * min(each) / frames, 3) for task, each in times.items()},
        "ratio": {task: round(value, 2) for task, value in ratio.items()},
    }


def _peak_mib(path: Path) -> float:
    """Peak memory of a process that reads everything."""
    program = (
        "from pathlib import Path; from pipeline.bench.compressed import TASKS, read_all; "
        f"read_all(Path({str(path)!r}), TASKS['everything']); "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return round(int(done.stdout) / 1024, 1)
