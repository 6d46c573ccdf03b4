"""``python -m pipeline run``: run the graph, or what of it is out of date."""

import argparse
from pathlib import Path
from typing import Literal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--dataset", metavar="NAME", help="a file data/datasets/NAME.yaml")
    parser.add_argument("--recipe", metavar="NAME", help="an overlay recipes/NAME.yaml over params.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a parameter")
    parser.add_argument("--target", metavar="STAGE", help="stop at this stage, such as features@lofi")
    parser.add_argument("--here", action="store_true", help="with overrides: edit params.yaml here, use no worktree")


def run(options: argparse.Namespace) -> int:
    """Launch; returns the exit status. Raises as :func:`pipeline.run.launch.launch`."""
    from pipeline.run.launch import Request, launch

    workspace: Literal["here", "auto"] = "here" if options.here else "auto"
    request = Request(options.dataset, options.recipe, tuple(options.set), options.target, workspace)
    return launch(Path.cwd(), request)
