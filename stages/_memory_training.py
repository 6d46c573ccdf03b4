"""Training and scoring of one model of the stage ``memory``: 3D CNN features with or without a long-term feature bank."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.datasets.bank_windows import BankIndex
from pipeline.datasets.schema import SUBSETS, Dataset, Video
from pipeline.run.params import Section
from pipeline.run.stage import Context, StageError
from stages import _memory, _training
from stages._bank_index import bank_paths, index_kinds
from stages._memory import Clips, Variant, Window

if TYPE_CHECKING:
    import torch

    from models.heads.clip_memory import ClipMemory

_STATISTICS = 512
"""Training clips whose windows give mean and deviation of the bank's channels."""


class Network(Section):
    """The head; defaults are the thesis' (section 7.1.4), see ``models.heads.feature_bank``."""

    layers: int = Field(2, ge=1, le=3, description="blocks of nl and sto")
    hidden: int = Field(512, ge=1, description="channels of nl and sto")
    activation: Literal["pre", "post"] = "pre"
    scale: bool = True
    layer_norm: Literal["affine", "plain", "none"] = "affine"
    attention_dropout: float = Field(0.2, ge=0, lt=1, description="in nl and sto")
    dropout: float = Field(0.3, ge=0, lt=1, description="before the classifier")
    fresh: Literal["released", "glorot"] = Field("released", description="weights of nl and sto before training")
    padding: Literal["masked", "released"] = Field("masked", description="released: empty rows count as zeros")


class Data(NamedTuple):
    """Clips of the three subsets, the index of all their banks, their classes, and the numbers of those that count.

    ``exclusive``: a clip is of one class (softmax); otherwise any number of them may be on (sigmoids).
    """

    training: Clips
    validation: Clips
    testing: Clips
    banks: BankIndex
    window: Window
    classes: tuple[str, ...]
    scored: tuple[int, ...]
    exclusive: bool = False

    def counted(self, subset: str) -> NDArray[np.bool_]:
        """Which clips of a subset have a class that counts, [N]."""
        labels: NDArray[np.bool_] = getattr(self, subset).labels[:, list(self.scored)]
        return np.asarray(labels.any(axis=1))


def data_of(
    root: Path,
    dataset: Dataset,
    window: Window,
    clips: Callable[[Sequence[Video], str], Clips],
    classes: Sequence[str],
    counted: Sequence[str],
    exclusive: bool = False,
) -> Data:
    """All subsets of a data set; ``clips``: those of a subset's videos, of its name.

    Raises:
        StageError: no video has a bank.
    """
    subsets = {name: dataset.subset(name) for name in SUBSETS[1:]}
    paths = bank_paths(root, [video for videos in subsets.values() for video in videos])
    if not paths:
        raise StageError(f"data set {dataset.name}: no video of {', '.join(subsets)} has a bank")
    training, validation, testing = (clips(videos, name) for name, videos in subsets.items())
    index = index_kinds(paths, window.kinds, window.min_score)
    scored = tuple(list(classes).index(name) for name in counted)
    return Data(training, validation, testing, index, window, tuple(classes), scored, exclusive)


def build(data: Data, network: Network, variant: Variant) -> "ClipMemory":
    """A fresh model; weights from torch's global generator."""
    from models.heads.clip_memory import ClipMemory
    from models.heads.feature_bank import FeatureBankHead

    short_dim = data.training.short.rows.shape[1]
    bank_dim = data.training.own.rows.shape[1] if variant.operator == "sto" else data.banks.dim
    options = network.model_dump(exclude={"dropout", "padding", "fresh"}) if variant.operator in ("nl", "sto") else {}
    head = FeatureBankHead(
        short_dim, bank_dim, len(data.classes), variant.operator, network.dropout, network.padding, **options
    )
    model = ClipMemory(head, short_dim, bank_dim)
    if network.fresh == "glorot":
        model.fresh_by_glorot()
    return model


def fit(
    context: Context, data: Data, network: Network, variant: Variant, options: _training.Optimisation, name: str,
    counted_steps: int = 0,
) -> "ClipMemory":  # fmt: skip
    """Train one model on the training clips; the weights that rank the validation clips best are kept, if there are any.

    The first ``counted_steps`` steps draw only clips of the classes that count.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    from pipeline.training.device import device
    from pipeline.training.sampler import step_rng, take

    _training.prepare(options)
    model = build(data, network, variant)
    some = np.random.default_rng(0).permutation(len(data.training))[:_STATISTICS]
    _, _, rows, valid = _memory.batch(data.training, some, data.banks, data.window, variant)
    model.fit_standardisation(torch.from_numpy(data.training.short.rows), rows[valid])
    labels = torch.from_numpy(data.training.labels.astype(np.float32))
    model.fit_prior(labels)
    model.to(device()).train()

    everything, counted = np.arange(len(data.training)), np.flatnonzero(data.counted("training"))

    def batches(step: int) -> Any:
        pool = counted if step < counted_steps else everything
        chosen = pool[take(options.seed, step * options.batch, options.batch, len(pool))]
        rng = step_rng(options.seed, step)
        return *_memory.batch(data.training, chosen, data.banks, data.window, variant, rng), labels[chosen]

    def loss(model: Any, given: Any, _generator: "torch.Generator") -> dict[str, "torch.Tensor"]:
        logits, wanted = model(*given[:4]), given[4]
        if data.exclusive:
            return {"total": cross_entropy(logits, wanted)}
        return {"total": binary_cross_entropy_with_logits(logits, wanted)}

    metric = "top1" if data.exclusive else "mAP"

    def measured(model: Any) -> dict[str, float]:
        scores = score(model, data.validation, data, variant)
        if data.exclusive:
            return {metric: float((scores.argmax(axis=1) == data.validation.labels.argmax(axis=1)).mean())}
        return {metric: mean_ap(scores, data.validation, data.scored)}

    held_out = bool(data.counted("validation").any())
    result = _training.fit(
        context, options, model, loss, batches, name=name,
        validate=measured if held_out else None, metric=metric if held_out else "",
    )  # fmt: skip
    model.load_state_dict(result.best_state)
    return model.eval()


def score(model: "ClipMemory", clips: Clips, data: Data, variant: Variant, size: int = 64) -> NDArray[np.float32]:
    """Probabilities [N, C] of all clips; nothing is random."""
    import torch

    from pipeline.training.device import to_device

    where = next(model.parameters()).device
    parts = [np.zeros((0, len(data.classes)), np.float32)]
    with torch.no_grad():
        for start in range(0, len(clips), size):
            chosen = np.arange(start, min(start + size, len(clips)))
            given = to_device(_memory.batch(clips, chosen, data.banks, data.window, variant), where)
            logits = model(*given)
            parts.append((logits.softmax(dim=1) if data.exclusive else logits.sigmoid()).cpu().numpy())
    return np.concatenate(parts)


def mean_ap(scores: NDArray[np.floating], clips: Clips, classes: Sequence[int]) -> float:
    """Mean AP over the classes that occur (Charades' rule for a class: the mean precision at its rows)."""
    from pipeline.evaluation.multilabel import average_precision

    positive = [c for c in classes if clips.labels[:, c].any()]
    return float(np.mean([average_precision(scores[:, c].astype(np.float64), clips.labels[:, c]) for c in positive]))


def covered(clips: Clips, data: Data, variant: Variant) -> float:
    """Share of the clips whose window, or own rows for STO, holds anything."""
    each = (_memory.batch(clips, np.array([n]), data.banks, data.window, variant) for n in range(len(clips)))
    return float(np.mean([given[3].any().item() for given in each]))
