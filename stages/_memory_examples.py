"""Examples of the stage ``memory``: where the window of the bank was looked at when a class was rightly told."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stages import _memory_training
from stages._memory import Variant
from stages._memory_training import Data

if TYPE_CHECKING:
    from models.heads.clip_memory import ClipMemory


def longest_window(variants: Mapping[str, Variant]) -> str | None:
    """The variant of attention with the longest window, the first of equals; None without one."""
    windows = {name: v.window_s for name, v in variants.items() if v.operator == "nl" and v.window_s is not None}
    return max(windows, key=lambda name: windows[name]) if windows else None


def looked(
    model: "ClipMemory", data: Data, name: str, variant: Variant, scores: np.ndarray, examples: int
) -> list[dict[str, object]]:
    """Attention of the clips that a class that counts is most surely and rightly said of, one of a video, class by class."""
    testing, found, used = data.testing, list[dict[str, object]](), set[int]()
    queues = {c: [n for n in np.argsort(-scores[:, c], kind="stable") if testing.labels[n, c]] for c in data.scored}
    while len(found) < examples and any(queues.values()):
        for c, queue in queues.items():
            n = next((n for n in queue if testing.video[n] not in used), None)
            queues[c] = [] if n is None else [m for m in queue if testing.video[m] not in used and m != n]
            if n is None or len(found) == examples:
                continue
            used.add(int(testing.video[n]))
            found.append(
                {
                    "variant": name, "video": testing.ids[testing.video[n]], "t": float(testing.t[n]),
                    "label": data.classes[c], "score": float(scores[n, c]),
                    "rows": _memory_training.attention(model, testing, data, variant, int(n)),
                }
            )  # fmt: skip
    return found
