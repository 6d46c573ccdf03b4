"""An encoder with its family's classifier: one answer per clip (recognition) or per frame (frame-wise detection)."""

from torch import Tensor, nn

from models.encoders.ragged import Layout, mean_per_clip
from models.encoders.staged import StagedEncoder
from models.heads import build_head


class Recogniser(nn.Module):
    """Encoder, average over space (and time), classifier.

    Args:
        encoder: an entry of :data:`models.encoders.ENCODERS`.
        head: ``[..., feature_dim]`` to ``[..., classes]``.
        per_frame: average over space only and answer for each frame of the features.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, per_frame: bool = False) -> None:
        super().__init__()
        self.encoder, self.head, self.per_frame = encoder, head, per_frame

    def forward(self, pixels: Tensor) -> Tensor:
        """``[B, 3, T, H, W]``, normalised RGB, to logits ``[B, classes]``, or ``[B, classes, T']`` per frame."""
        features, layout = encode(self.encoder, pixels)
        if not self.per_frame:
            logits: Tensor = self.head(mean_per_clip(features, layout))
            return logits
        frames: Tensor = self.head(features.mean(dim=(3, 4)).transpose(1, 2))
        return frames.transpose(1, 2)


def encode(encoder: nn.Module, pixels: Tensor) -> tuple[Tensor, Layout | None]:
    """Features of any encoder and which of their frames are real (``None``: all)."""
    if isinstance(encoder, StagedEncoder):
        return encoder.encode(pixels)
    return encoder(pixels), None


def recogniser(encoder: nn.Module, classes: int, per_frame: bool = False, dropout: float = 0.5) -> Recogniser:
    """``encoder`` with the classifier its family has: X3D's own one, for all others dropout and a linear layer.

    The last layer is drawn with a standard deviation of 0.01, its bias is 0 (PySlowFast, all models).
    """
    kind = getattr(encoder, "classifier", "recognition")
    head = build_head(kind, feature_dim=encoder.feature_dim, classes=classes, dropout=dropout)
    nn.init.normal_(head.get_parameter("linear.weight"), std=0.01)
    nn.init.zeros_(head.get_parameter("linear.bias"))
    return Recogniser(encoder, head, per_frame)
