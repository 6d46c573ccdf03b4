"""Grid schedules and LoFi's configurations (LoFi paper, section 3.2)."""

import math

import pytest

from pipeline.training.grid import (
    LOFI_KINDS,
    Grid,
    check_equal_budget,
    constant,
    cycle,
    lofi_factors,
    lofi_grid,
    lofi_schedule,
)

FULL = Grid(B=16, T=100, H=224, W=224)
FACTORS = {"s": {"r_s": 2.0}, "t": {"r_t": 4.0}, "st": {"r_t": 2.0, "r_s": math.sqrt(2)}}


def test_the_papers_configurations() -> None:
    grids = {kind: lofi_grid(kind, FULL, **FACTORS[kind]) for kind in LOFI_KINDS}
    assert grids == {"s": Grid(16, 100, 112, 112), "t": Grid(16, 25, 224, 224), "st": Grid(16, 50, 158, 158)}
    assert [grids[kind].pixels for kind in LOFI_KINDS] == [1_254_400, 1_254_400, 1_248_200]
    check_equal_budget(list(grids.values()))
    assert grids["t"].pixels * 4 == FULL.pixels


def test_unequal_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="do not share one budget"):
        check_equal_budget([lofi_grid("s", FULL, r_s=2), lofi_grid("t", FULL, r_t=2)])
    with pytest.raises(ValueError, match="do not share one budget"):
        check_equal_budget([Grid(16, 25, 224, 224), Grid(8, 25, 224, 224)])
    # 157 instead of 158 pixels is already 1.8 % off.
    with pytest.raises(ValueError, match="do not share one budget"):
        check_equal_budget([Grid(16, 25, 224, 224), Grid(16, 50, 157, 157)])


@pytest.mark.parametrize(
    ("kind", "factors", "message"),
    [
        ("x", {}, "allowed: s, t, st"),
        ("t", {}, "r_t is 1.0"),
        ("s", {"r_s": 0.5}, "r_s is 0.5"),
        ("t", {"r_t": 4, "r_s": 2}, "t-LoFi keeps this axis"),
        ("st", {"r_t": 2}, "r_s is 1.0"),
    ],
)
def test_wrong_factors(kind: str, factors: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lofi_grid(kind, FULL, **factors)


def test_grid_sizes_are_positive_integers() -> None:
    with pytest.raises(ValueError, match=r"Grid\.H is 0"):
        Grid(1, 8, 0, 64)
    with pytest.raises(ValueError, match=r"Grid\.T is 2\.5"):
        Grid(1, 2.5, 64, 64)  # type: ignore[arg-type]


def test_the_papers_factors_from_one_reduction() -> None:
    for kind in LOFI_KINDS:
        expected = {"r_t": 1.0, "r_s": 1.0} | FACTORS[kind]
        assert lofi_factors(kind, 4) == pytest.approx(expected)
    # Table 6: 25 snippets of 112 x 112 px on one GPU.
    assert lofi_grid("st", FULL, **lofi_factors("st", 16)) == Grid(16, 25, 112, 112)
    for reduction in (1, 0.5):
        with pytest.raises(ValueError, match=f"reduction is {reduction}"):
            lofi_factors("t", reduction)


def test_cycles() -> None:
    """Short: another configuration after c_s batches. Long: at the beginning of an epoch, after c_l of them."""
    short, grids = lofi_schedule("cyclic_short", FULL, 4, epoch_steps=100, c_s=16)
    assert [grid.T for grid in grids] == [100, 25, 50]
    assert [short(step).T for step in (0, 15, 16, 31, 32, 47, 48)] == [100, 100, 25, 25, 50, 50, 100]
    long, grids = lofi_schedule("cyclic_long", FULL, 4, epoch_steps=100, c_l=2)
    assert [long(step).T for step in (0, 199, 200, 399, 400, 599, 600)] == [100, 100, 25, 25, 50, 50, 100]
    assert {long(step) for step in range(0, 600, 50)} == set(grids)
    check_equal_budget(grids)
    single, grids = lofi_schedule("st", FULL, 4, epoch_steps=100)
    assert single(0) == single(10**6) == grids[0] == Grid(16, 50, 158, 158)
    with pytest.raises(ValueError, match="allowed: s, t, st, cyclic_short, cyclic_long"):
        lofi_schedule("cyclic", FULL, 4, epoch_steps=1)
    with pytest.raises(ValueError, match="at least one shape and one step"):
        cycle(grids, 0)


def test_constant() -> None:
    assert constant(FULL)(0) == constant(FULL)(10**6) == FULL
