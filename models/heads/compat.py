"""What ``compat`` changes in G-TAD: ``fixed`` (default) repairs what the released code (branch ``anet``) got wrong.

=====================  =============================================  ==============================================
part                   released                                       fixed
=====================  =============================================  ==============================================
SGAlign region of      [s - w, s + d + w], w = (d + 1) / 2: the end   [s - 1/2 - w, s + d + 1/2 + w]: in snippet
anchor (s, d)          s + d is one less than the label's s + d + 1   centres, exactly twice the label's segment
end probability of     index s + d + 1, the snippet after the end;    index s + d, the last snippet inside; a proposal
anchor (s, d)          none for an anchor that ends at L, so no       may end at the video's end
                       proposal reaches the video's end
boundary peaks         indices 1 .. L - 2, plus the first start and   every index (beyond the ends counts as lower),
                       the last end                                   plus the first start and the last end
losses of a batch      division by zero, NaN                          the missing class adds nothing (in both modes:
without positives                                                     nobody can use a NaN; :mod:`models.losses`)
=====================  =============================================  ==============================================

Two differences of the papers and codes turn out to be none: boundary labels from two-cell anchors [t - 1/2, t + 3/2]
(released) and from one-cell anchors [t, t + 1] are positive at the same t (:mod:`models.heads.targets`), and the
invalid anchors (s + d >= L), which the released code aligns at [0, 0], are masked wherever they could matter (here: 0).
"""

from typing import Literal, get_args

Compat = Literal["fixed", "released"]


def check_compat(compat: str) -> None:
    """Raise ValueError unless ``compat`` is one of the two."""
    if compat not in get_args(Compat):
        raise ValueError(f"compat is {compat!r}; allowed: {', '.join(get_args(Compat))}")
