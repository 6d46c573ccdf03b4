"""``python -m pipeline bench``: measure speed and write reports/bench/*.json."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as world; default: all but those of a GPU")
    parser.add_argument("--part", help="of a GPU benchmark, each of which ends within nine minutes")
    parser.add_argument(
        "--toy", action="store_true", help="a GPU benchmark at toy size on the CPU, to see that it runs"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the JSON goes; default: reports/bench")


def run(options: argparse.Namespace) -> int:
    """Run them. Raises as :func:`pipeline.bench.bench`."""
    from pipeline.bench import bench

    return bench(Path.cwd(), options.names, part=options.part, toy=options.toy, out=options.out)
