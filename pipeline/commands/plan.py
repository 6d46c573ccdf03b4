"""``python -m pipeline plan``: which end-to-end trainings fit a GPU and what they cost, before a frame is decoded. A door.

Nothing is computed and no GPU is needed.
"""

import argparse
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stages._planner import SHORT, make_planner

if TYPE_CHECKING:
    from pipeline.training.plan import Cost, Setting

UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
REDUCTION = 4.0
"""Of snippets x height x width in LoFi, the paper's."""
KINDS = ("s", "t", "st")


def parse_memory(text: str) -> int:
    """``24GiB`` to bytes.

    Raises:
        ValueError: no number with a unit.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text.strip())
    if not found or found[2] not in UNITS:
        raise ValueError(f"memory {text!r}: a number with one of the units {', '.join(UNITS)}, such as 24GiB")
    return int(float(found[1]) * UNITS[found[2]])


def settings(
    length: int, size: int, kinds: Iterable[str], batches: Iterable[int], chunks: Iterable[int]
) -> list[tuple[str, "Setting"]]:
    """All combinations: the fidelity's name (``full`` or of :data:`KINDS`) and the setting, direct training first."""
    from pipeline.training.grid import Grid, lofi_factors, lofi_grid
    from pipeline.training.plan import Setting

    full = Grid(1, length, size, size)
    found = []
    for kind in kinds:
        grid = full if kind == "full" else lofi_grid(kind, full, **lofi_factors(kind, REDUCTION))
        for batch in batches:
            for chunk in (None, *chunks):
                if chunk is None or chunk < batch * grid.T:
                    found.append((kind, Setting(grid.T, grid.H, grid.W, batch, chunk)))
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--gpu-memory", required=True, metavar="SIZE", help="of one GPU, such as 24GiB")
    parser.add_argument("--margin", type=float, default=0.1, metavar="SHARE", help="kept free; default 0.1")
    parser.add_argument("--encoder", default="tsm_r18", metavar="NAME", help=f"{', '.join(SHORT)}, or any of the table")
    parser.add_argument("--head", default="gtad", metavar="NAME", help="gtad or actionformer")
    parser.add_argument(
        "--lofi", nargs="+", default=["t", "s", "st", "full"], choices=[*KINDS, "full"], metavar="KIND",
        help="fidelities: s, t, st of LoFi, and full; default all",
    )  # fmt: skip
    parser.add_argument("--length", type=int, default=100, metavar="L", help="snippets at full fidelity; default 100")
    parser.add_argument("--size", type=int, default=224, metavar="PX", help="height and width at full fidelity")
    parser.add_argument("--frames", type=int, default=8, metavar="T", help="per snippet; default 8")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 8, 4, 2, 1], metavar="B", help="videos per step")
    parser.add_argument(
        "--chunk",
        type=int,
        nargs="+",
        default=[64, 16, 4],
        metavar="N",
        help="snippets encoded together by replay",
    )
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--optimizer", default="sgd", metavar="NAME", help="sgd, sgd_momentum, adam or adamw")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="whose operators' workspace counts")
    parser.add_argument("--lazy-inputs", action="store_true", help="replay cuts snippets when it needs them")
    parser.add_argument("--all", action="store_true", help="show what does not fit as well")
    parser.add_argument("--json", action="store_true", help="print JSON, bytes and counts, instead of the table")


def run(options: argparse.Namespace) -> int:
    """Print the plan.

    Raises:
        ValueError: an unknown name or a size that makes no sense.
    """
    memory = parse_memory(options.gpu_memory)
    if not 0 <= options.margin < 1:
        raise ValueError(f"margin is {options.margin}; it must be at least 0 and below 1")
    planner = make_planner(
        options.encoder, options.head, frames=options.frames, precision=options.precision,
        optimizer=options.optimizer, device=options.device, lazy_inputs=options.lazy_inputs,
    )  # fmt: skip
    asked = settings(options.length, options.size, options.lofi, options.batch, options.chunk)
    reference = planner.cost(settings(options.length, options.size, ["t"], [1], [])[0][1]).macs
    rows = []
    for kind, setting in asked:
        cost = planner.cost(setting)
        fits = cost.peak <= memory * (1 - options.margin)
        rows.append(_row(kind, setting, cost, fits, cost.macs / setting.batch / reference))
    shown = [row for row in rows if options.all or row["fits"]]
    if options.json:
        print(json.dumps({"memory": memory, "margin": options.margin, "settings": shown}, indent=1))
        return 0
    _table(shown, options, len(rows))
    return 0


def _row(kind: str, setting: "Setting", cost: "Cost", fits: bool, time: float) -> dict[str, Any]:
    return {
        "fidelity": kind, **vars(setting), "fits": fits, "peak": cost.peak, "static": cost.static, "inputs": cost.inputs,
        "work": cost.work, "phases": cost.phases, "macs": cost.macs, "time_per_video": round(time, 3),
    }  # fmt: skip


def _table(rows: list[dict[str, Any]], options: argparse.Namespace, asked: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{options.encoder} + {options.head}, {options.precision}, {options.optimizer}")
    for column in ("fidelity", "L x H x W", "batch", "chunk", "peak, GiB", "static", "inputs", "work", "TMACs", "time"):
        table.add_column(column, justify="right")
    for row in rows:
        shape = f"{row['length']} x {row['height']} x {row['width']}"
        sizes = [f"{row[key] / 2**30:.2f}" for key in ("peak", "static", "inputs", "work")]
        chunk = "direct" if row["chunk"] is None else str(row["chunk"])
        style = None if row["fits"] else "dim"
        cells = [row["fidelity"], shape, str(row["batch"]), chunk, *sizes]
        table.add_row(*cells, f"{row['macs'] / 1e12:.2f}", f"{row['time_per_video']:.2f}", style=style)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    console.print(
        f"{len([row for row in rows if row['fits']])} of {asked} settings need at most {options.gpu_memory} less a margin "
        f"of {options.margin:.0%} (CUDA context, cuDNN's workspace, fragmentation). chunk: snippets that gradient replay "
        "encodes together. time: per video, by multiply-accumulates, direct T-LoFi = 1."
    )
