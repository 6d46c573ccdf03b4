"""Tables 7 and 8 of the LoFi paper on the demo's world: ``python -m pipeline bench lofi-table-7`` and ``lofi-table-8``."""

from pathlib import Path
from typing import Any

from pipeline.bench.table_rows import Row, command, run_rows, told
from pipeline.run.launch import Request, check, launch

AT_25 = "features.snippets=25"
TABLES: dict[str, dict[str, Row]] = {
    "lofi-table-7": {
        "ACP": Row((AT_25,), "acp", 31.02),
        "end to end": Row((AT_25, "lofi.strategy=full"), "lofi", 32.21),
    },
    "lofi-table-8": {
        "ACP": Row((), "acp", 33.59),
        "Arrow": Row(("pretrain.tasks=[arrow_of_time]",), "acp", 28.82),
        "Speed": Row(("pretrain.tasks=[playback_speed]",), "acp", 29.39),
        "ACP+Arrow": Row(("pretrain.tasks=[classification,arrow_of_time]",), "acp", 33.72),
        "ACP+Speed": Row(("pretrain.tasks=[classification,playback_speed]",), "acp", 33.75),
        "LoFi-E2E": Row((), "lofi", 34.43),
    },
}
REAL_CLIPS = Request("weizmann", None, ("pretrain.tasks=[arrow_of_time]", "pretrain.training.steps=600"), "pretrain")
"""The arrow of time on real people: half of the world's classes are others played backwards, which leaves little to tell."""


def table_7() -> dict[str, Any]:
    """ACP against end to end at the low L only (section 4.7); the head is trained anew on either's frozen features."""
    return run_rows(TABLES["lofi-table-7"])


def table_8() -> dict[str, Any]:
    """Self-supervised pre-training against ACP and LoFi, alone and beside ACP's features (section 4.8).

    What the arrow of time tells on real clips is added, where they are at hand.
    """
    table, root = run_rows(TABLES["lofi-table-8"]), Path.cwd()
    workspace = check(root, REAL_CLIPS).workspace
    if launch(root, REAL_CLIPS) == 0:
        return table | {"real_clips": {"command": command(REAL_CLIPS), "pretext": told(workspace)}}
    return table | {"real_clips": {"not_measured": command(REAL_CLIPS)}}
