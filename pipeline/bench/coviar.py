"""Benchmarks of CoViAR: tables 4.3 and 4.4 of the thesis, and snippets of the coded stream beside TSM's. See ``bench``.

CPU milliseconds of one thread, medians of runs that alternate with the peers'. The clip is a rendered one, coded as the
thesis' are: MPEG-4 Part 2, 340 x 256, groups of twelve, no B-frames.
"""

import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.bench.runs import finished_runs, roots_here
from pipeline.bench.timing import alternating_seconds

Figures = dict[str, Any]
WIDTH, HEIGHT, FPS, FRAMES, GROUP = 340, 256, 25, 120, 12
SIZE = 224
RUNS = 3
STREAMS = ("i", "mv", "residual")
SNIPPETS_PER_S = 100 / 30
"""Of the demo: 100 snippets in half a minute."""
SNIPPET_SIZES: Mapping[str, tuple[int, int, Mapping[str, Any]]] = {
    "demo": (RUNS, 72, {"base_width": 16, "frames": 8, "window_s": 1.6, "height": 64, "width": 84}),
    "paper": (1, 256, {"base_width": 64, "frames": 8, "window_s": 1.6, "height": 224, "width": 224}),
}
"""Runs, short side of what is stored, px, and the encoder's snippets."""
SNIPPET_ENCODERS: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "tsm_resnet18": ({"name": "tsm_resnet18"}, ()),
    "coviar_resnet18 I+MV": ({"name": "coviar_resnet18"}, ("mv_accumulated", "i_frame")),
    "coviar_resnet18 I+MV+R": (
        {"name": "coviar_resnet18", "residual": True},
        ("mv_accumulated", "residual_accumulated", "i_frame"),
    ),
}
"""Options of the encoder, and the arrays of the stream that it needs; none: decoded frames."""


def recognition() -> Figures:
    """Pre-processing and networks per frame (table 4.4) and multiply-accumulates (table 4.3), beside optical flow."""
    import cv2
    import torch

    from models.costs import conv_macs
    from models.streams import BACKBONES, CHANNELS, build_stream
    from pipeline.datasets.flow_store import flow
    from pipeline.training.device import set_threads
    from pipeline.video.compressed import read_compressed
    from pipeline.video.decode import decode

    set_threads(1)
    cv2.setNumThreads(1)
    networks, gmacs = {}, {}
    for stream in STREAMS:
        networks[stream] = build_stream(stream, 101).eval()
        with torch.device("meta"):
            shape = build_stream(stream, 101)
            gmacs[stream] = conv_macs(shape, torch.zeros(1, 1, CHANNELS[stream], SIZE, SIZE)) / 1e9
    with tempfile.TemporaryDirectory() as temp:
        clip = Path(temp) / "clip.avi"
        _write_clip(clip)
        pictures = [frame.picture for frame in decode(clip)]
        pairs = list(pairwise(pictures[:21]))
        asked = ("mv_accumulated", "residual_accumulated", "i_frame")
        cost = _alternating({
            "compressed": (FRAMES, lambda: _exhaust(read_compressed(clip, asked))),
            "compressed_without_residual": (FRAMES, lambda: _exhaust(read_compressed(clip, ("mv_accumulated", "i_frame")))),
            "decode_to_rgb": (FRAMES, lambda: _exhaust(decode(clip))),
            "flow_farneback": (len(pairs), lambda: [flow(a, b, "farneback") for a, b in pairs]),
            "flow_dis": (len(pairs), lambda: [flow(a, b, "dis") for a, b in pairs]),
        })  # fmt: skip
    with torch.inference_mode():
        cnn = _alternating({
            stream: (1, lambda network=network, stream=stream: network(torch.zeros(1, 1, CHANNELS[stream], SIZE, SIZE)))  # type: ignore[misc]
            for stream, network in networks.items()
        })  # fmt: skip
    return {
        "clip": f"{WIDTH}x{HEIGHT} mpeg4, group {GROUP}, {FRAMES} frames",
        "networks": {stream: BACKBONES[stream] for stream in STREAMS},
        "gmacs_per_picture": _rounded(gmacs),
        "gmacs_per_frame_of_a_group": round(_per_frame(gmacs), 2),
        "preprocess_ms_per_frame": _rounded(cost),
        "cnn_ms_per_picture": _rounded(cnn),
        "cnn_ms_per_frame_of_a_group": round(_per_frame(cnn), 2),
        "farneback_over_compressed": round(cost["flow_farneback"] / cost["compressed"], 1),
        "dis_over_compressed": round(cost["flow_dis"] / cost["compressed"], 1),
        "thesis": {"gflops_per_frame": 4.2, "preprocess_ms": 2.87, "tvl1_flow_ms": 75.0},
    }


