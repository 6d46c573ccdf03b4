"""The commands, ``python -m pipeline COMMAND``: those of ``COMMANDS`` below. Heavy imports happen inside the command."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline import extract, models_command, plan, weights_command
from pipeline.evaluation import command as evaluation_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run one command and exit with its status (0 done, 1 failed, 2 wrong arguments)."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description="From raw, untrimmed video to localised actions, in one graph."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (add_arguments, _) in COMMANDS.items():
        add_arguments(commands.add_parser(name, help=HELP[name], description=HELP[name]))
    options = parser.parse_args(arguments)
    try:
        status = COMMANDS[options.command][1](options)
    except (ValueError, OSError) as error:
        # Our own errors name file, field, value and what is allowed; a traceback would bury that.
        sys.exit(f"{options.command}: {error}")
    sys.exit(status)


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", metavar="NAME", help="a file data/datasets/NAME.yaml")
    parser.add_argument("--recipe", metavar="NAME", help="an overlay recipes/NAME.yaml over params.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a parameter")
    parser.add_argument("--target", metavar="STAGE", help="stop at this stage, such as features@lofi")
    parser.add_argument("--here", action="store_true", help="with overrides: edit params.yaml here, use no worktree")


def _run(options: argparse.Namespace) -> int:
    from pipeline.run.launch import Request, launch

    workspace: Literal["here", "auto"] = "here" if options.here else "auto"
    request = Request(options.dataset, options.recipe, tuple(options.set), options.target, workspace)
    return launch(Path.cwd(), request)


def _evaluate(options: argparse.Namespace) -> int:
    print(json.dumps(evaluation_command.run(options), indent=1))
    return 0


def _extract(options: argparse.Namespace) -> int:
    print(json.dumps(extract.run(options)))
    return 0


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", metavar="NAME", help="a file data/datasets/NAME.yaml (default: all of them)")
    parser.add_argument(
        "--annotations", type=Path, metavar="PATH", help="or: an annotation file or folder, with --format"
    )
    parser.add_argument(
        "--format", metavar="NAME", help="own, activitynet, hacs, thumos14, charades, ava, kinetics, ..."
    )
    parser.add_argument("--videos", type=Path, metavar="DIR", help="with --annotations: the folder with the videos")
    parser.add_argument("--class-map", type=Path, metavar="FILE", help="with --annotations: the classes' names")
    parser.add_argument("--split", type=int, default=1, metavar="N", help="ucf101, hmdb51: which of the three splits")
    parser.add_argument("--decode", action="store_true", help="decode every video instead of only opening it")


def _check(options: argparse.Namespace) -> int:
    from pipeline.datasets.command import run

    return run(options, Path.cwd())


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where predictions and pages are written"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="a folder data/checkpoints/heads/<encoder>; default: that of the last run's LoFi encoder",
    )


def _predict(options: argparse.Namespace) -> int:
    from pipeline.predict import predict
    from pipeline.run.process import wait_passively

    wait_passively()
    return predict(Path.cwd(), options.videos, options.out, options.checkpoint)


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as world or compressed-extraction; default: all")


def _bench(options: argparse.Namespace) -> int:
    from pipeline.bench import bench

    return bench(Path.cwd(), options.names)


def _clean_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def _clean(options: argparse.Namespace) -> int:
    from pipeline.run.clean import clean

    return clean(Path.cwd(), options.dry_run)


def _ui_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefect-port", type=int, default=4200, metavar="PORT", help="default 4200")
    parser.add_argument("--mlflow-port", type=int, default=5000, metavar="PORT", help="default 5000")


def _ui(options: argparse.Namespace) -> int:
    from pipeline.ui import ui

    return ui(Path.cwd(), options.prefect_port, options.mlflow_port)


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="two MLflow run ids, or their beginnings; none: list them"
    )


def _compare(options: argparse.Namespace) -> int:
    from pipeline.compare import compare

    return compare(Path.cwd(), options.runs)


def _lvu_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--annotations",
        required=True,
        metavar="PATH",
        help="LVU in either published form, a dataset.json, or 'simulated'",
    )
    add("--features", required=True, metavar="DIR", help="a folder with bank/, tracks/ and shots/, or 'simulated'")
    add("--task", action="append", metavar="NAME", help="may be given several times; default: all")
    add("--model", default="object_transformer", metavar="NAME", help="of models.long_form; default: %(default)s")
    add("--form", choices=("thesis", "released"), default="thesis", help="of tokens, heads and losses")
    add("--pretrain", choices=("none", "mask", "compatibility", "both"), default="mask", help="default: %(default)s")
    add("--teacher", type=Path, metavar="NPZ", help="weight [K, D] and bias [K] of the short-term model's classifier")
    add("--objects", action="store_true", help="objects are tokens too, not people alone")
    add("--scale", choices=("demo", "thesis"), default="demo", help="default: %(default)s")
    add("--seeds", type=int, default=1, metavar="N", help="trainings of each task; 5 in the thesis")
    add("--out", type=Path, default=Path("reports/lvu.json"), metavar="JSON", help="default: %(default)s")


def _lvu(options: argparse.Namespace) -> int:
    from pipeline.lvu import run
    from pipeline.run.process import wait_passively

    wait_passively()
    return run(options)


HELP = {
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
    "bench": "measure speed and write reports/bench/*.json",
    "lvu": "train and evaluate long-form models on the nine LVU tasks",
    "clean": "remove results from the work store that no current output uses",
}
COMMANDS = {
    "run": (_run_arguments, _run),
    "ui": (_ui_arguments, _ui),
    "predict": (_predict_arguments, _predict),
    "extract": (extract.add_arguments, _extract),
    "evaluate": (evaluation_command.add_arguments, _evaluate),
    "check": (_check_arguments, _check),
    "compare": (_compare_arguments, _compare),
    "models": (models_command.add_models_arguments, models_command.run_models),
    "cost": (models_command.add_cost_arguments, models_command.run_cost),
    "weights": (weights_command.add_arguments, weights_command.run),
    "plan": (plan.add_arguments, plan.run),
    "bench": (_bench_arguments, _bench),
    "lvu": (_lvu_arguments, _lvu),
    "clean": (_clean_arguments, _clean),
}
