"""A temporal module put into any encoder that has stages, by names."""

from typing import Any

from torch import nn

from models.encoders.staged import StagedEncoder
from models.encoders.tsm import TSMResNet
from models.temporal import build_temporal
from models.temporal.tsm_stages import StagedTSM


def plugged(encoder: nn.Module, name: str, after: str, **options: Any) -> StagedEncoder:
    """``encoder`` with the temporal module ``name`` behind the stage ``after``; its weights and modules are shared.

    Args:
        encoder: an entry of :data:`models.encoders.ENCODERS`; a TSM comes back run by stages.
        name: of :data:`models.temporal.TEMPORAL`; its weights are drawn from torch's global generator.
        after: stage, such as ``res3``.
        **options: of the module.

    Raises:
        ValueError: an encoder without stages, an unknown name, stage or option, or a module for another number of pathways.
    """
    staged = StagedTSM(encoder) if isinstance(encoder, TSMResNet) else encoder
    if not isinstance(staged, StagedEncoder):
        raise ValueError(f"temporal module {name!r}: {type(encoder).__name__} has no stages that it could stand behind")
    if after not in staged.stage_names:
        raise ValueError(f"temporal module {name!r}: no stage {after!r}; allowed: {', '.join(staged.stage_names)}")
    channels = staged.stage_channels[after]
    if isinstance(channels, tuple) != (name == "slowfast_sgs"):
        many, one = "slowfast_sgs is for encoders of two pathways", f"{type(encoder).__name__} has two pathways"
        raise ValueError(f"temporal module {name!r}: {many if name == 'slowfast_sgs' else f'{one}: slowfast_sgs'}")
    staged.plug(after, build_temporal(name, channels=channels, **options))
    return staged
