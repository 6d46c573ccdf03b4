"""``python -m pipeline weights``: look into a file of weights, and turn it into another format."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

OURS = "safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a public checkpoint, or one of ours")
    parser.add_argument("--model", metavar="MODEL", help="what it is loaded into; ours know it themselves")
    parser.add_argument("--classes", type=int, metavar="K", help="of the model; default: as published")
    parser.add_argument("--to", metavar="FORMAT", help=f"write it as this: {OURS} or the name of a public format")
    parser.add_argument("--out", type=Path, metavar="PATH", help="where to")


def run(options: argparse.Namespace) -> int:
    """Load the file, say what was and was not loaded, and write it in another format if asked to.

    Raises:
        ValueError: the file is unreadable or does not fit the model, or the options do not fit each other.
    """
    from models.catalogue import MODELS, build_model
    from models.checkpoints import FORMATS, load_checkpoint, save_checkpoint
    from models.weights import save_weights
    from pipeline.run.files import write_bytes

    if (options.to is None) != (options.out is None):
        raise ValueError("--to and --out go together")
    if options.to not in (None, OURS, *FORMATS):
        raise ValueError(f"--to is {options.to!r}; allowed: {', '.join((OURS, *FORMATS))}")
    data = options.file.read_bytes()
    if data[8:9] == b"{":
        model, metadata = _ours(data, options.file)
        print(f"{options.file}: ours, {', '.join(f'{key} {value}' for key, value in metadata.items())}")
    else:
        if options.model not in MODELS:
            raise ValueError(f"--model is {options.model!r}; allowed: {', '.join(sorted(MODELS))}")
        classes = options.classes or MODELS[options.model].classes
        model, metadata = build_model(options.model, classes), {"model": options.model, "classes": classes}
        loaded = load_checkpoint(model, options.file)
        count = len(model.state_dict()) - len(loaded.fresh)
        print(f"{options.file}: {FORMATS[loaded.format].title}, {count} tensors loaded into {options.model}")
        for message in loaded.messages:
            print(f"  {message}")
        for key in loaded.not_loaded:
            print(f"  not loaded: {key}")
    if options.to is not None:
        content = save_weights(model, metadata) if options.to == OURS else save_checkpoint(model, options.to)
        write_bytes(options.out, content)
        print(f"written: {options.out} ({options.to})")
    return 0


def _ours(data: bytes, path: Path) -> tuple["nn.Module", dict[str, object]]:
    """A model from a file that this command or a stage wrote: its metadata say what to build."""
    import json

    from models.catalogue import build_model
    from models.encoders import build_encoder
    from models.weights import METADATA_KEY, load_weights

    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        # A stage's encoder has the parameters it was built from beside its weights.
        if "model" in metadata:
            model = build_model(metadata["model"], metadata["classes"])
        else:
            model = build_encoder(metadata["name"], base_width=metadata["base_width"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say which model it is of: {error}") from error
    load_weights(model, data)
    return model, metadata
