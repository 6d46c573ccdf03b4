"""Benchmarks of decoding and of loading training clips, each beside its peers in the same run. Registered in ``bench``.

CPU seconds of one thread, medians of runs that alternate with the peers'. Clips: the procedural world, and real ones where
``../shared/videos`` is there.
"""

import importlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.timing import alternating_clocks, alternating_seconds, cpu_with_children

Figures = dict[str, Any]
Load = Callable[[Path, np.ndarray], np.ndarray]
"""(file, frame numbers [8]) -> pictures [8, height, width, 3]."""

SHARED = Path(__file__).resolve().parents[3] / "shared" / "videos"
CLIPS = (
    "actions/k400_skateboarding.mp4",
    "actions/k400_cleaning_pool.mp4",
    "actions/k400_tai_chi.mp4",
    "actions/k400_flipping_pancake.mkv",
    "actions/anet_v_GGSY1Qvo990.mp4",
    "actions/yoga.mp4",
    "actions/ucf_SoccerJuggling_g24_c01.avi",
    "actions/sam2_juggle.mp4",
    "people/one_by_one_person.mp4",
    "people/vtest_pets09_s2l1.avi",
)
FRAMES, STRIDE, CROP, SHORT_SIDE = 8, 8, 224, 256


def decode_stage() -> Figures:
    """The stage ``frames``, JPEG writing included, beside ffmpeg's decode and conversion to rgb24; one thread each.

    Per clip ``times_ffmpeg`` = ffmpeg's CPU seconds / ours, at native size: at 5 fps (asked: 1.0) against ffmpeg giving the
    same 5 pictures per second, and against it giving all; of all frames; and at 5 fps with a shorter side of 256 px, both
    scaling by areas, of clips that are larger. ffmpeg's start is counted, as it is paid for each video, while a worker of
    the stage starts once; ``start_left_out`` is without it. ``times_ffmpeg_wall`` is the first by the clock.
    """
    import cv2

    from pipeline.run.stage import Unit, VideoStage, find_stage

    cv2.setNumThreads(1)
    stage = find_stage("frames")
    assert isinstance(stage, VideoStage)
    rows: Figures = {}
    start = alternating_seconds({"ffmpeg": lambda: _ffmpeg(None, "")}, clock=cpu_with_children)["ffmpeg"]
    clocks = cpu_with_children, time.perf_counter
    with bench_clips() as clips, tempfile.TemporaryDirectory() as temp:
        for name, path in clips.items():
            source = about(path)

            def run(fps: Any, side: int | None = None, path: Path = path) -> None:
                params = stage.section.model_validate({"fps": fps, "short_side": side, "jpeg_quality": 90})
                stage.process(Unit("v", "v", (path,), {"duration_s": 1.0}), params, Path(temp))

            actions: dict[str, Callable[[], None]] = {
                "ours_5_fps": lambda run=run: run(5),  # type: ignore[misc]
                "ffmpeg_5_fps": lambda path=path: _ffmpeg(path, "fps=5,format=rgb24"),  # type: ignore[misc]
                "ours_all": lambda run=run: run("native"),  # type: ignore[misc]
                "ffmpeg_all": lambda path=path: _ffmpeg(path, "format=rgb24"),  # type: ignore[misc]
            }
            if min(source["width"], source["height"]) > SHORT_SIDE:
                scale = SHORT_SIDE / min(source["width"], source["height"])
                size = ":".join(str(round(source[side] * scale)) for side in ("width", "height"))
                area = f"fps=5,scale={size}:flags=area,format=rgb24"
                actions["ours_5_fps_256"] = lambda run=run: run(5, SHORT_SIDE)  # type: ignore[misc]
                actions["ffmpeg_5_fps_256"] = lambda path=path, area=area: _ffmpeg(path, area)  # type: ignore[misc]
            # A file that is written over is freed by the one that writes: no cost of a stage, whose files are new.
            cost = alternating_clocks(actions, clocks, before=lambda: (Path(temp) / "unit.h5").unlink(missing_ok=True))
            cpu = {key: seconds for key, (seconds, _) in cost.items()}
            ratios = {
                "times_ffmpeg_5_fps": cpu["ffmpeg_5_fps"] / cpu["ours_5_fps"],
                "times_ffmpeg_5_fps_start_left_out": (cpu["ffmpeg_5_fps"] - start) / cpu["ours_5_fps"],
                "times_ffmpeg_wall_5_fps": cost["ffmpeg_5_fps"][1] / cost["ours_5_fps"][1],
                "times_ffmpeg_5_fps_against_all": cpu["ffmpeg_all"] / cpu["ours_5_fps"],
                "times_ffmpeg_all": cpu["ffmpeg_all"] / cpu["ours_all"],
            }
            if "ours_5_fps_256" in cpu:
                ratios["times_ffmpeg_5_fps_256"] = cpu["ffmpeg_5_fps_256"] / cpu["ours_5_fps_256"]
            rows[name] = {
                **source,
                **{key: round(value, 2) for key, value in ratios.items()},
                "cpu_s": {key: round(value, 3) for key, value in cpu.items()},
            }
    found: dict[str, list[float]] = {}
    for row in rows.values():
        for key in (key for key in row if key.startswith("times_ffmpeg")):
            found.setdefault(key, []).append(row[key])
    return {
        "median": {key: round(statistics.median(ratios), 3) for key, ratios in found.items()},
        "least": {key: min(ratios) for key, ratios in found.items()},
        "ffmpeg_start_cpu_s": round(start, 3),
        "clips": rows,
    }


