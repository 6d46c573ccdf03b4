"""``python -m pipeline models``: which models there are, and what their papers print."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``models``."""
    parser.add_argument("--json", action="store_true", help="one object per model, by name")


def run(options: argparse.Namespace) -> int:
    """Print a line per model: parameters, the clip it is published with, what its paper prints and where."""
    from models.catalogue import MODELS, meta_model
    from models.costs import parameters

    rows = {}
    for name, entry in MODELS.items():
        found = parameters(meta_model(name)[0])
        printed = {key: value for key, value in entry._asdict().items() if key != "build"}
        rows[name] = {"params": found, **printed}
        if not options.json:
            paper = [f"{entry.paper_params:g} M" if entry.paper_params else "", giga(entry.paper_macs)]
            says = f"paper: {', '.join(filter(None, paper))}; " if any(paper) else ""
            clip = f"{entry.frames}x{entry.size}x{entry.size}"
            print(f"{name:22} {found / 1e6:8.3f} M  {entry.classes:3} classes  {clip:11}  {says}{entry.note}")
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


def giga(value: float | None) -> str:
    """A number of multiply-accumulates in G, as the papers print it; empty for None."""
    return "" if value is None else f"{value:.5g} G"
