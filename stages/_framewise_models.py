"""The networks that label frames: how one is built, started from others, and asked."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import _encoder, _outputs
from stages._framewise_clips import Batch
from stages._framewise_networks import ENCODERS, POOLED, PRETRAINED, NetworkSection

if TYPE_CHECKING:
    from torch import Tensor, nn

_ACP = _outputs.ENCODERS.format(variant=PRETRAINED)


def table_entry(section: NetworkSection) -> str:
    """The network's entry in its table, for the code part of a work store key."""
    from models import coarse_fine, encoders

    table = coarse_fine.FRAME_NETWORKS if section.model in coarse_fine.FRAME_NETWORKS else encoders.ENCODERS
    return table[section.model]


def build(section: NetworkSection, classes: int) -> "nn.Module":
    """A fresh network; weights from torch's global generator."""
    from models.coarse_fine import build_frame_network
    from models.encoders import build_encoder
    from models.encoders.tsm import TSMResNet
    from models.frame_detector import FrameDetector
    from models.temporal.sgs import SGS
    from models.temporal.tsm_stages import StagedTSM

    if section.model not in ENCODERS:
        options: dict[str, Any] = {"base_width": section.base_width}
        if section.model in POOLED:
            options |= {"pooling": section.chosen_pooling, "alpha": section.alpha}
        if section.fusion is not None:
            options |= section.fusion.model_dump()
        return build_frame_network(section.model, classes=classes, **options)
    encoder: Any = build_encoder(section.model, base_width=section.base_width)
    if section.sgs is None:
        return FrameDetector(encoder, classes, section.window)
    encoder = StagedTSM(encoder) if isinstance(encoder, TSMResNet) else encoder
    values = section.sgs.model_dump(exclude={"stage"})
    channels = getattr(encoder, "stage_channels", {}).get(section.sgs.stage, 1)
    sgs = SGS(channels if isinstance(channels, int) else 1, **values)
    return FrameDetector(encoder, classes, section.window, sgs, section.sgs.stage)


def start(network: Any, section: NetworkSection, trained: Mapping[str, "nn.Module"], root: Path) -> Sequence[str]:
    """Give a fresh network the weights it starts from; messages on what stayed fresh.

    Args:
        network: of :func:`build`.
        section: its section.
        trained: the networks of the first training stage, by name.
        root: of the project.
    """
    from models.checkpoints import load_checkpoint
    from models.coarse_fine.checkpoint import load_stream
    from models.weights import load_weights

    messages = []
    for name in ("coarse", "fine"):
        if getattr(section, name):
            stream, ours = getattr(network, name), trained[getattr(section, name)].state_dict()
            fits = {key: value for key, value in ours.items() if stream.state_dict()[key].shape == value.shape}
            stream.load_state_dict(fits, strict=False)
            if fresh := sorted(set(ours) - set(fits)):
                messages.append(f"{name}: fresh weights in {', '.join(fresh)}")
    if not section.initial:
        return messages
    if section.initial == PRETRAINED:
        return [*messages, _start_pretrained(network, section, root)]
    path, encoder = root / section.initial, section.model in ENCODERS
    if path.suffix == ".safetensors":  # ours: an encoder's, or a network's of this stage
        own = load_weights(network.encoder if encoder else network, path)
        return [*messages, f"starting from {section.initial}; not used: {list(own.not_loaded)}"]
    found = load_checkpoint(network.encoder, path) if encoder else load_stream(network, path)
    said = f"starting from {section.initial} ({found.format}); not used: {list(found.not_loaded)}"
    return [*messages, said, *found.messages]


def is_pretrained(section: NetworkSection, root: Path) -> bool:
    """Whether the encoder that ``pretrain`` made is this network's, so that ``initial: acp`` has weights for it."""
    spec = _encoder.load_spec(root / _ACP)
    same = spec.name == section.model if section.model in ENCODERS else spec.name in ("x3d_xs", "x3d_s", "x3d_m")
    return same and spec.base_width == section.base_width and spec.copies == 1


