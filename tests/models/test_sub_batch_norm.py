"""Batch normalisation over parts of a batch (thesis, section 6.1.2)."""

import pytest
import torch
from torch import nn

from models.sub_batch_norm import SubBatchNorm3d, set_parts, with_sub_batches


def batch() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 3, 2, 4, 4, generator=generator) + torch.randn(12, 3, 1, 1, 1, generator=generator)


def pair(parts: int) -> tuple[nn.BatchNorm3d, SubBatchNorm3d]:
    plain, ours = nn.BatchNorm3d(3), SubBatchNorm3d(3)
    for norm in (plain, ours):
        nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
        nn.init.uniform_(norm.bias, generator=torch.Generator().manual_seed(2))
    ours.parts = parts
    return plain, ours


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_each_part_is_normalised_on_its_own(parts: int) -> None:
    plain, ours = pair(parts)
    x, y = batch().requires_grad_(), batch().requires_grad_()
    found = ours(x)
    expected = torch.empty_like(found)
    for part in range(parts):
        expected[part::parts] = plain(y[part::parts])
    torch.testing.assert_close(found, expected)
    found.pow(3).sum().backward()
    expected.pow(3).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_running_statistics_are_the_whole_batchs(parts: int) -> None:
    plain, ours = pair(parts)
    for _ in range(3):
        plain(batch()), ours(batch())
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(ours.get_buffer(name), plain.get_buffer(name))
    plain.eval(), ours.eval()
    torch.testing.assert_close(ours(batch()), plain(batch()))
    plain.load_state_dict(ours.state_dict())


def test_conversion_in_place_and_setting() -> None:
    net = nn.Sequential(nn.Conv3d(3, 3, 1), nn.BatchNorm3d(3))
    keys = list(net.state_dict())
    parameter = net[1].weight
    with pytest.raises(ValueError, match="with_sub_batches"):
        set_parts(net, 2)
    assert with_sub_batches(net) is net and list(net.state_dict()) == keys and net[1].weight is parameter
    set_parts(net, 5)
    with pytest.raises(ValueError, match="5 parts do not divide a batch of 12"):
        net(batch())
    set_parts(net, 4)
    assert net(batch()).shape == batch().shape
    with pytest.raises(ValueError, match="0 parts"):
        set_parts(net, 0)