def localisation() -> Figures:
    """A second of video to snippet features: TSM on decoded frames, CoViAR on the coded stream; demo's and papers' sizes.

    Beside it the average mAP on ``world`` of the finished runs of the demo, where they are: ``make repro``, and
    ``run --recipe compressed`` and ``compressed_residual``.
    """
    from pipeline.evaluation.bootstrap import bootstrap
    from pipeline.evaluation.segments import load_ground_truth, load_predictions
    from pipeline.training.device import set_threads
    from stages import _outputs
    from stages._encoder import EncoderSpec

    set_threads(1)
    rows: Figures = {"clip": f"{WIDTH}x{HEIGHT} mpeg4, group {GROUP}, {FRAMES} frames"}
    with tempfile.TemporaryDirectory() as temp:
        clip = Path(temp) / "clip.avi"
        _write_clip(clip)
        for name, (runs, short_side, sizes) in SNIPPET_SIZES.items():
            snippets = {**sizes, "short_side": short_side, "per_second": round(SNIPPETS_PER_S, 2)}
            rows[name] = {"snippets": snippets, "encoders": _encoders(clip, Path(temp) / name, short_side, sizes, runs)}
    roots = {}
    for run in finished_runs(roots_here()):
        for name, (options, _) in SNIPPET_ENCODERS.items():
            if run.dataset == "world" and run.spec == EncoderSpec(**options, **SNIPPET_SIZES["demo"][2]):
                rows["demo"]["encoders"][name] |= run.mean_ap()
                roots[name] = run.root
    plain = next(iter(SNIPPET_ENCODERS))
    if plain in roots:
        truth = load_ground_truth(roots[plain] / _outputs.DATASET_FILE, "testing")
        predictions = _outputs.PREDICTIONS.format(variant="lofi") + "/predictions.json"
        sampled = bootstrap(truth, {name: load_predictions(root / predictions) for name, root in roots.items()})
        for name in roots.keys() - {plain}:
            rows["demo"]["encoders"][name] |= sampled.difference(name, plain).metrics(f"mAP_minus_{plain}")
    return rows


def _encoders(clip: Path, folder: Path, short_side: int, sizes: Mapping[str, Any], runs: int) -> Figures:
    """What reading and encoding cost by encoder: CPU milliseconds and multiply-accumulates per second of video."""
    import torch

    from models.costs import conv_macs
    from models.encoders.snippets import normalise, snippet_features
    from pipeline.run.stage import Unit
    from stages import _encoder, _snippets
    from stages.compressed import Compressed
    from stages.compressed import read as read_stream
    from stages.frames import Frames
    from stages.frames import decode as decode_frames

    duration_s = FRAMES / FPS
    centers = _snippets.centers(duration_s, round(SNIPPETS_PER_S * duration_s))
    unit = Unit("clip", "unit", (clip,), {"duration_s": duration_s})
    work: dict[str, tuple[float, Callable[[], Any]]] = {}
    rows: Figures = {}
    for name, (options, arrays) in SNIPPET_ENCODERS.items():
        place = folder / name
        place.mkdir(parents=True)
        spec = _encoder.EncoderSpec(**options, **sizes)
        encoder = _encoder.build(spec).eval()

        def read(arrays: tuple[Any, ...] = arrays, place: Path = place) -> None:
            if arrays:
                read_stream(unit, Compressed(short_side=short_side, arrays=arrays, b_frames=False), place)
            else:
                decode_frames(unit, Frames(fps=6, short_side=short_side, jpeg_quality=90), place)

        def encode(spec: Any = spec, place: Path = place, encoder: Any = encoder) -> None:
            source = _snippets.Snippets(spec, {"clip": place / "unit.h5"})
            with torch.inference_mode():
                snippet_features(encoder, source.clips("clip", centers))

        work |= {f"{name}: read": (duration_s, read), f"{name}: encode": (duration_s, encode)}
        read()
        clips = normalise(_snippets.Snippets(spec, {"clip": place / "unit.h5"}).clips("clip", centers))
        rows[name] = {"gmacs": round(conv_macs(encoder, clips) / 1e9 / duration_s, 3)}
    cost = _alternating(work, runs)
    for name, row in rows.items():
        row |= {f"{step}_ms": round(cost[f"{name}: {step}"], 1) for step in ("read", "encode")}
        row["ms"] = round(row["read_ms"] + row["encode_ms"], 1)
    return rows


def _per_frame(each: Mapping[str, float]) -> float:
    """One I-frame and eleven P-frames, averaged (table 4.3)."""
    return (each["i"] + (GROUP - 1) * (each["mv"] + each["residual"])) / GROUP


def _write_clip(path: Path) -> None:
    import av
    import cv2
    import numpy as np

    from pipeline.datasets.world import world_plan
    from pipeline.datasets.world.render import render_video

    plan = next(plan for plan in world_plan("small", seed=1) if plan.subset == "testing")
    frames, _ = render_video(plan)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"q": "1", "qmin": "1", "qmax": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", GROUP
        stream.codec_context.max_b_frames = 0
        for number, picture in zip(range(FRAMES), frames, strict=False):
            scaled = np.asarray(cv2.resize(picture, (WIDTH, HEIGHT)), np.uint8)
            frame = av.VideoFrame.from_ndarray(scaled, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _exhaust(items: Any) -> None:
    for _ in items:
        pass


def _alternating(actions: Mapping[str, tuple[float, Callable[[], Any]]], runs: int = RUNS) -> dict[str, float]:
    """CPU milliseconds per unit of each action (units, action)."""
    found = alternating_seconds({name: action for name, (_, action) in actions.items()}, runs)
    return {name: 1000 * found[name] / units for name, (units, _) in actions.items()}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}