def _start_pretrained(network: Any, section: NetworkSection, root: Path) -> str:
    found, spec = _encoder.load(root / _ACP)
    if not is_pretrained(section, root):
        return f"starting afresh: pretrain made {spec.name}, base_width {spec.base_width}, copies {spec.copies}"
    tensors, wanted = getattr(found, "tsm", found).state_dict(), network.encoder.state_dict()
    network.encoder.load_state_dict({key: tensors[key] for key in wanted})
    # A temporal module that pretrain put into the encoder has no place here.
    return f"starting from the encoder of pretrain; not used: {sorted(set(tensors) - set(wanted))}"


def prepare(network: Any, section: NetworkSection) -> Mapping[str, float]:
    """What is learned, and learning-rate factors by parameter-name prefix (section 4.1: 10 for the fresh fusion)."""
    from models.coarse_fine.two_stream import FUSION_RATE, second_stage

    if section.model in ("coarse_fine", "fine_fine"):
        factors = second_stage(network, section.fine_training)
        return factors if section.coarse else {}
    if section.model == "slowfast_det":
        network.fine.head.requires_grad_(False)
        network.fine.encoder.conv5.requires_grad_(False)
        return {"laterals.": FUSION_RATE} if section.coarse else {}
    return {}


def clip_of(batch: Batch, frames: int) -> "Tensor":
    """The clips, uint8 ``[N, 3, frames, H, W]``."""
    import torch

    at = batch.start.unsqueeze(1) + torch.arange(frames, device=batch.start.device)
    at = at.clamp(max=batch.video.shape[2] - 1)
    return torch.stack([video[:, rows] for video, rows in zip(batch.video, at, strict=True)])


def answer(network: Any, section: NetworkSection, batch: Batch, frames: int) -> tuple["Tensor", "Tensor | None"]:
    """Logits ``[N, K, frames]`` of a batch's clips, and the auxiliary loss where there is one (training only)."""
    from models.coarse_fine.auxiliary import flow_loss, frame_motion, reconstruction_loss
    from models.coarse_fine.windows import direct, fine_in_windows
    from models.encoders.ragged import padded
    from models.encoders.snippets import normalise_for
    from pipeline.training.replay import replayed

    encode: Any = partial(replayed, chunk=section.replay_chunk) if section.replay_chunk else direct
    clips = normalise_for(network, clip_of(batch, frames))
    if section.model in ENCODERS:
        return network(clips, encode), None
    full = bool((batch.clip_lengths == frames).all())
    layout = None if full else padded(batch.clip_lengths, frames)
    if section.model in ("coarse_fine", "fine_fine"):
        video = normalise_for(network, batch.video)
        fine = fine_in_windows(network, video, batch.lengths, section.window, encode)
        return network.coarse_logits(clips, fine, batch.start, layout), None
    if section.auxiliary == "none" or not network.training:
        return network(clips, layout), None
    before = network.before_pool(clips)  # frames past a clip's end are its last, as in all clips of an encoder
    at = network.pooled(before)
    loss = (
        reconstruction_loss(before, at) if section.auxiliary == "reconstruction" else flow_loss(frame_motion(clips), at)
    )
    return network.labels(at, frames, None), loss


def grid(network: Any, section: NetworkSection, batch: Batch) -> "Tensor | None":
    """Where Grid Pool takes frames of one whole clip, ``[J]`` in frames; None without Grid Pool."""
    from models.encoders.snippets import normalise_for

    if section.chosen_pooling != "grid_pool":
        return None
    stream = network if section.model == "coarse_only" else network.coarse
    centre: Tensor = stream.pooled(stream.before_pool(normalise_for(network, batch.video))).centre[0]
    return centre


def held(logits: "Tensor", lengths: "Tensor") -> "Tensor":
    """Logits ``[N, K, T]`` whose frames past a clip's end are its last real one: what interpolation to labels then meets."""
    import torch

    at = torch.arange(logits.shape[2], device=logits.device).clamp(max=(lengths - 1).unsqueeze(1))
    return logits.gather(2, at.unsqueeze(1).expand_as(logits))