def decode_memory() -> Figures:
    """Peak memory of the stage ``frames`` in a process of its own, on one video and on the same eight times as long."""
    import sys

    from pipeline.datasets.world import world_plan, write_video
    from pipeline.video.decode import decode
    from pipeline.video.encode import encode_h264

    plan = next(p for p in world_plan("medium", seed=1) if p.subset == "testing")
    peaks: Figures = {}
    with tempfile.TemporaryDirectory() as temp:
        write_video(plan, Path(temp) / "v.mp4", Path(temp) / "t.h5")
        for times in (1, 8):
            pictures = (frame.picture for _ in range(times) for frame in decode(Path(temp) / "v.mp4"))
            count = encode_h264(Path(temp) / "long.mp4", pictures, plan.fps, gop=48)
            done = subprocess.run([sys.executable, "-c", _PEAK, temp], capture_output=True, text=True, check=True)
            peaks[f"{count} frames"] = {"peak_MiB": round(int(done.stdout.split()[0]) / 1024, 1)}
    one, eight = (row["peak_MiB"] for row in peaks.values())
    return {"lengths": peaks, "eight_times_as_long_takes": round(eight / one, 3)}


_PEAK = """
import sys
from pathlib import Path
from pipeline.run.stage import Unit, find_stage
stage, folder = find_stage("frames"), Path(sys.argv[1])
params = stage.section.model_validate({"fps": "native", "short_side": None, "jpeg_quality": 90})
stage.process(Unit("v", "v", (folder / "long.mp4",), {"duration_s": 1.0}), params, folder)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])  # KiB; getrusage would count what the parent had at the fork
"""


