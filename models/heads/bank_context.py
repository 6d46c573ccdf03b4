"""Localisation with long-term context: snippets and proposals in the light of a feature bank (thesis, section 7.1.3).

The thesis classifies [S; FBO(S, L)], the short-term feature beside what a feature bank operator finds in a window of the
bank around it. In front of a localiser the two are joined as a sum, ``S + W FBO(S, L)``, of standardised features: the first
convolution of G-TAD is grouped, and channels that stand side by side would not meet there. W starts at zero and counts for
nothing where a window has no row, so a fresh model, and a trained one without a bank, is exactly the localiser alone.
"""

from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from models.heads.feature_bank import NonLocalOperator, PoolOperator
from models.heads.segment_classifier import SegmentClassifier
from models.heads.standardise import Standardise, StandardisedLocaliser


class BankWindows(NamedTuple):
    """Windows of banks for N queries, of which several may share one.

    ``rows`` [W, M, D'], anything where not filled; ``valid`` [W, M] bool; ``of`` [N] int64, the window of each query.
    """

    rows: Tensor
    valid: Tensor
    of: Tensor


class BankContext(nn.Module):
    """``S + W FBO(S, L)`` of standardised short-term features, each with its own window.

    Args:
        feature_dim: D, of the short-term features and of the output.
        bank_dim: D', of the rows of the bank.
        operator: "nl" (NL'), "avg" or "max".
        layers: of nl, 1 to 3.
        hidden: channels of nl.
        dropout: in nl.

    Raises:
        ValueError: an operator or a number of layers that there is not.
    """

    def __init__(
        self,
        feature_dim: int,
        bank_dim: int,
        operator: Literal["nl", "avg", "max"] = "nl",
        layers: int = 2,
        hidden: int = 512,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.standardise = Standardise(bank_dim)
        self.operator: NonLocalOperator | PoolOperator = (
            NonLocalOperator(feature_dim, bank_dim, layers, hidden, dropout=dropout)
            if operator == "nl"
            else PoolOperator(bank_dim, operator)
        )
        self.project = nn.Linear(self.operator.out_dim, feature_dim)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: Tensor, windows: BankWindows) -> Tensor:
        """``[N, D]`` to the same; a feature whose window has no valid row stays as it is."""
        if not len(features):
            return features
        rows, valid, of = windows
        # The features of a window side by side, so that each window is reduced once: its number, and the place in it.
        rank = F.one_hot(of, len(rows)).cumsum(dim=0) - 1
        place = rank.gather(1, of[:, None])[:, 0]
        queries = features.new_zeros(len(rows), int(place.max()) + 1, features.shape[1])
        queries[of, place] = features
        standard = self.standardise(rows.to(features.dtype).transpose(1, 2)).transpose(1, 2)
        found = self.project(self.operator(queries, standard, valid)) * valid.any(dim=1)[:, None, None]
        joined: Tensor = features + found[of, place]
        return joined


class BankLocaliser(nn.Module):
    """A localiser whose snippets are joined with their context; both are trained as one."""

    def __init__(self, localiser: StandardisedLocaliser, context: BankContext) -> None:
        super().__init__()
        self.localiser, self.context = localiser, context

    def forward(self, features: Tensor, windows: BankWindows) -> Any:
        """What the head gives for features ``[B, F, L]``; ``windows`` of B x L queries, video by video."""
        standard = self.localiser.standardise(features).transpose(1, 2)
        joined = self.context(standard.flatten(0, 1), windows).unflatten(0, standard.shape[:2])
        return self.localiser.head(joined.transpose(1, 2))


class BankSegmentClassifier(nn.Module):
    """The class of a segment from the features pooled over it and their context: one query a segment."""

    def __init__(self, classifier: SegmentClassifier, context: BankContext) -> None:
        super().__init__()
        self.classifier, self.context = classifier, context

    def classify(self, pooled: Tensor, windows: BankWindows) -> Tensor:
        """``[n, F]`` pooled features and the windows of n queries to ``[n, classes]`` logits."""
        standard = (pooled - self.classifier.mean) / self.classifier.std
        logits: Tensor = self.classifier.linear(self.context(standard, windows))
        return logits
