"""The recipes at the papers' scale: what they say stands in them, and LoFi's pixel budgets are the paper's."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.definition import AnnotatedDefinition, load_definition
from pipeline.run import launch
from pipeline.run.params import check_params, read_params
from pipeline.run.stage import section_models
from pipeline.training.grid import Grid, check_equal_budget, lofi_schedule
from pipeline.training.plan import Planner, Setting
from stages._planner import make_planner

ROOT = Path(__file__).resolve().parent.parent
LOFI = ("activitynet", "hacs", "thumos14")
PAPER_PIXELS = 25 * 224 * 224
"""Snippets x height x width of T-LoFi, per frame of a snippet (section 4.3)."""
TRAINING_VIDEOS = {"activitynet": 10_024, "hacs": 37_613, "thumos14": 200}


@cache
def sections(name: str) -> dict[str, Any]:
    merged = launch.merge(read_params(ROOT / "params.yaml"), read_params(ROOT / "recipes" / f"{name}.yaml"))
    return check_params(merged, section_models(), name)


@cache
def comment(name: str) -> str:
    return "\n".join(re.findall(r"^# ?(.*)$", (ROOT / "recipes" / f"{name}.yaml").read_text(), re.M))


def shapes(name: str) -> dict[str, Grid]:
    """By LoFi's kinds, and all that the recipe's own strategy goes through."""
    found = sections(name)
    lofi, encoder = found["lofi"], found["pretrain"].encoder
    full = Grid(lofi.end_to_end.batch, found["features"].snippets, encoder.height, encoder.width)
    _, grids = lofi_schedule(lofi.strategy, full, lofi.reduction, 100, lofi.c_s, lofi.c_l)
    assert len(grids) == 3, "the cycle of all three"
    check_equal_budget(grids)
    return dict(zip(("s", "t", "st"), grids, strict=True))


@pytest.mark.parametrize("name", ["activitynet", "hacs"])
def test_pixel_budgets_are_the_papers(name: str) -> None:
    found = shapes(name)
    assert {kind: (grid.B, grid.T, grid.H) for kind, grid in found.items()} == {
        "s": (16, 100, 112), "t": (16, 25, 224), "st": (16, 50, 158),
    }  # fmt: skip
    for kind, grid in found.items():
        assert grid.pixels == pytest.approx(PAPER_PIXELS, rel=0.005), kind


def test_budgets_of_thumos_are_a_quarter_of_full_fidelity() -> None:
    for kind, grid in shapes("thumos14").items():
        assert grid.pixels == pytest.approx(256 * 224 * 224 / 4, rel=0.006), kind  # 158 px are 0.5 % less


@pytest.mark.parametrize("name", LOFI)
def test_the_papers_training(name: str) -> None:
    """Section 3.3: SGD at 0.1 without momentum, halved every 5 epochs; stage 3 with its search; G-TAD's own sizes."""
    found = sections(name)
    own, stage = found["lofi"].end_to_end, found["head"]
    assert (own.optimizer, own.lr, own.momentum, own.weight_decay, own.gamma) == ("sgd", 0.1, 0.0, 1e-4, 0.5)
    assert stage.lr_search == (0.0002, 0.0005, 0.001, 0.002, 0.005)
    assert stage.gtad == type(stage.gtad)(), "the published network"
    assert found["pretrain"].encoder.base_width == 64 and found["pretrain"].training is None
    definition = load_definition(ROOT, name)
    assert isinstance(definition, AnnotatedDefinition) and definition.held_out > 0, "weights are not chosen on the test"
    epoch = -(-TRAINING_VIDEOS[name] * (1 - definition.held_out) // own.batch)
    assert own.decay_every == 5 * epoch
    assert own.steps % epoch == 0


@pytest.mark.parametrize("name", [*LOFI, "tsm_kinetics400"])
def test_the_command_stands_in_the_head(name: str) -> None:
    found = re.search(r"python -m pipeline run --dataset (\w+) --recipe (\w+) --target ([\w@]+)", comment(name))
    assert found and found[2] == name
    assert load_definition(ROOT, found[1]).name == found[1]
    from pipeline.run.stage import find_stage

    stage, _, variant = found[3].partition("@")
    assert variant in (find_stage(stage).variants or ("",))


def planned(name: str) -> dict[str, tuple[str, float, float]]:
    rows = re.findall(
        r"^ +(s|t|st) +(\d+ x \d+ x \d+) +direct ([\d.]+) GiB +replay_chunk 64: ([\d.]+) GiB$", comment(name), re.M
    )
    return {kind: (size, float(direct), float(replay)) for kind, size, direct, replay in rows}


@pytest.mark.parametrize("name", LOFI)
def test_the_memory_plan_names_the_recipes_shapes(name: str) -> None:
    found = sections(name)
    sizes = {kind: f"{grid.T} x {grid.H} x {grid.W}" for kind, grid in shapes(name).items()}
    assert {kind: size for kind, (size, *_) in planned(name).items()} == sizes
    command = re.search(r"python -m pipeline plan .*--length (\d+) --batch (\d+) .*--precision (\w+)", comment(name))
    assert command is not None
    own = found["lofi"].end_to_end
    assert command.groups() == (str(found["features"].snippets), str(own.batch), own.precision)


@pytest.fixture(scope="module")
def planners() -> list[Planner]:
    return [make_planner("tsm_r18", "gtad", precision="bf16", lazy_inputs=True)]


@pytest.mark.slow
@pytest.mark.parametrize("name", LOFI)
def test_the_memory_plan_is_what_the_planner_says(name: str, planners: list[Planner]) -> None:
    for kind, (_, direct, replay) in planned(name).items():
        grid = shapes(name)[kind]
        for chunk, said in ((None, direct), (64, replay)):
            peak = planners[0].cost(Setting(grid.T, grid.H, grid.W, grid.B, chunk)).peak
            assert peak / 2**30 == pytest.approx(said, abs=0.011), (kind, chunk)
