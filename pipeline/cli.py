"""The commands, ``python -m pipeline COMMAND``: a file of ``pipeline/commands`` each, imported when it is asked for."""

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": "run the graph, or what of it is out of date",
    "ui": "start the pages of Prefect and MLflow; runs are started from a form there",
    "predict": "localise actions in your own videos",
    "extract": "write what a video file itself holds: compressed",
    "evaluate": "score a predictions file against a ground truth",
    "check": "list every defect of a data set, with file and line",
    "compare": "print what two runs had different and what it did",
    "models": "list the models",
    "cost": "count a model's parameters and multiply-accumulates",
    "weights": "look into a file of weights, turn it into another format",
    "plan": "which trainings fit a GPU's memory and what they cost, before a frame is decoded",
    "lvu": "train and evaluate long-form models on the nine LVU tasks",
    "bench": "measure speed and write reports/bench/*.json",
    "clean": "remove results from the work store that no current output uses",
}
"""Name of the module, which has ``add_arguments(parser)`` and ``run(options)``, to what the command does."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run one command and exit with its status (0 done, 1 failed, 2 wrong arguments)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description="From raw, untrimmed video to localised actions, in one graph."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, says in COMMANDS.items():
        command = commands.add_parser(name, help=says, description=says)
        if name == asked:  # the others' libraries need not be there, nor be waited for
            importlib.import_module(f"pipeline.commands.{name}").add_arguments(command)
    options = parser.parse_args(words)
    try:
        status = importlib.import_module(f"pipeline.commands.{options.command}").run(options)
    except (ValueError, OSError) as error:
        # Our own errors name file, field, value and what is allowed; a traceback would bury that.
        sys.exit(f"{options.command}: {error}")
    sys.exit(status)
