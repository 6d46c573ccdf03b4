"""A clip's answer is that of its best feature; what is not there has no part in it; attention is told."""

import numpy as np
import pytest
import torch
from torch import nn

from models.heads.clip_memory import ClipMemory
from models.heads.feature_bank import FeatureBankHead


def model(operator: str, **options: object) -> ClipMemory:
    torch.manual_seed(0)
    made = ClipMemory(FeatureBankHead(4, 6, 3, operator, **options), 4, 6)  # type: ignore[arg-type]
    made.fit_standardisation(torch.randn(50, 4) * 3 + 1, torch.randn(60, 6) * 5)
    for parameter in made.parameters():  # the blocks' outputs start at zero
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def given(b: int = 2, q: int = 3, m: int = 5) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    short, bank = torch.randn(b, q, 4, generator=g), torch.randn(b, m, 6, generator=g)
    return [short, torch.ones(b, q, dtype=torch.bool), bank, torch.ones(b, m, dtype=torch.bool)]


@pytest.mark.parametrize("operator", ["none", "nl", "avg", "max"])
def test_the_best_feature_answers(operator: str) -> None:
    short, present, bank, valid = given()
    head = model(operator)
    alone = torch.stack([head(short[:, i : i + 1], present[:, :1], bank, valid) for i in range(3)])
    torch.testing.assert_close(head(short, present, bank, valid), alone.amax(dim=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("operator", ["none", "nl", "avg", "max"])
def test_what_is_not_filled_changes_nothing(operator: str) -> None:
    short, present, bank, valid = given()
    head = model(operator)
    expected = head(short[:, :2], present[:, :2], bank[:, :3], valid[:, :3])
    present[:, 2], valid[:, 3:] = False, False
    short[:, 2], bank[:, 3:] = float("nan"), float("nan")
    torch.testing.assert_close(head(short, present, bank, valid), expected, rtol=1e-3, atol=1e-3)
    assert not torch.equal(expected, head(short[:, :1], present[:, :1], bank[:, :3], valid[:, :3]))


def test_a_clip_without_features_or_rows_is_seen_as_average() -> None:
    short, present, bank, valid = given()
    head = model("nl")
    nothing = head(short, present & False, bank, valid & False)
    assert torch.isfinite(nothing).all()
    average = head.standardise_short.mean.T.expand(2, 1, 4)
    torch.testing.assert_close(nothing, head(average, present[:, :1], bank, valid & False), rtol=1e-3, atol=1e-3)


def test_a_fresh_model_says_the_rates() -> None:
    torch.manual_seed(0)
    head = ClipMemory(FeatureBankHead(4, 6, 3, "nl"), 4, 6).eval()
    labels = torch.zeros(998, 3)
    labels[:99, 0] = 1
    head.fit_prior(labels)
    said = head(*given()).sigmoid().mean(dim=0)
    torch.testing.assert_close(said, torch.tensor([0.1, 0.001, 0.001]), rtol=0.2, atol=0.0)


def test_standardised_features_do_not_depend_on_the_scale() -> None:
    short, present, bank, valid = given()
    rows, features = torch.randn(40, 6), torch.randn(40, 4)
    outputs = []
    for scale in (1.0, 1000.0):
        head = model("nl")
        head.fit_standardisation(scale * features, scale * rows)
        outputs.append(head(scale * short, present, scale * bank, valid))
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)


def test_attention_sums_to_one_over_what_is_there() -> None:
    short, present, bank, valid = given()
    valid[1, 2:] = False
    for layers in (1, 3):
        head = model("nl", layers=layers, hidden=8)
        shares = head.attention(short, present, bank, valid)
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
        assert (shares[1, 2:] == 0).all() and (shares[0] > 0).all()
        # By hand for the last block: what goes in is what the operator without it gives.
    head = model("nl", layers=1, hidden=8)
    operator = head.head.operator
    s = operator.reduce_short(head.standardise_short(short.transpose(1, 2)).transpose(1, 2))
    rows = operator.reduce_bank(head.standardise_bank(bank.transpose(1, 2)).transpose(1, 2))
    block = operator.blocks[0]
    scores = torch.einsum("bqc,bmc->bqm", block.theta(s), block.phi(rows)) / 8**0.5
    expected = scores.masked_fill(~valid[:, None], -1e9).softmax(dim=-1).mean(dim=1)
    torch.testing.assert_close(head.attention(short, present, bank, valid), expected)
    with pytest.raises(ValueError, match="only the operators nl and sto"):
        model("avg").attention(short, present, bank, valid)


def test_fresh_weights_of_glorot_find_the_row_that_tells() -> None:
    """One of 24 rows is marked, and only its second channel says which class it is; all others are decoys with signs."""
    rng = np.random.default_rng(0)
    bank = torch.tensor(rng.standard_normal((320, 24, 6)), dtype=torch.float32)
    bank[..., 0] = 0
    bank[..., 1] = torch.tensor(rng.choice([-1.0, 1.0], (320, 24)))
    where, short = torch.tensor(rng.integers(24, size=320)), torch.ones(320, 1, 3)
    bank[torch.arange(320), where, 0] = 4
    label = (bank[torch.arange(320), where, 1] > 0).float()
    valid, present = torch.ones(320, 24, dtype=torch.bool), torch.ones(320, 1, dtype=torch.bool)

    def learned(glorot: bool) -> float:
        torch.manual_seed(0)
        head = FeatureBankHead(3, 6, 1, "nl", 0.0, layers=1, hidden=32, attention_dropout=0.0)
        model = ClipMemory(head, 3, 6)
        if glorot:
            model.fresh_by_glorot()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
        for step in range(80):
            some = torch.arange(64) + 64 * (step % 4)
            logits = model(short[some], present[some], bank[some], valid[some])[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, label[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        logits = model.eval()(short[256:], present[256:], bank[256:], valid[256:])[:, 0]
        return float(((logits > 0) == (label[256:] > 0)).float().mean())

    assert learned(glorot=True) > 0.95 and learned(glorot=False) < 0.8
