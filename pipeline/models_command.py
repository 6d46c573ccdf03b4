"""``python -m pipeline models`` and ``python -m pipeline cost``: which models there are and what they cost."""

import argparse
import json


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``models``."""
    parser.add_argument("--json", action="store_true", help="one object per model, by name")


def run_models(options: argparse.Namespace) -> int:
    """Print a line per model: parameters, the clip it is published with, what its paper prints and where."""
    from models.catalogue import MODELS, meta_model
    from models.costs import parameters

    rows = {}
    for name, entry in MODELS.items():
        found = parameters(meta_model(name)[0])
        printed = {key: value for key, value in entry._asdict().items() if key != "build"}
        rows[name] = {"params": found, **printed}
        if not options.json:
            paper = [f"{entry.paper_params:g} M" if entry.paper_params else "", _giga(entry.paper_macs)]
            says = f"paper: {', '.join(filter(None, paper))}; " if any(paper) else ""
            clip = f"{entry.frames}x{entry.size}x{entry.size}"
            print(f"{name:22} {found / 1e6:8.3f} M  {entry.classes:3} classes  {clip:11}  {says}{entry.note}")
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


def add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``cost``."""
    parser.add_argument("model", metavar="MODEL", help="a name of `python -m pipeline models`")
    parser.add_argument("--frames", type=_positive, metavar="T", help="of the clip; default: as published")
    parser.add_argument("--size", type=_positive, metavar="PX", help="its height and width; default: as published")
    parser.add_argument("--classes", type=_positive, metavar="K", help="default: as published")
    parser.add_argument("--json", action="store_true", help="print an object instead of lines")


def run_cost(options: argparse.Namespace) -> int:
    """Print parameters and multiply-accumulates of one forward pass of one clip.

    Raises:
        ValueError: unknown model; the message lists the allowed ones.
    """
    from models.catalogue import MODELS, meta_model
    from models.costs import cost

    model, clip = meta_model(options.model, options.classes, options.frames, options.size)
    found = cost(model, clip)
    entry = MODELS[options.model]
    frames, size = clip.shape[2:4]
    classes = options.classes or entry.classes
    if options.json:
        print(
            json.dumps({"model": options.model, "frames": frames, "size": size, "classes": classes, **found._asdict()})
        )
        return 0
    print(f"{options.model}, {frames} frames of {size}x{size}, {classes} classes")
    print(f"  parameters               {found.params / 1e6:10.4f} M")
    print(f"  convolutions             {_giga(found.conv_macs / 1e9):>12} multiply-accumulates, the papers' form")
    print(f"  with linear and products {_giga(found.macs / 1e9):>12}")
    print(f"  as it runs here          {_giga(found.executed_macs / 1e9):>12}")
    if (frames, size) == (entry.frames, entry.size) and (entry.paper_params or entry.paper_macs):
        params = f"{entry.paper_params:g} M" if entry.paper_params else "not printed"
        print(f"  the source prints {params}, {_giga(entry.paper_macs) or 'no cost'} ({entry.note})")
    return 0


def _giga(value: float | None) -> str:
    return "" if value is None else f"{value:.5g} G"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
