"""Actions of a clip from its short-term features and a long-term feature bank: frame labels without boxes of their own.

Where a set tells when an action happens and not who does it, the boxes of an instant are classified one by one and the
highest answer counts, as in multiple-instance learning; with one feature of the whole picture there is one answer.
"""

import torch
from torch import Tensor, nn

from models.heads.feature_bank import FeatureBankHead, NonLocalOperator
from models.heads.standardise import Standardise


class ClipMemory(nn.Module):
    """Standardised features, a :class:`FeatureBankHead`, and the maximum over a clip's features.

    Args:
        head: of any operator.
        short_dim: D of the short-term features.
        bank_dim: D' of the rows of the bank.
    """

    def __init__(self, head: FeatureBankHead, short_dim: int, bank_dim: int) -> None:
        super().__init__()
        self.head = head
        self.standardise_short, self.standardise_bank = Standardise(short_dim), Standardise(bank_dim)

    def fit_standardisation(self, short: Tensor, bank: Tensor) -> None:
        """Take the statistics of training features ``[N, D]`` and rows ``[M, D']``; without any, it stays the identity."""
        for layer, rows in ((self.standardise_short, short), (self.standardise_bank, bank)):
            if len(rows):
                layer.fit(rows.float().T[None])

    def fit_prior(self, labels: Tensor) -> None:
        """Let a fresh model say how often each class is on in ``labels`` ``[N, classes]``; most are rare.

        From even chances a training would learn the rates first, by whatever features are largest.
        """
        rate = (labels.float().sum(dim=0) + 1) / (len(labels) + 2)
        with torch.no_grad():
            self.head.classifier.bias.copy_(rate.logit())

    def fresh_by_glorot(self) -> None:
        """Fresh weights of the operator's linears by Glorot and Bengio (2010), in place of the released ones.

        The released ones (deviation 0.01, blocks that start as no change) look at every row alike, and a training of a few
        hundred steps ends before one stands out.
        """
        for layer in self.head.operator.modules() if self.head.operator is not None else ():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, short: Tensor, present: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """Logits ``[B, classes]``.

        Args:
            short: ``[B, Q, D]``.
            present: ``[B, Q]`` bool, which are filled; a clip without any is seen as one average feature.
            bank: ``[B, M, D']``; NaN is allowed where it is not filled.
            valid: ``[B, M]`` bool.
        """
        short, present, bank = self._prepared(short, present, bank)
        logits: Tensor = self.head(short, bank, valid)
        return logits.masked_fill(~present[..., None], torch.finfo(logits.dtype).min).amax(dim=1)

    @torch.no_grad()
    def attention(self, short: Tensor, present: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """Shares ``[B, M]`` of the rows, the mean over the features that are present; in evaluation mode.

        Raises:
            ValueError: the head's operator has no attention.
        """
        operator = self.head.operator
        if not isinstance(operator, NonLocalOperator):
            raise ValueError("only the operators nl and sto have attention")
        short, present, bank = self._prepared(short, present, bank)
        shares = operator.attention(short, bank, valid) * present[..., None]
        found: Tensor = shares.sum(dim=1) / present.sum(dim=1, keepdim=True)
        return found

    def _prepared(self, short: Tensor, present: Tensor, bank: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        short, bank = (
            layer(values.float().transpose(1, 2)).transpose(1, 2)
            for layer, values in ((self.standardise_short, short), (self.standardise_bank, bank))
        )
        first = torch.arange(present.shape[1], device=present.device) == 0
        return torch.where(present[..., None], short, 0.0), present | (first & ~present.any(dim=1, keepdim=True)), bank
