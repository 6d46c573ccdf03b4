"""SGAlign in its two forms: time, memory, and that they agree."""

from typing import Any

import torch

from models.heads.sgalign import SGAlign
from pipeline.bench.timing import median_seconds
from pipeline.training.device import set_threads
from pipeline.training.memory import TracedMemory, measured_peak


def sgalign() -> dict[str, Any]:
    """SGAlign with its 1x1 convolution, plain against fused: forward and backward, L = 100, one video, one thread."""
    set_threads(1)
    rows: dict[str, Any] = {}
    modules = {form: SGAlign(256, 512, 32, 4, "fixed", form) for form in ("plain", "fused")}
    modules["plain"].load_state_dict(modules["fused"].state_dict())
    features = torch.randn(2, 1, 256, 100, requires_grad=True)
    gradient = torch.randn(1, 5050, 512)

    def step(form: str) -> None:
        modules[form].zero_grad(set_to_none=True)
        features.grad = None
        modules[form](features[0], features[1], 100).backward(gradient)

    for form in ("fused", "plain"):
        step(form)
        peak = measured_peak(lambda form=form: step(form), torch.device("cpu"))  # type: ignore[misc]
        with torch.no_grad(), TracedMemory() as traced:
            modules[form](features[0], features[1], 100)
        rows[form] = {
            "cpu_s": round(median_seconds(lambda form=form: step(form), 3), 4),  # type: ignore[misc]
            "peak_MiB": round(peak / 2**20, 1),
            "largest_tensor_MiB": round(traced.largest / 2**20, 2),
        }
    # As published, anchors that end outside the video are aligned as well: [256, 100 x 100, 36].
    rows["published_tensor_MiB"] = round(256 * 100 * 100 * 36 * 4 / 2**20, 1)
    rows["speed_up"] = round(rows["plain"]["cpu_s"] / rows["fused"]["cpu_s"], 1)
    rows["peak_ratio"] = round(rows["plain"]["peak_MiB"] / rows["fused"]["peak_MiB"], 1)
    rows["largest_tensor_ratio"] = round(rows["published_tensor_MiB"] / rows["fused"]["largest_tensor_MiB"], 1)
    with torch.no_grad():
        plain, fused = (modules[form](features[0], features[1], 100) for form in ("plain", "fused"))
        rows["relative_difference"] = float((plain - fused).norm() / plain.norm())
    return rows
