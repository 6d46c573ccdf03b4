"""``python -m pipeline clean``: remove results from the work store that no current output uses."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(options: argparse.Namespace) -> int:
    """Remove them, or say what would be removed."""
    from pipeline.run.clean import clean

    return clean(Path.cwd(), options.dry_run)
