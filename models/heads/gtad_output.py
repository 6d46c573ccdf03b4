"""What G-TAD gives out: a file of its own, because targets, losses and proposals speak of it and the network of them."""

from typing import NamedTuple

from torch import Tensor


class GTADOutput(NamedTuple):
    """What G-TAD says about a batch of videos; probabilities in float32.

    ``start`` and ``end`` ``[B, L]``: of an action's boundary at snippet t. ``maps`` ``[B, 2, D, L]``: at (d, s) for the
    segment [s, s + d + 1] / L, channel 0 the predicted IoU (regression), channel 1 the probability of a high IoU
    (classification); 0 where s + d >= L.
    """

    start: Tensor
    end: Tensor
    maps: Tensor
