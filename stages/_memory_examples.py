"""Examples of the stage ``memory``: where the window of the bank was looked at when a class was rightly told."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stages import _memory
from stages._memory import Clips, Variant
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
                    "rows": attention(model, testing, data, variant, int(n)),
                }
            )  # fmt: skip
    return found


def attention(model: "ClipMemory", clips: Clips, data: Data, variant: Variant, clip: int) -> list[tuple[float, float]]:
    """Time in seconds and share of each row of one clip's window, in the order of time."""
    import torch

    from pipeline.datasets.bank_windows import WindowRule, read_window
    from pipeline.training.device import to_device

    assert variant.window_s is not None
    chosen = np.array([clip])
    given = _memory.batch(clips, chosen, data.banks, data.window, variant)
    rule = WindowRule(variant.window_s, data.window.per_second, data.window.mode)
    found = read_window(data.banks, clips.ids[clips.video[clip]], float(clips.seen_s[clip]), rule)
    with torch.no_grad():
        shares = model.attention(*to_device(given, next(model.parameters()).device))[0].cpu().tolist()
    return list(zip(found.t[found.valid].tolist(), shares, strict=False))
