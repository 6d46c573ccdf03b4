"""Multigrid's plan against the thesis' rules and the figures of the released code (chapter 6)."""

import itertools
import math

import numpy as np
import pytest

from pipeline.training.grid import Grid
from pipeline.training.multigrid import LONG_CYCLE, SHORT_CYCLE, Multigrid, multigrid, short_side, strides
from pipeline.training.sampler import take

KINETICS = Grid(64, 32, 224, 224)
STAGES = (94, 60, 42, 43)


def kinetics(**options: object) -> Multigrid:
    return multigrid(KINETICS, 239_975, STAGES, **options)  # type: ignore[arg-type]


def ends(plan: Multigrid) -> list[float]:
    """Epochs seen at the end of each phase."""
    return [plan.clips_before(phase.first + phase.steps) / plan.videos for phase in plan.phases]


def test_kinetics_is_the_released_schedule() -> None:
    plan = kinetics()
    released = [73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329]
    assert [round(end) for end in ends(plan)[:12]] == released
    assert ends(plan)[12:] == pytest.approx([343.5, 358.5], abs=0.5)  # the release halves between whole epochs
    assert plan.epochs == pytest.approx(1.5 * 239, abs=0.1)
    assert plan.baseline_steps / plan.steps == pytest.approx(3.4, abs=0.05)  # "3.4x fewer iterations"
    rates = [8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01, 0.01, 0.001]
    assert [phase.lr for phase in plan.phases] == pytest.approx(rates)
    assert [phase.base for phase in plan.phases[:4]] == [
        Grid(512, 8, 158, 158),
        Grid(256, 16, 158, 158),
        Grid(128, 16, 224, 224),
        KINETICS,
    ]
    assert [phase.sub_batches for phase in kinetics(devices=8).phases[:4]] == [8, 4, 2, 1]


def test_every_shape_gets_equally_many_steps() -> None:
    for options in ({}, {"short_cycle": ()}, {"long_cycle": LONG_CYCLE[1:]}):
        plan = kinetics(**options)
        shapes = len(options.get("long_cycle", LONG_CYCLE))
        for stage in range(3):
            steps = [phase.steps for phase in plan.phases[stage * shapes : (stage + 1) * shapes]]
            assert max(steps) - min(steps) <= 1


def test_short_cycle_and_its_orders() -> None:
    plan = kinetics()
    assert [plan.grid(step) for step in range(4)] == [
        Grid(512, 8, 158, 158),
        Grid(512, 8, 158, 158),
        Grid(1024, 8, 112, 112),
        Grid(512, 8, 158, 158),
    ]
    last = plan.phases[-1].first
    thesis = [plan.grid(last + i) for i in range(3)]
    assert thesis == [KINETICS, Grid(128, 32, 158, 158), Grid(256, 32, 112, 112)]
    released = kinetics(order="released")
    assert [released.grid(last + i) for i in range(3)] == thesis[::-1]
    assert released.steps == plan.steps


def test_batches_keep_the_cost() -> None:
    plan = kinetics()
    for phase in plan.phases:
        for grid in phase.shapes:
            assert grid.B * grid.pixels == pytest.approx(KINETICS.B * KINETICS.pixels, rel=0.01)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("short", [(), SHORT_CYCLE, (0.5,)])
def test_any_choice_of_shapes(count: int, short: tuple[float, ...]) -> None:
    """The release fails with the long cycle alone, and gives a shape zero epochs in short trainings."""
    for chosen in itertools.combinations(LONG_CYCLE, count):
        plan = multigrid(Grid(4, 8, 64, 64), 400, (6, 3, 3), long_cycle=chosen, short_cycle=short)
        assert len(plan.phases) == 2 * count + 2
        assert all(phase.steps > 0 for phase in plan.phases)
        assert plan.epochs == pytest.approx(18, rel=0.05)
        assert {plan.grid(step).T for step in range(plan.steps)} == {round(8 * t) for t, _ in chosen} | {8}


