"""The learning-rate search of LoFi's stage 3: the head is trained at each rate, the best on validation stays.

"We perform a learning rate search within the set {0.0002, 0.0005, 0.001, 0.002, 0.005}" (LoFi, section 3.3). Every rate
starts from the same weights and sees the same batches. Each has a checkpoint of its own, so a search that was killed goes
on at the rate it was at.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipeline.run.files import write_json
from pipeline.run.stage import Context, StageError
from stages._training import Optimisation

if TYPE_CHECKING:
    from torch import nn

    from pipeline.training.loop import TrainResult

M = TypeVar("M", bound="nn.Module")


def best_value(result: "TrainResult", metric: str) -> float:
    """The highest value of a metric in a training: that of the weights that it ended with."""
    return max(row[metric] for row in result.history if metric in row)


def best_rate(
    context: Context,
    options: Optimisation,
    rates: Sequence[float],
    train: Callable[[Optimisation, str], tuple[M, "TrainResult"]],
    *,
    name: str,
    metric: str,
) -> tuple[M, "TrainResult", dict[str, float]]:
    """Train once at each rate and keep the best: the first of equals.

    Args:
        context: of the stage.
        options: the training's section; its rate is replaced.
        rates: to try, in this order.
        train: (options, name) to a model that was trained from the same start each time, and its training.
        name: of the training. That of a rate is ``<name>-lr<rate>``, and so is its history; the winner's is ``<name>`` too.
        metric: of the validation, by which it is chosen.

    Returns:
        The best model, its training, and the stage's metrics: ``lr`` (the choice), and ``lr_search/<rate>`` with the
        metric of each. A rate at which the training ran off to infinity has found nothing: its figure is 0.

    Raises:
        StageError: the training ran off at every rate.
    """
    best: tuple[M, TrainResult] | None = None
    found: dict[float, float] = {}
    for rate in rates:
        try:
            model, result = train(options.model_copy(update={"lr": rate}), f"{name}-lr{rate:g}")
        except FloatingPointError as error:
            context.progress.say(f"{name}: learning rate {rate:g} does not train: {error}")
            found[rate] = 0.0
            continue
        value = best_value(result, metric)
        context.progress.say(f"{name}: learning rate {rate:g} gives {metric} {value:.4f}")
        if best is None or value > max(found.values()):
            best, chosen = (model, result), rate
        found[rate] = value
    if best is None:
        raise StageError(f"{name}: no learning rate of {', '.join(f'{rate:g}' for rate in rates)} trains")
    context.progress.say(f"{name}: learning rate {chosen:g} is chosen of {len(found)}")
    write_json(context.result / "history" / f"{name}.json", best[1].history)
    return *best, {"lr": chosen, **{f"lr_search/{rate:g}": value for rate, value in found.items()}}
