"""``python -m pipeline extract compressed VIDEO --out X.h5``: the coded stream of one file as HDF5. A door, like the cli."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.run.executors import run_units


class Request(NamedTuple):
    """What is to be extracted."""

    video: Path
    out: Path
    arrays: tuple[str, ...] | None
    short_side: int | None
    normalise: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    parser = what.add_parser("compressed", help="motion vectors, accumulated motion and residuals of the coded stream")
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("--out", type=Path, required=True, metavar="X.h5", help="file to write (kind compressed)")
    parser.add_argument(
        "--arrays", nargs="+", metavar="NAME", help="which of pipeline.video.compressed.ARRAYS; default: all"
    )
    parser.add_argument("--short-side", type=int, metavar="N", help="px of the shorter side; default: as stored")
    parser.add_argument(
        "--normalise", action="store_true", help="transcode first: no B-frames, one reference; any codec is taken then"
    )


def run(options: argparse.Namespace) -> int:
    """Extract and print what was found as JSON; see :func:`extract_apart`."""
    print(json.dumps(extract_apart(options)))
    return 0


def extract_apart(options: argparse.Namespace) -> Mapping[str, Any]:
    """Extract in a process of its own, so that a decoder that crashes on a damaged file does no more than fail.

    Raises:
        ValueError: what is wrong with the file or the options.
    """
    if options.short_side is not None and options.short_side < 8:
        raise ValueError(f"--short-side is {options.short_side}, it must be at least 8 px")
    arrays = None if options.arrays is None else tuple(options.arrays)
    request = Request(options.video, options.out, arrays, options.short_side, options.normalise)
    (outcome,) = run_units(extract, [request], "process", 1)
    if outcome.cause is not None:
        raise ValueError(outcome.cause)
    return {"out": str(options.out), **outcome.value, "cpu_s": round(outcome.cpu_s, 3)}


def extract(request: Request) -> Mapping[str, int]:
    """Write the artifact of one request, in this process. Raises as ``write_compressed`` and ``normalised``."""
    from pipeline.video.compressed import ARRAYS
    from pipeline.video.compressed.normalise import normalised
    from pipeline.video.compressed.store import write_compressed

    arrays = ARRAYS if request.arrays is None else request.arrays
    if not request.normalise:
        return write_compressed(request.video, request.out, arrays, short_side=request.short_side)
    with normalised(request.video) as (video, codec):
        return write_compressed(video, request.out, arrays, short_side=request.short_side, normalised_from=codec)
