"""``python -m pipeline cost MODEL``: a model's parameters and multiply-accumulates."""

import argparse
import json

from pipeline.commands.models import giga


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``cost``."""
    parser.add_argument("model", metavar="MODEL", help="a name of `python -m pipeline models`")
    parser.add_argument("--frames", type=_positive, metavar="T", help="of the clip; default: as published")
    parser.add_argument("--size", type=_positive, metavar="PX", help="its height and width; default: as published")
    parser.add_argument("--classes", type=_positive, metavar="K", help="default: as published")
    parser.add_argument("--json", action="store_true", help="print an object instead of lines")


def run(options: argparse.Namespace) -> int:
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
    print(f"  convolutions             {giga(found.conv_macs / 1e9):>12} multiply-accumulates, the papers' form")
    print(f"  with linear and products {giga(found.macs / 1e9):>12}")
    print(f"  as it runs here          {giga(found.executed_macs / 1e9):>12}")
    if (frames, size) == (entry.frames, entry.size) and (entry.paper_params or entry.paper_macs):
        params = f"{entry.paper_params:g} M" if entry.paper_params else "not printed"
        print(f"  the source prints {params}, {giga(entry.paper_macs) or 'no cost'} ({entry.note})")
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
