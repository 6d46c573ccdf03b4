"""The memory planner of an encoder and a localiser: brings the models to :mod:`pipeline.training.plan`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.training.plan import Planner

SHORT = {"tsm_r18": "tsm_resnet18", "tsm_r50": "tsm_resnet50"}
"""Short names of encoders; any name of :data:`models.encoders.ENCODERS` is taken as well."""


def make_planner(
    encoder: str,
    head: str,
    *,
    frames: int = 8,
    options: dict[str, Any] | None = None,
    head_options: dict[str, Any] | None = None,
    **planning: Any,
) -> "Planner":
    """A planner of an encoder and a localiser by their names.

    Args:
        encoder: of :data:`SHORT` or :data:`models.encoders.ENCODERS`.
        head: of :data:`models.heads.LOCALISERS`.
        frames: T, per snippet.
        options: of the encoder.
        head_options: of the head.
        planning: further arguments of :class:`pipeline.training.plan.Planner`.

    Raises:
        ValueError: unknown name or option.
    """
    import torch
    from torch import Tensor, nn

    from models.encoders import build_encoder
    from models.encoders.snippets import snippet_features
    from models.heads import LOCALISERS, build_head
    from models.norm import train_mode
    from pipeline.training.plan import Planner

    if head not in LOCALISERS:
        raise ValueError(f"unknown head {head!r}; allowed: {', '.join(LOCALISERS)}")
    name = SHORT.get(encoder, encoder)

    def build() -> nn.Module:
        module = build_encoder(name, **(options or {}))
        train_mode(module, "frozen")
        return module

    with torch.device("meta"):
        width = int(build().feature_dim)  # type: ignore[arg-type]

    def loss(module: nn.Module, features: Tensor, labels: Any) -> Tensor:
        total: Tensor = module.loss(module(features), labels, torch.Generator().manual_seed(0)).total  # type: ignore[operator]
        return total

    return Planner(
        build,
        lambda: build_head(head, feature_dim=width, **(head_options or {})),
        snippet_features,
        loss,
        lambda module, batch, length: module.labels([torch.tensor([[0.1, 0.4], [0.5, 0.9]])] * batch, length),  # type: ignore[operator]
        frames=frames,
        **planning,
    )
