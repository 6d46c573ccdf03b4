"""Localisation with the long-term feature bank beside the same head without, on the demo's world.

``python -m pipeline bench bank-localisation`` runs ``recipes/bank_tal_world.yaml``, with and without its ``context``.
"""

from typing import Any

from pipeline.bench.table_rows import Row, run_rows

RECIPE = "bank_tal_world"
ROWS = {
    "plain": Row(("head.context=null", "head.beside=videos"), "lofi", recipe=RECIPE),
    "NL' 60 s, centred": Row((), "lofi", recipe=RECIPE),
    "NL' 60 s, causal": Row(("head.context.mode=causal",), "lofi", recipe=RECIPE),
}


def bank_localisation() -> dict[str, Any]:
    """Average mAP of each row, and the paired difference from the plain head."""
    return run_rows(ROWS)