def loader() -> Figures:
    """Random training clips, 8 of 64 frames cropped to 224 px: the artifact, on the fly, and seeking in the file.

    The artifact holds all frames at 256 px at most, as JPEG (the default) or raw. Every loader opens the file anew for
    each clip, as over a data set too large to hold open. Ours know from the first time where the pictures lie, or the key
    frames, as a worker does from the second epoch on; ``first_visit`` is the artifact without that. CPU seconds, one thread.
    Asked: 5 times the peers'.
    """
    import cv2

    from pipeline.datasets.snippets import FrameStore
    from pipeline.datasets.video_store import VideoStore
    from pipeline.run.stage import Unit, VideoStage, find_stage

    cv2.setNumThreads(1)
    stage = find_stage("frames")
    assert isinstance(stage, VideoStage)
    rows: Figures = {}
    with bench_clips(least=FRAMES * STRIDE) as clips, tempfile.TemporaryDirectory() as temp:
        peers, notes = _peers(next(iter(clips.values())))
        for name, path in clips.items():
            source = about(path)
            side = min(SHORT_SIDE, source["width"], source["height"])
            stored: dict[str, Path] = {}
            for storage in ("jpeg", "raw"):
                values = {"fps": "native", "short_side": side, "jpeg_quality": 90, "storage": storage}
                unit = Unit("v", "v", (path,), {"duration_s": 1.0})
                stage.process(unit, stage.section.model_validate(values), Path(temp))
                stored[storage] = (Path(temp) / "unit.h5").rename(Path(temp) / f"{storage}.h5")
            files = VideoStore({"v": path}, short_side=side)
            times = files.pts("v")

            def on_the_fly(_path: Path, wanted: np.ndarray, files: VideoStore = files) -> np.ndarray:
                files.close()
                return files.pictures("v", wanted)

            def first_visit(_path: Path, wanted: np.ndarray, file: Path = stored["jpeg"]) -> np.ndarray:
                store = FrameStore({"v": file}, capacity_bytes=0)
                try:
                    return store.pictures("v", wanted)
                finally:
                    store.close()

            stores = {key: FrameStore({"v": file}, capacity_bytes=0) for key, file in stored.items()}

            def artifact(_path: Path, wanted: np.ndarray, store: FrameStore = stores["jpeg"]) -> np.ndarray:
                store.close()
                return store.pictures("v", wanted)

            def raw_artifact(path: Path, wanted: np.ndarray, store: FrameStore = stores["raw"]) -> np.ndarray:
                return artifact(path, wanted, store)

            loaders: dict[str, Load] = {
                "artifact": artifact, "first_visit": first_visit, "raw_artifact": raw_artifact, "on_the_fly": on_the_fly,
                **peers,
            }  # fmt: skip
            rng = np.random.default_rng(0)
            spent: dict[str, list[float]] = {key: [] for key in loaders}
            for round_ in range(13):
                wanted = rng.integers(len(times) - FRAMES * STRIDE + 1) + np.arange(FRAMES) * STRIDE
                for key, load in loaders.items():
                    start = time.process_time()
                    clip = _crop(load(path, wanted), np.random.default_rng(round_))
                    spent[key].append(time.process_time() - start)
                    assert clip.shape == (FRAMES, CROP, CROP, 3)
            per_s = {key: 1 / statistics.mean(seconds[1:]) for key, seconds in spent.items()}  # the first warms up
            rows[name] = {
                **source,
                "artifact_bytes": stored["jpeg"].stat().st_size,
                "clips_per_cpu_s": {key: round(value, 1) for key, value in per_s.items()},
                **{
                    f"{form}_times": {k: round(per_s[form] / per_s[k], 1) for k in ("on_the_fly", *peers)}
                    for form in ("artifact", "first_visit", "raw_artifact")
                },
            }
            files.close()
            for store in stores.values():
                store.close()

    def summary(form: str) -> Figures:
        ratios = {key: [row[form][key] for row in rows.values()] for key in ("on_the_fly", *peers)}
        return {key: {"median": round(statistics.median(r), 1), "least": min(r)} for key, r in ratios.items()}

    return {
        "artifact_times": summary("artifact_times"),
        "first_visit_times": summary("first_visit_times"),
        "raw_artifact_times": summary("raw_artifact_times"),
        "artifact_bytes_per_source_byte": round(
            sum(row["artifact_bytes"] for row in rows.values()) / sum(row["bytes"] for row in rows.values()), 1
        ),
        **notes,
        "clips": rows,
    }


