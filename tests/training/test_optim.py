"""Optimiser factories and learning-rate schedules, against torch's own schedulers."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from pipeline.training.optim import clip_gradients, lr_schedule, make_optimizer, set_lr


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


def torch_factors(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def test_schedules_equal_torchs() -> None:
    steps = 50
    for ours, theirs in [
        (lr_schedule("step", steps, every=7, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 7, 0.5)),
        (
            lr_schedule("step", steps, milestones=[11, 30, 31], gamma=0.1),
            lambda o: lr_scheduler.MultiStepLR(o, [11, 30, 31], 0.1),
        ),
        (lr_schedule("cosine", steps, final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, steps, 0.1)),
        (
            lr_schedule("one_cycle", steps, final=1 / 25 / 1e4),
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps, cycle_momentum=False),
        ),
    ]:
        expected = torch_factors(theirs, steps)
        assert [ours(step) for step in range(steps)] == pytest.approx(expected, abs=1e-9)


def test_warmup_ramps_up_to_the_schedule() -> None:
    plain, warm = lr_schedule("cosine", 20), lr_schedule("cosine", 20, warmup=4)
    assert [warm(s) / plain(s) for s in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    cycle = lr_schedule("one_cycle", 20, warmup=5)
    assert max(range(20), key=cycle) == 4 and cycle(4) == 1 and cycle(0) == pytest.approx(1 / 25) and cycle(19) == 0
    for length in (1, 2, 3):  # the shortest ones neither divide by zero nor leave 0..1
        for name in ("constant", "step", "cosine", "one_cycle"):
            assert all(0 <= lr_schedule(name, length, every=1)(s) <= 1 for s in range(length))


def test_schedule_errors() -> None:
    with pytest.raises(ValueError, match="allowed: constant, step, cosine, one_cycle"):
        lr_schedule("linear", 10)
    with pytest.raises(ValueError, match="every is 0"):
        lr_schedule("step", 10)
    with pytest.raises(ValueError, match="every is 3 and milestones are"):
        lr_schedule("step", 10, every=3, milestones=[4])
    with pytest.raises(ValueError, match="that rise"):
        lr_schedule("step", 10, milestones=[3, 2])
    with pytest.raises(ValueError, match="warmup 11"):
        lr_schedule("cosine", 10, warmup=11)


def test_groups_multipliers_and_decay() -> None:
    model = Model()
    model.encoder[0].bias.requires_grad_(False)
    optimizer = make_optimizer(
        model,
        "sgd",
        0.1,
        weight_decay=1e-4,
        multipliers={"encoder.": 0.1, "encoder.1.": 0.5},
        decay_norm_bias=False,
    )
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: found.get(id(p)) for name, p in model.named_parameters()}
    assert by_name == {
        "encoder.0.weight": pytest.approx((0.01, 1e-4)),
        "encoder.0.bias": None,
        "encoder.1.weight": pytest.approx((0.05, 0.0)),
        "encoder.1.bias": pytest.approx((0.05, 0.0)),
        "head.weight": pytest.approx((0.1, 1e-4)),
        "head.bias": pytest.approx((0.1, 0.0)),
    }
    set_lr(optimizer, 0.5)
    set_lr(optimizer, 0.5)  # a factor on the base rate, not on the last one
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.005, 0.025, 0.05])


def test_optimizer_kinds_and_errors() -> None:
    kinds = {name: type(make_optimizer(Model(), name, 0.1)) for name in ("sgd", "adam", "adamw")}
    assert kinds == {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    with pytest.raises(ValueError, match="allowed: sgd, adam, adamw"):
        make_optimizer(Model(), "lion", 0.1)
    with pytest.raises(ValueError, match=r"\['encodr'\] match no trainable parameter"):
        make_optimizer(Model(), "sgd", 0.1, multipliers={"encodr": 0.1})
    with pytest.raises(ValueError, match="no trainable parameter"):
        make_optimizer(Model().requires_grad_(False), "sgd", 0.1)


def test_clipping() -> None:
    a, b, unused = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients([a, b, unused], None) == 5 and float(a.grad) == 3
    assert clip_gradients([a, b, unused], 1.0) == 5
    assert torch.cat([a.grad, b.grad]).norm() == pytest.approx(1.0, abs=1e-5)