def test_ssv2_leaves_no_shape_without_a_step() -> None:
    plan = multigrid(Grid(16, 64, 224, 224), 168_913, (14, 4, 4))
    assert [round(end) for end in ends(plan)] == [11, 16, 21, 24, 27, 28, 30, 30, 32, 33]
    assert min(phase.steps for phase in plan.phases) > 100


def test_too_short_a_training_is_refused() -> None:
    with pytest.raises(ValueError, match="no step left"):
        multigrid(Grid(8, 8, 64, 64), 10, (2, 1))


def test_warm_up_rises_to_the_enlarged_rate() -> None:
    plan = kinetics(warmup_epochs=34, warmup_start=0.1)  # of a base rate of 0.1
    assert plan.lr(0) == 0.1
    assert plan.clips_before(plan.warmup_steps) / plan.videos == pytest.approx(34, abs=0.01)
    assert 0.1 * plan.lr(round(plan.warmup_steps * 20 / 34)) == pytest.approx(0.47471, abs=1e-3)
    assert plan.lr(plan.warmup_steps) == 8
    assert plan.lr(plan.steps - 1) == pytest.approx(0.001)


def test_cosine_and_no_fine_tuning() -> None:
    plan = kinetics(decay="cosine", fine_tune=False)
    assert len(plan.phases) == 16
    for step in (0, plan.steps // 3, plan.steps - 1):
        cosine = (1 + math.cos(math.pi * step / plan.steps)) / 2
        assert plan.lr(step) == pytest.approx(plan.phase(step).base.B / 64 * cosine)
    assert plan.epochs == pytest.approx(1.5 * 239, abs=0.1)


def test_clips_before_counts_every_step() -> None:
    plan = multigrid(Grid(4, 8, 64, 64), 50, (6, 3, 3))
    total = 0
    for step in range(plan.steps):
        assert plan.clips_before(step) == total
        total += plan.grid(step).B
    assert plan.clips_before(plan.steps) == total
    with pytest.raises(ValueError, match=f"steps 0..{plan.steps - 1}"):
        plan.grid(plan.steps)


def test_every_video_is_seen_equally_often() -> None:
    plan = multigrid(Grid(4, 8, 64, 64), 50, (6, 3, 3))
    seen = np.concatenate([take(0, plan.clips_before(s), plan.grid(s).B, 50) for s in range(plan.steps)])
    counts = np.bincount(seen, minlength=50)
    assert counts.max() - counts.min() <= 1


def test_sub_batches_divide_every_batch() -> None:
    for batch, devices in itertools.product((1, 2, 3, 5, 8, 12, 25, 64), (1, 2, 4)):
        if batch % devices == 0:
            plan = multigrid(Grid(batch, 8, 64, 64), 10_000, (6, 3), devices=devices)
            for phase in plan.phases:
                shares = [grid.B // devices for grid in phase.shapes]
                assert all(share % phase.sub_batches == 0 for share in shares)
                smallest = min(shares) // phase.sub_batches
                assert smallest >= 8 or phase.sub_batches == 1


def test_table_prints_every_phase() -> None:
    text = kinetics().table()
    assert len(text.splitlines()) == 1 + 14 + 1
    assert "512x8x158x158, 512x8x158x158, 1024x8x112x112" in text
    assert "1/3.4" in text.splitlines()[-1]


def test_spans_and_strides() -> None:
    assert short_side(256, 340, 112, 224) == (128, 340)
    assert strides(2, 8, 32) == (2, 8)
    assert strides(2, 32, 32) == (2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": "linear"}, "allowed: steps, cosine"),
        ({"order": "random"}, "allowed: thesis, released"),
        ({"long_cycle": ()}, "at least one pair"),
        ({"long_cycle": LONG_CYCLE[::-1]}, "from small to large"),
        ({"short_cycle": (2.0,)}, "at most 1"),
        ({"devices": 7}, "cannot be shared by 7 devices"),
    ],
)
def test_bad_values_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kinetics(**options)
    with pytest.raises(ValueError, match="several learning-rate stages"):
        multigrid(KINETICS, 100, (5,))