def _crop(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random 224 px window of pictures whose short side is 256 px; from larger ones what becomes that, scaled."""
    from pipeline.video.crop import crop_resize

    height, width = pictures.shape[1:3]
    side = round(CROP / SHORT_SIDE * min(height, width))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return crop_resize(pictures[:, top : top + side, left : left + side], CROP, CROP)


def _peers(sample: Path) -> tuple[dict[str, Load], Figures]:
    """Loaders that seek in the file, one thread each, as their documentation has it; and why one is not there."""
    peers: dict[str, Load] = {"pyav": _pyav, "opencv": _opencv}
    try:  # its libraries are loaded by the first decoder
        _torchcodec(sample, np.arange(1))
    except (ImportError, OSError, RuntimeError) as error:
        return peers, {"torchcodec": f"not installed ({type(error).__name__})"}
    return {**peers, "torchcodec": _torchcodec}, {}


def _torchcodec(path: Path, wanted: np.ndarray) -> np.ndarray:
    decoders: Any = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate")
    pictures: np.ndarray = decoder.get_frames_at(wanted.tolist()).data.numpy()
    return pictures


def _pyav(path: Path, wanted: np.ndarray) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        rate, tick = float(stream.average_rate or 25), float(stream.time_base or 1)
        times = (wanted / rate).tolist()
        container.seek(int(times[0] / tick), stream=stream)
        pictures: list[np.ndarray] = []
        for frame in container.decode(stream):
            t = frame.time if frame.time is not None else (frame.dts or 0) * tick
            while len(pictures) < len(times) and t >= times[len(pictures)] - 0.5 / rate:
                pictures.append(frame.to_ndarray(format="rgb24"))
            if len(pictures) == len(times):
                break
        return np.stack(pictures + pictures[-1:] * (len(times) - len(pictures)))


def _opencv(path: Path, wanted: np.ndarray) -> np.ndarray:
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    capture.set(cv2.CAP_PROP_POS_FRAMES, int(wanted[0]))
    pictures: list[np.ndarray] = []
    for number in range(int(wanted[0]), int(wanted[-1]) + 1):
        if not capture.grab():
            break
        if number in wanted:
            pictures.append(capture.retrieve()[1][..., ::-1])
    capture.release()
    return np.stack(pictures + pictures[-1:] * (len(wanted) - len(pictures)))


@contextmanager
def bench_clips(least: int = 1) -> Iterator[Mapping[str, Path]]:
    """Clips by name: two rendered ones, and the real ones that are there and have ``least`` frames."""
    from pipeline.datasets.world import world_plan, write_video
    from pipeline.video.decode import probe

    with tempfile.TemporaryDirectory() as temp:
        clips = {}
        for plan in [p for p in world_plan("medium", seed=1) if p.subset == "testing"][:2]:
            clips[f"world/{plan.id}"] = path = Path(temp) / f"{plan.id}.mp4"
            write_video(plan, path, Path(temp) / "truth.h5")
        clips |= {name: SHARED / name for name in CLIPS if (SHARED / name).is_file()}
        yield {name: path for name, path in clips.items() if probe(path).n_frames >= least}


def about(path: Path) -> Figures:
    """What a clip is: codec, size, rate, frames, bytes."""
    from pipeline.video.decode import probe

    info = probe(path)
    return {
        "codec": info.codec, "width": info.width, "height": info.height, "fps": round(info.fps, 2),
        "frames": info.n_frames, "bytes": path.stat().st_size,
    }  # fmt: skip


def _ffmpeg(path: Path | None, filters: str) -> None:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"]
    if path is None:
        command.append("-version")
    else:
        command += ["-threads", "1", "-i", str(path), "-an", "-vf", filters, "-filter_threads", "1", "-threads", "1"]
        command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-y", "/dev/null"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
