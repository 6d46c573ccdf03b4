"""The planner's prediction against the allocator, and the command."""

import json
from typing import Any

import pytest
import torch

from pipeline.bench.training import _measured_step
from pipeline.cli import main
from pipeline.commands.plan import parse_memory, settings
from pipeline.training.plan import Planner, Setting, fitting
from stages._planner import make_planner

pytestmark = pytest.mark.usefixtures("one_thread")


def check(name: str, width: int, head: str, precision: Any, chosen: list[Setting]) -> None:
    planner = make_planner(name, head, options={"base_width": width}, precision=precision, device="cpu")
    for setting in chosen:
        predicted = planner.cost(setting).work
        measured = _measured_step(name, width, head, precision, setting, torch.device("cpu"))
        assert predicted == pytest.approx(measured, rel=0.15), setting


def test_prediction_is_what_the_allocator_measures() -> None:
    check("tsm_resnet18", 16, "gtad", "float32", [Setting(6, 48, 64, 1), Setting(9, 48, 48, 2, 6)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tsm_resnet18", "tsm_resnet50"])
@pytest.mark.parametrize(("head", "precision"), [("gtad", "float32"), ("gtad", "bf16"), ("actionformer", "float32")])
def test_prediction_on_many_settings(name: str, head: str, precision: str) -> None:
    """24 with the other dimensions; nothing was fitted to them."""
    sizes = [Setting(9, 64, 80, 1), Setting(4, 48, 48, 3), Setting(30, 48, 64, 1, 7), Setting(8, 64, 64, 2, 16)]
    check(name, 32, head, precision, sizes)


@pytest.fixture(scope="module")
def planner() -> Planner:
    return make_planner("tsm_r18", "actionformer", options={"base_width": 16}, device="cpu")


def test_terms(planner: Planner) -> None:
    direct, replay = (planner.cost(Setting(8, 48, 64, 1, chunk)) for chunk in (None, 2))
    assert direct.inputs == replay.inputs == 8 * 3 * 8 * 48 * 64
    for cost in (direct, replay):
        assert cost.peak == cost.static + cost.inputs + cost.work
    assert planner.saved(Setting(8, 48, 64, 1)) > 3 * planner.saved(Setting(8, 48, 64, 1, 2))
    assert direct.work > 1.25 * replay.work
    # One more forward pass of the encoder: 4 of them instead of 3.
    assert 1.25 < replay.macs / direct.macs < 1.4
    adam = make_planner("tsm_r18", "actionformer", options={"base_width": 16}, optimizer="adam", lazy_inputs=True)
    adam._traced = planner._traced  # the same step; only what stands beside it differs
    lazy = adam.cost(Setting(8, 48, 64, 1, 2))
    assert lazy.inputs == 2 * 3 * 8 * 48 * 64
    parameters = sum(p.numel() for m in (planner._encoder, planner._head) for p in m.parameters()) * 4
    assert lazy.static - replay.static == 2 * parameters


def test_replay_grows_with_the_chunk_and_hardly_with_the_length(planner: Planner) -> None:
    long, short, wide = (
        planner.cost(Setting(*sizes)) for sizes in ((32, 48, 64, 1, 2), (8, 48, 64, 1, 2), (8, 48, 64, 1, 8))
    )
    assert long.phases["replay"] == pytest.approx(short.phases["replay"], rel=0.1)
    assert wide.phases["replay"] > 1.25 * short.phases["replay"]


def test_fitting_keeps_the_order(planner: Planner) -> None:
    asked = [Setting(8, 48, 64, 1, chunk) for chunk in (None, 8, 2)]
    costs = [planner.cost(setting).peak for setting in asked]
    assert [setting for setting, _ in fitting(planner, asked, costs[0] - 1)] == [
        setting for setting, cost in zip(asked, costs, strict=True) if cost < costs[0]
    ]


def test_lofi_settings_are_the_papers() -> None:
    found = {(kind, s.length, s.height) for kind, s in settings(100, 224, ["s", "t", "st", "full"], [16], [8])}
    assert found == {("s", 100, 112), ("t", 25, 224), ("st", 50, 158), ("full", 100, 224)}
    assert [s.chunk for _, s in settings(8, 64, ["full"], [1], [4, 8, 16])] == [None, 4]


@pytest.mark.parametrize(("text", "size"), [("24GiB", 24 * 2**30), ("0.5 GB", 500_000_000), ("100MiB", 100 * 2**20)])
def test_memory_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["24", "GiB", "24gib", "-1GiB", "1.2.3GB"])
def test_memory_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a number with one of the units KiB, MiB, GiB"):
        parse_memory(text)


SMALL = ["--length", "8", "--size", "64", "--batch", "1", "--chunk", "2", "--lofi", "t", "full"]
CHEAP = ["--head", "actionformer", "--device", "cpu"]


def test_command_prints_what_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Planner] = []

    def once(*names: Any, **options: Any) -> Planner:
        made[:] = made or [make_planner(*names, **options)]
        return made[0]

    monkeypatch.setattr("pipeline.commands.plan.make_planner", once)  # its traces are kept for the second call
    with pytest.raises(SystemExit) as done:
        main(["plan", "--gpu-memory", "1GiB", "--encoder", "tsm_r18", *SMALL, *CHEAP])
    assert done.value.code == 0
    printed = capsys.readouterr().out
    assert "8 x 64 x 64" in printed and "2 x 64 x 64" in printed and "direct" in printed
    with pytest.raises(SystemExit):
        main(["plan", "--gpu-memory", "1GiB", "--json", *SMALL, *CHEAP])
    rows = {(row["fidelity"], row["chunk"]): row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert rows["t", None]["time_per_video"] == 1
    assert all(row["peak"] == row["static"] + row["inputs"] + row["work"] for row in rows.values())
    assert all(row["fits"] for row in rows.values())
    between = (rows["full", None]["peak"] + rows["full", 2]["peak"]) // 2
    with pytest.raises(SystemExit):
        main(["plan", "--gpu-memory", f"{between / 2**20}MiB", "--margin", "0", "--json", "--all", *SMALL, *CHEAP])
    rows = {(row["fidelity"], row["chunk"]): row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert rows["full", 2]["fits"] and not rows["full", None]["fits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu-memory", "24"], "memory '24'"),
        (["--gpu-memory", "1GiB", "--encoder", "vit"], "unknown encoder 'vit'"),
        (["--gpu-memory", "1GiB", "--head", "bmn"], "unknown head 'bmn'; allowed: gtad, actionformer"),
        (["--gpu-memory", "1GiB", "--margin", "2"], "margin is 2.0"),
        (["--gpu-memory", "1GiB", "--length", "0"], "Grid.T is 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["plan", *arguments])


def test_sizes_and_names_are_checked(planner: Planner) -> None:
    with pytest.raises(ValueError, match="chunk is 0; it must be at least 1"):
        planner.cost(Setting(4, 64, 64, 1, 0))
    with pytest.raises(ValueError, match="optimizer is 'lion'; allowed: sgd"):
        make_planner("tsm_r18", "gtad", optimizer="lion")
    with pytest.raises(ValueError, match="precision is 'fp8'; allowed: float32, bf16"):
        make_planner("tsm_r18", "gtad", precision="fp8")
