"""The report's section on adaptive time, on a few tiny videos with an encoder that has just been made."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.bench import adaptive
from pipeline.bench.sgs import trained_bins
from pipeline.datasets.schema import Dataset
from pipeline.run.files import write_json
from stages import _adaptive, _encoder, _outputs
from tests.stages.test_encoder_training import ENCODER, OVERRIDES
from tests.stages.tiny_world import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Project:
    made = Project(tmp_path_factory.mktemp("adaptive"), root, {"testing": 3}, OVERRIDES)
    made.run("frames")
    return made


def drawn(root: Path, temporal: dict[str, Any] | None) -> _adaptive.Drawn:
    spec = _encoder.EncoderSpec.model_validate(ENCODER | {"temporal": temporal})
    torch.manual_seed(0)
    _encoder.save(root / _outputs.ENCODERS.format(variant="lofi"), _encoder.build(spec), spec)
    return _adaptive.drawn(root, Dataset.load(root / _outputs.DATASET_FILE))


def test_sgs_is_shown_by_its_bins(project: Project) -> None:
    plots = drawn(project.root, {"name": "sgs", "form": "released"})
    assert list(plots) == ["bins_0", "bins_1", "bins_2", "bins_by_class"]
    kept = [int(plots[f"bins_{i}"].caption.split()[0]) for i in range(3)]
    assert kept == sorted(kept) and kept[0] >= 1 and kept[2] <= 4
    (section,) = _adaptive.section(plots)
    assert [len(block.plots) for block in section.blocks] == [3, 1]  # type: ignore[union-attr]


def test_grid_pool_is_shown_by_its_grid(project: Project) -> None:
    assert list(drawn(project.root, {"name": "grid_pool", "alpha": 0.5})) == ["grid_locations"]


def test_a_plain_encoder_has_no_section(project: Project) -> None:
    assert drawn(project.root, None) == {} and _adaptive.section({}) == []


def test_cost_stands_beside_map_for_the_runs_that_differ_in_the_module_alone(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setattr(adaptive, "SNIPPETS", 6)
    monkeypatch.setattr(adaptive, "ROUNDS", 1)
    roots = []
    for name, changed in (
        ("sgs", {"temporal": {"name": "stride", "alpha": 0.5}}),
        ("plain", {}),
        ("other", {"width": 48}),
    ):
        root = tmp_path / name
        (root / "data").mkdir(parents=True)
        (root / "data" / "artifacts").symlink_to(project.root / "data" / "artifacts")
        spec = _encoder.EncoderSpec.model_validate(ENCODER | changed)
        _encoder.save(root / _outputs.ENCODERS.format(variant="lofi"), _encoder.build(spec), spec)
        metrics = {"average_mAP": 0.2, "average_mAP_low": 0.1, "average_mAP_high": 0.3}
        write_json(root / "reports" / "metrics" / "evaluate@lofi.json", {"metrics": metrics})
        roots.append(root)
    rows = adaptive.measure([*roots, tmp_path / "unfinished"])["rows"]
    assert [row["name"] for row in rows] == ["tsm_resnet18", "tsm_resnet18 + stride"]
    assert rows[1]["gmacs"] < rows[0]["gmacs"] and all(row["ms"] > 0 for row in rows)
    write_json(roots[0] / _adaptive.BENCH, {"rows": rows})
    plots = _adaptive.drawn(roots[0], Dataset.load(project.root / _outputs.DATASET_FILE))
    assert list(plots) == ["grid_locations", "map_by_cost"]
    with pytest.raises(ValueError, match="no finished run"):
        adaptive.measure([tmp_path])


def test_the_bins_of_a_trained_net_are_quantiles_of_what_it_keeps(project: Project) -> None:
    spec = _encoder.EncoderSpec.model_validate(
        ENCODER | {"frames": 13, "temporal": {"name": "sgs", "form": "released"}}
    )
    folder = project.root / _outputs.ENCODERS.format(variant="acp")
    torch.manual_seed(0)
    _encoder.save(folder, _encoder.build(spec), spec)
    found = trained_bins(project.root, 4)
    kept = [int(n) for n, times in found["kept"].items() for _ in range(times)]
    assert found["instances"] == len(kept) and 1 <= min(kept) <= max(kept) <= 13
    assert found["bins"] == [kept[int((i + 0.5) * len(kept) / 4)] for i in range(4)] == sorted(found["bins"])
    _encoder.save(folder, _encoder.build(spec), spec.model_copy(update={"frames": 8}))
    with pytest.raises(ValueError, match=r"8 frames.*needed: 13 frames and sgs"):
        trained_bins(project.root, 4)
