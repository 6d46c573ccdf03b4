"""The chain at tiny size with LoFi at full fidelity by gradient replay, and ActionFormer for a head. Second tier."""

import json
from collections.abc import Callable

import pytest

from tests.chain.project import Project

pytestmark = pytest.mark.slow


def test_full_fidelity_with_the_other_head(make_project: Callable[[str], Project]) -> None:
    project = make_project("full")

    def change(raw: dict) -> None:
        raw["lofi"] |= {"strategy": "full", "replay_chunk": 10}
        raw["head"] |= {"name": "actionformer", "actionformer": {"hidden": 16, "heads": 2, "window": 5, "levels": 4}}

    project.params(change)
    project.run("dvc", "repro", "evaluate@lofi")
    metrics = json.loads((project.root / "reports" / "metrics" / "lofi.json").read_text())
    assert metrics["metrics"]["snippets"] == 24  # all of recipes/tiny.yaml, not a quarter
    head = json.loads((project.root / "data" / "checkpoints" / "heads" / "lofi" / "head.json").read_text())
    assert head["name"] == "actionformer"
    assert (project.root / "data" / "predictions" / "lofi" / "predictions.json").is_file()
