"""Recognition head: one label per clip, for action classification pre-training (LoFi's ACP)."""

from torch import Tensor, nn


class RecognitionHead(nn.Module):
    """Dropout and a linear layer on pooled snippet features, as TSM trains on Kinetics (dropout 0.5)."""

    def __init__(self, feature_dim: int, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(feature_dim, classes)

    def forward(self, features: Tensor) -> Tensor:
        """``[..., feature_dim]`` (:func:`models.encoders.snippets.snippet_features`) to ``[..., classes]`` logits."""
        logits: Tensor = self.linear(self.dropout(features))
        return logits
