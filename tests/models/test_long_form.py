"""Masking, losses, heads and baselines of long-form models."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.heads.long_form import (
    CompatibilityHead,
    InstanceHead,
    LateFusionHead,
    compatibility_loss,
    masked_instance_loss,
)
from models.long_form import LONG_FORM, build_long_form
from models.masking import choose_instances, cover_instances, mask_instances
from models.object_transformer import Tokens
from tests.models.spans import part, random_tokens

SMALL = {"width": 16, "layers": 1, "heads": 2, "inner": 16}


def model(name: str, outputs: int = 3, dims: tuple[int, ...] = (6,)) -> nn.Module:
    torch.manual_seed(0)
    return build_long_form(name, dims, outputs, **(SMALL if "transformer" in name else {}))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_instances_are_chosen_whole_and_at_least_one() -> None:
    tokens = random_tokens([40, 25, 1, 0])
    share = []
    for seed in range(200):
        chosen = choose_instances(tokens, generator(seed))
        assert not (chosen & ~tokens.valid).any()
        assert chosen.any(dim=1).tolist() == [True, True, True, False]
        for row in range(3):
            for who in range(4):
                mine = chosen[row][tokens.valid[row] & (tokens.instance[row] == who)]
                assert mine.all() or not mine.any()
        share.append(chosen[0].float().mean())
    # Four instances: one of them at least, so 0.15 + 0.85^4 / 4.
    assert torch.stack(share).mean() == pytest.approx(0.15 + 0.85**4 / 4, abs=0.04)


@pytest.mark.parametrize(("passes", "expected"), [(1, (0.8, 0.1, 0.1)), (2, (0.88, 0.11, 0.01))])
def test_most_chosen_features_are_hidden_some_replaced(passes: int, expected: tuple[float, ...]) -> None:
    tokens = random_tokens([60] * 40)
    counts = torch.zeros(3)
    for seed in range(8):
        masked = mask_instances(tokens, generator(seed), 0.5, passes)
        assert not (masked.hidden & ~masked.chosen).any()
        changed = (masked.tokens.feature != tokens.feature).any(dim=-1)
        assert not (changed & ~masked.chosen).any(), "what is not chosen stays"
        replaced = changed & ~masked.hidden
        known = {tuple(row.tolist()) for row in tokens.feature[tokens.valid]}
        assert all(tuple(row.tolist()) in known for row in masked.tokens.feature[replaced][:20]), "others' features"
        kept = masked.chosen & ~masked.hidden & ~changed
        counts += torch.tensor([mask.sum() for mask in (masked.hidden, replaced, kept)])
    torch.testing.assert_close(counts / counts.sum(), torch.tensor(expected), atol=0.012, rtol=0)


def test_masking_repeats_and_keeps_sources_apart() -> None:
    tokens = random_tokens([60, 60], sources=2)
    feature = torch.where((tokens.source == 1)[..., None], 1000 + tokens.feature, tokens.feature)
    tokens = tokens._replace(feature=feature)
    one, two = mask_instances(tokens, generator(), 0.9), mask_instances(tokens, generator(), 0.9)
    torch.testing.assert_close(one.tokens.feature, two.tokens.feature)
    assert ((one.tokens.feature > 500).all(dim=-1) == (tokens.source == 1)).all()
    assert torch.equal(tokens.feature, feature), "the input stays"


def test_every_instance_is_covered_once() -> None:
    tokens = random_tokens([40, 25, 0])
    for rounds in (1, 3, 10):
        masks = cover_instances(tokens, rounds)
        assert torch.equal(masks.sum(dim=0), tokens.valid.long())
    with pytest.raises(ValueError, match="rounds is 0"):
        cover_instances(tokens, 0)


def test_masked_instance_losses_by_definition() -> None:
    logits, target = torch.randn(2, 5, 7, generator=generator()) * 2
    p, q = target.softmax(1), logits.softmax(1)
    torch.testing.assert_close(masked_instance_loss(logits, target), -(p * q.log()).sum() / 5)
    p, q = target.sigmoid(), logits.sigmoid()
    both = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum() / 35
    torch.testing.assert_close(masked_instance_loss(logits, target, "sigmoid"), both)
    assert masked_instance_loss(target, target, "sigmoid").item() == pytest.approx(0, abs=1e-6)
    assert masked_instance_loss(logits[:0], target[:0]).item() == 0
    with pytest.raises(ValueError, match="form is 'mse'; allowed: softmax, sigmoid"):
        masked_instance_loss(logits, target, "mse")  # type: ignore[arg-type]


def test_compatibility_loss_by_definition() -> None:
    v = torch.randn(6, 4, generator=generator())
    for temperature in (1.0, 0.2):
        terms = []
        for i in range(6):
            scores = {j: (v[i] @ v[j] / temperature).exp() for j in range(6) if j != i}
            terms.append(-(scores[(i + 3) % 6] / sum(scores.values())).log())
        torch.testing.assert_close(compatibility_loss(v, temperature), torch.stack(terms).mean())
    with pytest.raises(ValueError, match="there are 5 spans; compatibility needs pairs"):
        compatibility_loss(v[:5])
    assert CompatibilityHead(16)(torch.zeros(2, 16)).shape == (2, 128)
    with pytest.raises(ValueError, match="form is 'x'; allowed: thesis, released"):
        CompatibilityHead(16, "x")  # type: ignore[arg-type]


def test_late_fusion_trains_two_linear_layers() -> None:
    torch.manual_seed(0)
    context, own = InstanceHead(16, 5), (torch.randn(5, 6), torch.randn(5))
    head = LateFusionHead(context, 6, own)
    trained = [name for name, parameter in head.named_parameters() if parameter.requires_grad]
    assert trained == ["context.decoder.weight", "context.decoder.bias", "own.weight", "own.bias"]
    tokens, z = torch.randn(3, 16), torch.randn(3, 6)
    torch.testing.assert_close(head(tokens, z), context(tokens) + z @ own[0].T + own[1])
    torch.testing.assert_close(head(tokens, z, fused=False), context(tokens))


@pytest.mark.parametrize("name", LONG_FORM)
@pytest.mark.parametrize("outputs", [1, 3])
def test_every_model_scores_spans_and_padding_changes_nothing(name: str, outputs: int) -> None:
    net = model(name, outputs, (6, 4)).eval()
    counts = [9, 4, 0]
    tokens = random_tokens(counts, sources=2)
    scores = net(tokens)
    assert scores.shape == (3, outputs) and scores.isfinite().all()
    for row, count in enumerate(counts):
        torch.testing.assert_close(scores[row : row + 1], net(part(tokens, row, max(count, 1))), rtol=1e-4, atol=1e-5)
    net.train()(tokens).square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_baselines_by_definition() -> None:
    tokens = random_tokens([5])
    z = tokens.feature[0]
    for name, pooled in (("average", z.mean(0)), ("max", z.amax(0))):
        net: Any = model(name).eval()
        torch.testing.assert_close(net(tokens)[0], net.head.linear(pooled))
    net = model("short_term").eval()
    torch.testing.assert_close(net(tokens)[0].exp(), net.heads[0].linear(z).softmax(-1).mean(0))
    net = model("short_term", 1).eval()
    torch.testing.assert_close(net(tokens)[0], net.heads[0].linear(z).mean(0))


def who_came_first(rows: int, seed: int) -> tuple[Tokens, torch.Tensor]:
    """Two kinds of people, one in the first and one in the last seconds; the label: which. No box alone shows it."""
    tokens = random_tokens([16] * rows, seed=seed)
    label = torch.randint(2, (rows,), generator=generator(seed + 1))
    second = torch.arange(16)
    kind = (second >= 8).long() ^ label[:, None]
    time = torch.stack([second, 15 - second, second - 7], dim=-1).expand(rows, 16, 3)
    feature = torch.cat([F.one_hot(kind, 2).float(), tokens.feature[..., 2:]], dim=-1)
    return tokens._replace(feature=feature, time=time, instance=kind), label


def test_only_the_transformer_learns_who_came_first() -> None:
    accuracy = {}
    for name in LONG_FORM:
        torch.manual_seed(1)
        options = {"width": 32, "layers": 2, "heads": 4, "inner": 64, "dropout": 0.0} if "transformer" in name else {}
        net = build_long_form(name, (6,), 2, **options)
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
        for step in range(120):
            tokens, label = who_came_first(16, 2 * step)
            loss = F.cross_entropy(net(tokens), label)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        tokens, label = who_came_first(400, 99_999)
        accuracy[name] = (net.eval()(tokens).argmax(-1) == label).float().mean().item()
    assert min(accuracy["object_transformer"], accuracy["frame_transformer"]) > 0.9, accuracy
    assert max(accuracy["average"], accuracy["max"], accuracy["short_term"]) < 0.65, accuracy


def test_unknown_models_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown long-form model 'lstm'; allowed: .*object_transformer"):
        build_long_form("lstm", (6,), 2)
