"""Tables of long-term context: each is a run that the graph takes, with trainings enough for intervals."""

from pathlib import Path

import pytest

from pipeline.bench.long_term import BOX_ACTIONS, LONG_FORM, VERB_NOUN
from pipeline.run.launch import Request, check


@pytest.mark.parametrize(("request_", "task"), [(BOX_ACTIONS, "boxes"), (VERB_NOUN, "segments"), (LONG_FORM, None)])
def test_it_is_a_run(root: Path, request_: Request, task: str | None) -> None:
    plan = check(root, request_)
    section = plan.params[request_.target]
    assert [node.name for node in plan.nodes][-1] == request_.target and section["seeds"] >= 3
    assert section.get("task") == task and next(iter(section["variants"])) == "short_term", "gains are over it"
