"""Object Transformer: persons and objects of a minute of video, related by attention (thesis, section 8.2).

A token is one box at one second (eq. 8.1): ``y = W_feat z + W_spatial s + E_temporal[t] + E_instance[u] + E_shot[c_u] + b``,
then, as in BERT, which the thesis follows, LayerNorm and dropout, and a post-norm encoder. Two forms:

* ``thesis``: as eq. 8.1 says, with one table each for time and shot, four corners, and a learned [CLS] vector whose output
  is the video's.
* ``released``: as the public code does: time and shot each by three tables (from the span's start, end and centre), corners
  and area, a first and a last token with zero features and rows of their own in every table, and a tanh layer on the first
  token's output. 26.36 M parameters with its pre-training heads.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Form = Literal["thesis", "released"]
Part = Literal["spatial", "time", "shot", "instance"]

POSITIONS = 258
"""Rows of every table in the released code; its ids 2 and 3 are the first and the last token, others begin at 4."""

_FIRST, _LAST, _OFFSET = 2, 3, 4
_STD = 0.02  # BERT's


class Tokens(NamedTuple):
    """A batch of spans, padded; see ``pipeline.datasets.spans`` for what each array means.

    ``feature`` [B, N, D]; ``source`` [B, N] int64; ``box`` [B, N, 5]; ``time`` and ``shot`` [B, N, 3] int64; ``instance``
    [B, N] int64; ``valid`` [B, N] bool. A source with fewer channels than D uses the first ones.
    """

    feature: Tensor
    source: Tensor
    box: Tensor
    time: Tensor
    shot: Tensor
    instance: Tensor
    valid: Tensor


class Encoded(NamedTuple):
    """``video`` [B, width], the span as a whole; ``tokens`` [B, N, width]."""

    video: Tensor
    tokens: Tensor


class TokenEmbedding(nn.Module):
    """Eq. 8.1; see :class:`ObjectTransformer` for the options."""

    def __init__(
        self, feature_dims: Sequence[int], width: int, dropout: float, form: Form, uses: Sequence[Part], positions: int
    ) -> None:
        super().__init__()
        self.form, self.uses, self.feature_dims = form, tuple(uses), tuple(feature_dims)
        released = form == "released"
        tables = 3 if released else 1
        self.feature = nn.ModuleList(nn.Linear(dim, width, bias=released) for dim in feature_dims)
        self.hidden = nn.ParameterList(nn.Parameter(torch.zeros(dim)) for dim in feature_dims)
        if "spatial" in uses:
            self.spatial = nn.Linear(5 if released else 4, width, bias=released)
        for name in ("time", "shot"):
            if name in uses:
                setattr(self, name, nn.ModuleList(nn.Embedding(positions, width) for _ in range(tables)))
        if "instance" in uses:
            self.instance = nn.Embedding(positions, width)
        if not released:
            self.bias = nn.Parameter(torch.zeros(width))
            self.cls = nn.Parameter(torch.randn(width) * _STD)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tokens, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """The sequence ``[B, S + N, width]`` and which of it is padding; S special tokens come first."""
        if self.form == "thesis":
            y = self._sum(tokens, hidden) + self.bias
            special = self.cls.expand(len(y), 1, -1)
        else:
            whole = self._with_ends(tokens)
            hidden = None if hidden is None else F.pad(hidden, (2, 0))
            y = self._sum(whole, hidden)
            special = y[:, :0]
        y = self.dropout(self.norm(torch.cat([special, y], dim=1)))
        padding = F.pad(~tokens.valid, (y.shape[1] - tokens.valid.shape[1], 0))
        return y, padding

    def _sum(self, tokens: Tokens, hidden: Tensor | None) -> Tensor:
        y = torch.zeros((), device=tokens.feature.device)
        for number, (linear, vector) in enumerate(zip(self.feature, self.hidden, strict=True)):
            z = tokens.feature[..., : self.feature_dims[number]]
            if hidden is not None:
                z = torch.where(hidden[..., None], vector.to(z.dtype), z)
            y = y + linear(z) * (tokens.source == number)[..., None]
        if "spatial" in self.uses:
            y = y + self.spatial(tokens.box[..., : self.spatial.in_features])
        for name in ("time", "shot"):
            if name in self.uses:
                for i, table in enumerate(getattr(self, name)):  # one table: from the start
                    y = y + _look_up(table, getattr(tokens, name)[..., i])
        if "instance" in self.uses:
            y = y + _look_up(self.instance, tokens.instance)
        return y

    def _with_ends(self, tokens: Tokens) -> Tokens:
        """Released: the first and the last token before all others, and every index as a row of its table."""
        centre = POSITIONS // 2
        shift = torch.tensor([_OFFSET, _OFFSET, _OFFSET + centre], device=tokens.time.device)
        ends = torch.tensor([_FIRST, _LAST], device=tokens.time.device)

        def extend(values: Tensor, first: Tensor) -> Tensor:
            return torch.cat([first.to(values).expand(len(values), *first.shape), values], dim=1)

        three = ends[:, None].expand(2, 3)
        return Tokens(
            F.pad(tokens.feature, (0, 0, 2, 0)),
            F.pad(tokens.source, (2, 0)),
            F.pad(tokens.box, (0, 0, 2, 0)),
            extend((tokens.time + shift).clamp(min=_OFFSET), three),
            extend((tokens.shot + shift).clamp(min=_OFFSET), three),
            extend(tokens.instance + _OFFSET, ends),
            F.pad(tokens.valid, (2, 0), value=True),
        )


class ObjectTransformer(nn.Module):
    """The encoder.

    Args:
        feature_dims: channels of z for each source: people, then objects; (2304,) is the thesis' people only.
        width: 768.
        layers: 3.
        heads: 12.
        inner: of the feed-forward layers, 3072.
        dropout: 0.1, as BERT.
        form: "thesis" or "released", see above.
        uses: which terms of eq. 8.1 stand beside the feature; ("time",) makes a frame-token model.
        positions: rows of each table; an index beyond takes the last row.
    """

    def __init__(
        self,
        feature_dims: Sequence[int] = (2304,),
        width: int = 768,
        layers: int = 3,
        heads: int = 12,
        inner: int = 3072,
        dropout: float = 0.1,
        form: Form = "thesis",
        uses: Sequence[Part] = ("spatial", "time", "shot", "instance"),
        positions: int = POSITIONS,
    ) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise ValueError(f"form is {form!r}; allowed: {', '.join(get_args(Form))}")
        if wrong := sorted(set(uses) - set(get_args(Part))):
            raise ValueError(f"uses names {', '.join(wrong)}; allowed: {', '.join(get_args(Part))}")
        if not feature_dims or min(feature_dims) < 1:
            raise ValueError(f"feature_dims is {tuple(feature_dims)}; needed: the channels of each source")
        if width % heads:
            raise ValueError(f"width is {width}, which {heads} heads do not divide")
        self.width = width
        self.embedding = TokenEmbedding(feature_dims, width, dropout, form, uses, positions)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, inner, dropout, "gelu", batch_first=True) for _ in range(layers)
        )
        self.pooler = nn.Linear(width, width) if form == "released" else None
        self.apply(_initialise)

    def forward(self, tokens: Tokens, hidden: Tensor | None = None) -> Encoded:
        """Encode.

        Args:
            tokens: N may be anything; padding changes nothing.
            hidden: ``[B, N]`` bool, tokens whose feature is replaced by the learned mask (section 8.2.2); where and when
                they are stays known. None for none, as in every evaluation.
        """
        x, padding = self.embedding(tokens, hidden)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        video = x[:, 0] if self.pooler is None else torch.tanh(self.pooler(x[:, 0]))
        return Encoded(video, x[:, x.shape[1] - tokens.valid.shape[1] :])

    @torch.no_grad()
    def attention(self, tokens: Tokens, hidden: Tensor | None = None, of: Tensor | None = None) -> Tensor:
        """Where an output looks: the last layer's attention from one token of each span, mean over heads, ``[B, N]``.

        Shares of padding are 0; the rest of 1 went to the special tokens. For reports, in evaluation mode.

        Args:
            tokens: as in :meth:`forward`.
            hidden: likewise.
            of: ``[B]`` int64, the token of each span that looks; None: the first one of the sequence, whose output is the
                span's.
        """
        x, padding = self.embedding(tokens, hidden)
        for layer in self.layers[:-1]:
            x = layer(x, src_key_padding_mask=padding)
        special = x.shape[1] - tokens.valid.shape[1]
        row = torch.zeros(len(x), dtype=torch.int64, device=x.device) if of is None else of + special
        last = self.layers[-1]
        assert isinstance(last, nn.TransformerEncoderLayer)
        looks = x[torch.arange(len(x), device=x.device), row][:, None]
        _, shares = last.self_attn(looks, x, x, key_padding_mask=padding, need_weights=True)
        found: Tensor = shares[:, 0, special:]
        return found


def frame_tokens(tokens: Tokens) -> Tokens:
    """One token per second, the mean of its boxes' features: what a frame-centric model sees (VideoBERT, vision only).

    Every frame is an instance of its own, so that masking instances masks frames. Several sources become one of the first's
    channels.
    """
    seconds = int(tokens.time[..., 0].max()) + 1 if tokens.valid.any() else 1
    of = F.one_hot(tokens.time[..., 0].clamp(min=0), seconds).to(tokens.feature) * tokens.valid[..., None]
    count = of.sum(dim=1)
    share = of / count.clamp(min=1)[:, None]
    frame = torch.arange(seconds, device=tokens.time.device).expand(len(count), -1)
    valid = count > 0
    last = torch.where(valid, frame, 0).amax(dim=1, keepdim=True)
    zeros = torch.zeros_like(frame)
    time = torch.stack([frame, (last - frame).clamp(min=0), frame - last // 2], dim=-1)
    box = tokens.box.new_tensor([0, 0, 1, 1, 1]).expand(*frame.shape, 5)
    feature = share.transpose(1, 2) @ tokens.feature
    return Tokens(feature, zeros, box, time, torch.zeros_like(time), frame, valid)


def _look_up(table: nn.Embedding, index: Tensor) -> Tensor:
    rows: Tensor = table(index.clamp(0, table.num_embeddings - 1))
    return rows


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_STD)
    if isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
