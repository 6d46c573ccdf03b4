"""Tables whose rows are runs: their parameters are ones that the graph takes, and the tables are honest."""

from pathlib import Path

import pytest

from pipeline.bench.bank_localisation import ROWS
from pipeline.bench.framewise_table import REQUEST
from pipeline.bench.framewise_table import figures as framewise_figures
from pipeline.bench.lofi_tables import REAL_CLIPS, TABLES
from pipeline.bench.table_rows import figures, pretext
from pipeline.run.files import write_json
from pipeline.run.launch import check


@pytest.mark.parametrize(("table", "title"), [(name, title) for name, rows in TABLES.items() for title in rows])
def test_every_row_is_a_run(root: Path, table: str, title: str) -> None:
    row = TABLES[table][title]
    plan = check(root, row.request)
    assert [node.name for node in plan.nodes][-1] == f"evaluate@{row.encoder}"
    assert ("lofi" in [node.name for node in plan.nodes]) == (row.encoder == "lofi")
    assert (plan.params["features"]["snippets"] == 25) == (table == "lofi-table-7")
    assert row.command.startswith("python -m pipeline run --dataset world")


def test_the_arrow_of_time_is_also_asked_of_real_clips(root: Path) -> None:
    plan = check(root, REAL_CLIPS)
    assert plan.nodes[-1].name == "pretrain" and plan.params["pretrain"]["tasks"] == ["arrow_of_time"]


def workspace(folder: Path, encoder: str, hits: int) -> Path:
    """Eight test videos with two instances each, of which the first ``hits`` videos' are found."""
    truth = {
        f"v{i}": {"subset": "testing", "annotations": [{"label": "a", "segment": [s, s + 2.0]} for s in (1, 5)]}
        for i in range(8)
    }
    write_json(folder / "data" / "artifacts" / "videos" / "dataset.json", {"database": truth})
    results = {
        id_: [{"label": "a", "score": 0.9, "segment": one["segment"]} for one in entry["annotations"]]
        for id_, entry in list(truth.items())[:hits]
    }
    write_json(folder / "data" / "predictions" / encoder / "predictions.json", {"results": results})
    metrics = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "chance": 0.1}
    write_json(folder / "reports" / "metrics" / "pretrain.json", {"metrics": metrics})
    return folder


def test_what_was_not_run_is_named(tmp_path: Path) -> None:
    rows = TABLES["lofi-table-8"]
    done = {"ACP": workspace(tmp_path / "a", "acp", 4), "LoFi-E2E": workspace(tmp_path / "b", "lofi", 8)}
    found = figures(rows, done)
    assert list(found["not_measured"]) == ["Arrow", "Speed", "ACP+Arrow", "ACP+Speed"]
    assert found["runs_per_row"] == 1 and found["test_videos"] == 8
    value, low, high = found["rows"]["LoFi-E2E"]["average_mAP"]
    assert low == value == high == 100
    value, low, high = found["rows"]["LoFi-E2E"]["minus_ACP"]
    assert value == pytest.approx(50, abs=0.1) and 0 < low < value < high
    assert found["rows"]["LoFi-E2E"]["verdict"] == "apart in this one run"
    assert found["rows"]["ACP"]["pretext"]["classification"]["above_chance"] is True
    same = {"ACP": done["ACP"], "Arrow": workspace(tmp_path / "c", "acp", 4)}
    assert figures(rows, same)["rows"]["Arrow"]["verdict"] == "not told apart"
    assert figures(rows, {})["rows"] == {}


def test_a_pretext_at_chance_is_said_to_be() -> None:
    metrics = {"arrow/accuracy": 0.51, "arrow/accuracy_low": 0.48, "arrow/accuracy_high": 0.53, "arrow/chance": 0.5}
    assert pretext(metrics)["arrow"]["above_chance"] is False


def test_rows_of_the_bank_differ_by_the_context_alone(root: Path) -> None:
    plans = {title: check(root, row.request) for title, row in ROWS.items()}
    # A head without context must not make the graph look for people first.
    assert ["bank" in [node.name for node in plan.nodes] for plan in plans.values()] == [False, True, True]
    heads = {title: plan.params["head"] for title, plan in plans.items()}
    contexts = {title: head.pop("context") for title, head in heads.items()}
    assert [head.pop("beside") for head in heads.values()] == ["videos", "bank", "bank"]
    plain, centred, causal = ROWS
    assert heads[plain] == heads[centred] == heads[causal]
    assert contexts[plain] is None and contexts[centred]["mode"] == "centred"
    assert contexts[causal] == contexts[centred] | {"mode": "causal"}
    assert ROWS[plain].command == (
        "python -m pipeline run --dataset world --recipe bank_tal_world --set 'head.context=null' "
        "--set 'head.beside=videos' --target evaluate@lofi"
    )


def test_the_table_of_frame_networks(root: Path) -> None:
    assert check(root, REQUEST).nodes[-1].name == "framewise"
    metrics = {"chance_mAP": 0.05, "test_videos": 4.0, "conv_gmacs/a": 1.23456, "peak_mib/a": 10.0}
    for score, value in (("charades_v1_localize_mAP", 0.2), ("frames_mAP", 0.3)):
        metrics |= {f"{score}/a": value, f"{score}_low/a": value - 0.1, f"{score}_high/a": value + 0.1}
    found = framewise_figures(metrics)
    assert found["chance_mAP"] == 5 and found["rows"]["a"]["charades_v1_localize_mAP"] == [20, 10, 30]
    assert found["rows"]["a"]["conv_gmacs"] == 1.2346 and "train_cpu_s" not in found["rows"]["a"]
