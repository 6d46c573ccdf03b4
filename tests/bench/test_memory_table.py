"""The table of memory: its run is one that the graph takes, and it says which part of the claim does not hold."""

from pathlib import Path

from pipeline.bench.memory_table import COMMAND, REQUEST, figures
from pipeline.run.launch import check


def test_it_is_a_run(root: Path) -> None:
    plan = check(root, REQUEST)
    assert [node.name for node in plan.nodes][-1] == "memory" and plan.dataset == "memory"
    assert plan.params["memory"]["seeds"] >= 3, "trainings, for intervals"
    variants = plan.params["memory"]["variants"]
    assert [v["operator"] for v in variants.values()] == ["none", "nl", "nl", "sto", "max", "avg"]
    assert f"--dataset {REQUEST.dataset} --recipe {REQUEST.recipe} --target {REQUEST.target}" in COMMAND


def metrics(short: float, near: float, far: float) -> dict[str, float]:
    values = {"test_videos": 9.0, "test_clips": 90.0, "positives": 20.0}
    for name, one in {"short_term": short, "bank_3s": near, "bank_60s": far}.items():
        found = {"mAP": one, "told_apart": 0.5} | ({"mAP_gain": one - short} if name != "short_term" else {})
        for key, value in found.items():
            values |= {f"{key}/{name}": value, f"{key}_low/{name}": value - 0.02, f"{key}_high/{name}": value + 0.02}
    return values


def test_a_claim_that_does_not_hold_is_said_to_be_so() -> None:
    good = figures(metrics(0.2, 0.205, 0.3))
    assert good["rows"]["bank_60s"] == {"mAP": [30, 28, 32], "gain": [10, 8, 12], "told_apart": [50, 48, 52]}
    assert "gain" not in good["rows"]["short_term"] and good["test_videos"] == 9
    assert list(good["holds"].values()) == [True, True, True]
    assert list(figures(metrics(0.2, 0.22, 0.23))["holds"].values()) == [False, False, False]
