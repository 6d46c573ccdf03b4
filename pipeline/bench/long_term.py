"""What long-term context adds on the world, by the stages' own figures: people's actions, verbs and nouns, whole videos.

Each runs a recipe through the door, so in a worktree, and goes on where it was stopped; its JSON holds all metrics of the
recipe's last stage. ``memory-world``, the claim on memory, is in :mod:`pipeline.bench.memory_table`.
"""

from typing import Any

from pipeline.bench.table_rows import command, run_metrics
from pipeline.run.launch import Request

BOX_ACTIONS = Request("world", "box_actions_world", (), "memory")
VERB_NOUN = Request("world", "verb_noun_world", (), "memory")
LONG_FORM = Request("world", "long_form_world", (), "long_form")


def box_actions_world() -> dict[str, Any]:
    """AVA's task: frame mAP of what each person does (thesis, section 7.2); shares, 1 is all."""
    return _figures(BOX_ACTIONS)


def verb_noun_world() -> dict[str, Any]:
    """EPIC-Kitchens' task: verb, noun and action of each segment (thesis, section 7.2.2); shares, 1 is all."""
    return _figures(VERB_NOUN)


def long_form_world() -> dict[str, Any]:
    """Labels of whole videos, and late fusion of boxes (thesis, tables 8.1, 8.2 and 8.4); percent."""
    return _figures(LONG_FORM)


def _figures(request: Request) -> dict[str, Any]:
    return {
        "run": command(request),
        "metrics": {name: round(value, 4) for name, value in sorted(run_metrics(request).items())},
    }
