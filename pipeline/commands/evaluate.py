"""``python -m pipeline evaluate``: score a predictions file against a ground truth."""

import argparse
import json

from pipeline.evaluation import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Print the figures as JSON. Raises as :func:`pipeline.evaluation.command.run`."""
    print(json.dumps(command.run(options), indent=1))
    return 0
