"""``python -m pipeline bench``: measure speed and write reports/bench/*.json."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as world or compressed-extraction; default: all")


def run(options: argparse.Namespace) -> int:
    """Run them. Raises as :func:`pipeline.bench.bench`."""
    from pipeline.bench import bench

    return bench(Path.cwd(), options.names)
