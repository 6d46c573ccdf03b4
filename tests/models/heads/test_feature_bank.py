"""Feature bank operators against a second form in numpy, and what padding, empty banks and evaluation must hold."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.costs import parameters
from models.heads.feature_bank import FeatureBankHead, NonLocalOperator, PoolOperator


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Short [2, 3, 6], bank [2, 5, 4], valid [2, 5]: the second example has two padded rows."""
    generator = torch.Generator().manual_seed(seed)
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    bank = torch.randn(2, 5, 4, generator=generator) * valid[..., None]
    return torch.randn(2, 3, 6, generator=generator), bank, valid


def shaken(module: nn.Module, seed: int = 1) -> Any:
    """Fresh weights leave the blocks at the identity; these do not."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module.eval()


def by_hand(operator: NonLocalOperator, short: np.ndarray, rows: np.ndarray, form: dict[str, Any]) -> np.ndarray:
    """One query vector against the rows that count, step by step as in the paper's figure 7.4."""
    weights = {name: value.double().numpy() for name, value in operator.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(block: str, x: np.ndarray) -> np.ndarray:
        if form["layer_norm"] == "none":
            return x
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * weights[f"{block}.norm.weight"] + weights[f"{block}.norm.bias"] if "affine" in form.values() else x

    s, bank = linear("reduce_short", short), linear("reduce_bank", rows)
    for i in range(form["layers"]):
        block = f"blocks.{i}"
        affinity = linear(f"{block}.phi", bank) @ linear(f"{block}.theta", s)
        affinity = affinity / np.sqrt(len(s)) if form["scale"] else affinity
        share = np.exp(affinity - affinity.max())
        found = (share / share.sum()) @ linear(f"{block}.g", bank)
        if form["activation"] == "pre":
            s = s + linear(f"{block}.out", np.maximum(norm(block, found), 0))
        else:
            s = np.maximum(s + norm(block, linear(f"{block}.out", found)), 0)
    return s


@pytest.mark.parametrize("padding", ["masked", "released"])
@pytest.mark.parametrize(
    "form",
    [
        {"layers": 2, "activation": "pre", "scale": True, "layer_norm": "affine"},
        {"layers": 3, "activation": "post", "scale": True, "layer_norm": "plain"},
        {"layers": 1, "activation": "pre", "scale": False, "layer_norm": "none"},
    ],
)
def test_attention_is_the_papers(form: dict[str, Any], padding: str) -> None:
    operator = shaken(NonLocalOperator(6, 4, hidden=8, padding=padding, **form)).double()  # type: ignore[arg-type]
    short, bank, valid = example()
    ours = operator(short.double(), bank.double(), valid).detach().numpy()
    for b in range(2):
        rows = bank[b].double().numpy() if padding == "released" else bank[b][valid[b]].double().numpy()
        for q in range(3):
            expected = by_hand(operator, short[b, q].double().numpy(), rows, form)
            np.testing.assert_allclose(ours[b, q], expected, rtol=1e-9)


def test_parameters_are_the_published_ones() -> None:
    # Measured on the public reimplementation, whose LayerNorm is affine: 3.150, 4.201 and 5.253 million.
    counted = [parameters(NonLocalOperator(2048, 2048, layers)) for layers in (1, 2, 3)]
    assert counted == [3_149_824, 4_201_472, 5_253_120]
    assert parameters(NonLocalOperator(2048, 2048, 2, layer_norm="plain")) == 4_201_472 - 2 * 2 * 512
    head = FeatureBankHead(2048, 2048, 80)
    assert head.classifier.in_features == 2560, "section 7.1.4"
    assert FeatureBankHead(2048, 2048, 80, "max").classifier.in_features == 4096


@pytest.mark.parametrize("operator", ["nl", "avg", "max"])
def test_padding_and_its_length_change_nothing(operator: Any) -> None:
    head = shaken(FeatureBankHead(6, 4, 5, operator)).double()
    short, bank, valid = example()
    short, bank = short.double(), bank.double()
    longer = torch.cat([bank, torch.full((2, 7, 4), float("nan"), dtype=torch.float64)], dim=1)
    more = torch.cat([valid, torch.zeros(2, 7, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(head(short, bank, valid), head(short, longer, more))
    alone = head(short[1:], bank[1:, :3], valid[1:, :3])
    torch.testing.assert_close(head(short, bank, valid)[1:], alone)


def test_released_pooling_counts_the_padding() -> None:
    short, _, valid = example()
    bank = -torch.ones(2, 5, 4) * valid[..., None]
    pooled = {
        (pool, padding): PoolOperator(4, pool, padding)(short, bank, valid)  # type: ignore[arg-type]
        for pool in ("avg", "max")
        for padding in ("masked", "released")
    }
    assert pooled["avg", "masked"].unique().tolist() == [-1.0]
    assert pooled["avg", "released"][1].unique().tolist() == pytest.approx([-0.6]), "diluted"
    assert pooled["max", "masked"].unique().tolist() == [-1.0]
    assert pooled["max", "released"][1].unique().tolist() == [0.0], "a zero row is above a negative feature"


@pytest.mark.parametrize("operator", ["nl", "avg", "max", "none"])
def test_an_empty_window_leaves_the_short_term_feature(operator: Any) -> None:
    head = shaken(FeatureBankHead(6, 4, 5, operator))
    short, bank, valid = example()
    valid = valid & torch.tensor([[True], [False]])
    short.requires_grad_(True)
    logits = head(short, bank, valid)
    other = head(short, bank + 100, valid)
    torch.testing.assert_close(logits[1], other[1])
    logits.sum().backward()
    assert logits.isfinite().all() and short.grad is not None and short.grad.isfinite().all()
    assert head(short, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool)).isfinite().all(), "no row at all"


def test_fresh_blocks_are_the_identity_and_dropout_is_of_training_only() -> None:
    torch.manual_seed(0)
    short, bank, valid = example()
    operator = NonLocalOperator(6, 4, hidden=8)
    operator.eval()
    torch.testing.assert_close(operator(short, bank, valid), operator.reduce_short(short))
    head = shaken(FeatureBankHead(6, 4, 5, hidden=8))
    assert torch.equal(head(short, bank, valid), head(short, bank, valid))
    head.train()
    assert not torch.equal(head(short, bank, valid), head(short, bank, valid))
    still = shaken(FeatureBankHead(6, 4, 5, dropout=0.0, hidden=8)).train()
    still.operator = shaken(NonLocalOperator(6, 4, hidden=8, dropout=0.0)).train()
    assert torch.equal(still(short, bank, valid), still(short, bank, valid))


def test_the_short_term_operator_looks_within_the_clip() -> None:
    head = shaken(FeatureBankHead(6, 6, 5, "sto", hidden=8))
    short, _, _ = example()
    everything = torch.ones(2, 3, dtype=torch.bool)
    logits = head(short, short, everything)
    changed = short.clone()
    changed[0, 2] += 1
    moved = head(changed, changed, everything)
    assert not torch.allclose(moved[0, 0], logits[0, 0]), "another box of the clip matters"
    torch.testing.assert_close(moved[1], logits[1])


def test_half_precision_banks_are_taken() -> None:
    head = shaken(FeatureBankHead(6, 4, 5, "nl", hidden=8))
    short, bank, valid = example()
    torch.testing.assert_close(head(short, bank.half(), valid), head(short, bank, valid), rtol=2e-2, atol=2e-2)


def test_it_learns_what_only_the_bank_tells() -> None:
    """The class is that of the bank row whose key the short-term feature shows: pooling cannot know, attention can."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)

    def batch(n: int) -> tuple[Tensor, Tensor, Tensor]:
        keys = torch.stack([torch.randperm(4, generator=generator) for _ in range(n)])
        labels = torch.randint(2, (n, 4), generator=generator)
        bank = torch.cat([nn.functional.one_hot(keys, 4), nn.functional.one_hot(labels, 2)], dim=-1).float()
        wanted = torch.randint(4, (n,), generator=generator)
        place = (keys == wanted[:, None]).nonzero()[:, 1]
        return nn.functional.one_hot(wanted, 4).float()[:, None], bank, labels[torch.arange(n), place]

    def accuracy(operator: Any) -> float:
        options = {"hidden": 32, "dropout": 0.0} if operator == "nl" else {}
        head = FeatureBankHead(4, 6, 2, operator, **options)
        for parameter in head.parameters():
            if parameter.ndim > 1 and parameter.abs().sum() > 0:
                nn.init.xavier_uniform_(parameter)
        head.dropout.p = 0.0
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
        for _ in range(300):
            short, bank, label = batch(64)
            loss = nn.functional.cross_entropy(head(short, bank, torch.ones(64, 4, dtype=torch.bool))[:, 0], label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        short, bank, label = batch(500)
        right = head.eval()(short, bank, torch.ones(500, 4, dtype=torch.bool))[:, 0].argmax(-1) == label
        return right.float().mean().item()

    assert accuracy("nl") > 0.95
    assert accuracy("avg") < 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operator": "mean"}, "operator is 'mean'; allowed: nl, avg, max, sto, none"),
        ({"layers": 4}, "layers is 4; the operator has 1, 2 or 3"),
        ({"activation": "mid"}, "activation is 'mid'; allowed: pre, post"),
        ({"layer_norm": True}, "layer_norm is True; allowed: affine, plain, none"),
        ({"padding": "zeros"}, "padding is 'zeros'; allowed: masked, released"),
        ({"operator": "avg", "layers": 2}, "layers: options of the operators nl and sto, the operator is 'avg'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureBankHead(6, 4, 5, **options)
