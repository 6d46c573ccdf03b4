"""What the world claims about its classes, shown on its pixels: what they lack makes a classifier guess.

Every pair has equal single pictures, so a classifier of single pictures is near chance, and one that sees several is not;
a classifier of the three seconds around a reach is near chance, and one that saw the hiding long before is not.
"""

from collections.abc import Iterator

import pytest
import torch

from pipeline.datasets.world import CLASSES
from pipeline.datasets.world.plan import MEMORY_GAP_S
from tests.datasets.world_claims import Samples, accuracy, gather, pair_task, past_task, plans, reach_task

PAIRS = {
    "direction": ("walk_left", "walk_right"),
    "speed": ("wave_slow", "wave_fast"),
    "order of hands": ("pick_up", "put_down"),
    "order of sitting": ("sit_down", "stand_up"),
}
CARDS = (*(pair[n] for n in (0, 1) for pair in PAIRS.values()), *PAIRS["speed"])


def chance(n: int) -> float:
    """What guessing on ``n`` instances stays below but once in 700 times (three standard deviations)."""
    return float(0.5 + 3 * 0.5 / n**0.5)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pairs() -> dict[str, Samples]:
    tasks = {name: pair_task(pair, n_frames=8, step_s=0.2 if name == "speed" else None) for name, pair in PAIRS.items()}
    return gather(plans(450, seed=1, cards=CARDS), tasks)


@pytest.fixture(scope="module")
def memory() -> dict[str, Samples]:
    return gather(plans(300, seed=2), {"three seconds": reach_task(8, window_s=3.0), "long past": past_task(4)})


@pytest.mark.parametrize("name", PAIRS)
def test_a_single_picture_does_not_tell_opposites_apart_and_several_do(name: str, pairs: dict[str, Samples]) -> None:
    assert set(PAIRS[name]) <= set(CLASSES)
    samples = pairs[name]
    single, n = accuracy(samples, single=True)
    assert n >= 80
    assert single < chance(n), f"single pictures tell {PAIRS[name]} apart"
    several, _ = accuracy(samples, single=False)
    assert several > 0.8, f"eight pictures do not tell {PAIRS[name]} apart"


def test_three_seconds_do_not_tell_what_was_hidden_and_the_long_past_does(memory: dict[str, Samples]) -> None:
    assert MEMORY_GAP_S >= 10
    now, past = memory["three seconds"], memory["long past"]
    assert len(now.target) == len(past.target) and (now.target == past.target).all()
    for single in (True, False):
        seen, n = accuracy(now, single)
        assert n >= 80
        assert seen < chance(n), "the reach shows what was hidden"
    remembered, _ = accuracy(past, single=False)
    assert remembered > 0.9, "the hiding does not show what is hidden"


@pytest.mark.slow
def test_claims_hold_on_many_more_instances_and_at_other_difficulties() -> None:
    for seed, difficulty in ((5, 0.0), (6, 1.0)):
        tasks = {name: pair_task(pair, 8, 0.2 if name == "speed" else None) for name, pair in PAIRS.items()}
        for name, samples in gather(plans(1200, seed, CARDS, difficulty), tasks).items():
            single, n = accuracy(samples, single=True)
            assert single < chance(n), f"{PAIRS[name]} at difficulty {difficulty}"
            several, _ = accuracy(samples, single=False)
            assert several > 0.75, f"{PAIRS[name]} at difficulty {difficulty}"
        found = gather(plans(900, seed + 10, None, difficulty), {"now": reach_task(8, 3.0), "past": past_task(4)})
        seen, n = accuracy(found["now"], single=False)
        assert seen < chance(n)
        assert accuracy(found["past"], single=False)[0] > 0.9
