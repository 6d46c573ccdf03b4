"""Groups by name, against rules written out by hand for every parameter."""

import pytest
import torch
from torch import nn

from models.streams import build_stream
from pipeline.training.named_groups import PRETRAINED, PRETRAINED_PICTURES, adam_by_name
from pipeline.training.optim import set_lr


def settings_by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize(("stream", "rules"), [("mv", PRETRAINED), ("i", PRETRAINED_PICTURES)])
def test_every_parameter_has_the_released_rate_and_decay(stream: str, rules: dict[str, float]) -> None:
    model = build_stream(stream, 5, "resnet18", 8)
    optimizer = adam_by_name(model, 1e-2, multipliers=rules, stem="backbone.", weight_decay=1e-4)
    found = settings_by_name(model, optimizer)
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, (lr, decay) in found.items():
        if "fc" in name:
            factor = 1.0
        # Only the stem: every residual block has a conv1 and a bn1 too, which are pre-trained.
        elif stream != "i" and name.startswith(("backbone.conv1.", "backbone.bn1.", "data_bn.")):
            factor = 0.1
        else:
            factor = 0.01
        assert lr == pytest.approx(1e-2 * factor), name
        assert decay == (0.0 if "bias" in name else 1e-4), name
    assert optimizer.defaults["eps"] == 1e-3
    set_lr(optimizer, 0.1)
    assert settings_by_name(model, optimizer)["fc.weight"][0] == pytest.approx(1e-3)


def test_wrong_rules_are_named() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"'head.'.* match no trainable"):
        adam_by_name(model, 1.0, multipliers={"": 1.0, "head.": 2.0})
    with pytest.raises(ValueError, match="fits the parameter 'bias'"):
        adam_by_name(model, 1.0, multipliers={"weight": 1.0})
