"""The self-supervised losses of appendix A.2."""

import pytest
import torch
from torch import Tensor

from models.coarse_fine import build_frame_network
from models.coarse_fine.auxiliary import flow_loss, frame_motion, reconstruction_loss
from models.coarse_fine.stream import Pooled
from models.temporal.grid_pool import sample_frames


def pooled(x: Tensor, grid: list[float]) -> Pooled:
    where = torch.tensor([grid])
    return Pooled(sample_frames(x, where * (x.shape[2] - 1)), None, where * (x.shape[2] - 1), where)


def test_reconstruction_is_exact_where_features_are_linear_between_the_grid() -> None:
    time = torch.tensor([0.0, 3, 6, 6.5, 7, 7.5, 8, 8.5, 9])  # bends at frame 2, a quarter of the clip
    x = time.view(1, 1, 9, 1, 1).expand(1, 2, 9, 3, 3)
    assert reconstruction_loss(x, pooled(x, [0, 0.25, 1])) < 1e-6
    assert reconstruction_loss(x, pooled(x, [0, 0.5, 1])) > 0.1


def test_flow_is_least_with_borders_where_most_moves() -> None:
    motion = torch.tensor([[0.1, 0.1, 5, 0.1, 0.1, 0.1, 0.1, 0.1]])
    x = torch.zeros(1, 1, 9, 1, 1)
    losses = {border: float(flow_loss(motion, pooled(x, [0, border / 8, 1]))) for border in (1.5, 2.5, 3.5, 5.5)}
    assert min(losses, key=losses.__getitem__) == 2.5
    still = flow_loss(torch.zeros(1, 8), pooled(x, [0, 0.5, 1]))
    assert still == 0


def test_gradients_reach_the_grid_pool_head() -> None:
    torch.manual_seed(0)
    stream = build_frame_network("coarse_only", classes=3, base_width=8)
    pixels = torch.randn(2, 3, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    for loss in ("flow", "reconstruction"):
        stream.zero_grad()
        before = stream.before_pool(pixels)
        at = stream.pooled(before)
        (flow_loss(frame_motion(pixels), at) if loss == "flow" else reconstruction_loss(before, at)).backward()
        gradient = stream.pool.last.weight.grad
        assert gradient is not None and gradient.isfinite().all() and gradient.any()


def test_without_grid_pool_there_is_nothing_to_constrain() -> None:
    at = Pooled(torch.zeros(1, 1, 2, 1, 1), None, torch.zeros(1, 2), None)
    with pytest.raises(ValueError, match="no Grid Pool"):
        reconstruction_loss(torch.zeros(1, 1, 4, 1, 1), at)


def test_frame_motion() -> None:
    pixels = torch.tensor([0.0, 1, 1, 4]).view(1, 1, 4, 1, 1).expand(1, 3, 4, 2, 2)
    assert frame_motion(pixels).tolist() == [[1, 0, 3]]
