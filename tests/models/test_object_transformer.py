"""The Object Transformer against eq. 8.1 and BERT's encoder written out, its sizes, and what must not matter."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.costs import parameters
from models.heads.long_form import CompatibilityHead, InstanceHead
from models.object_transformer import ObjectTransformer, Tokens, frame_tokens
from tests.models.spans import part, random_tokens

SMALL: dict[str, Any] = {"feature_dims": (6,), "width": 16, "layers": 2, "heads": 4, "inner": 24}


def small(**options: Any) -> ObjectTransformer:
    torch.manual_seed(0)
    model = ObjectTransformer(**SMALL | options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def test_sizes_are_the_published_ones() -> None:
    released = ObjectTransformer(form="released")
    heads = [InstanceHead(768, 80), CompatibilityHead(768, "released")]
    # 26.36 M: counted on the released code with its pre-training heads; 21.26 M and 3.17 M of it here.
    assert parameters(released) + sum(map(parameters, heads)) == 26_364_112
    assert parameters(released.layers) == 21_263_616
    assert parameters(released.embedding) == 3_165_696
    thesis = ObjectTransformer((2304, 1024))
    tables, features = 3 * 258 * 768, (2304 + 1024) * 768 + 2304 + 1024
    assert parameters(thesis.embedding) == tables + features + 4 * 768 + 2 * 768 + 2 * 768
    assert parameters(thesis) == 21_263_616 + parameters(thesis.embedding), "no layer on [CLS]"


def by_hand(model: ObjectTransformer, tokens: Tokens, released: bool) -> Tensor:
    """One span without padding: [special + N, width], layer by layer."""
    w = {name: value.double() for name, value in model.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    rows = []
    for n in range(tokens.feature.shape[1]):
        y = w["embedding.feature.0.weight"] @ tokens.feature[0, n].double()
        time, shot, who = tokens.time[0, n].tolist(), tokens.shot[0, n].tolist(), int(tokens.instance[0, n])
        box = tokens.box[0, n].double()
        if released:
            y = y + w["embedding.feature.0.bias"] + w["embedding.spatial.weight"] @ box + w["embedding.spatial.bias"]
            for i, shift in enumerate((4, 4, 4 + 129)):
                y = (
                    y
                    + w[f"embedding.time.{i}.weight"][time[i] + shift]
                    + w[f"embedding.shot.{i}.weight"][shot[i] + shift]
                )
            y = y + w["embedding.instance.weight"][who + 4]
        else:
            y = y + w["embedding.spatial.weight"] @ box[:4] + w["embedding.bias"]
            y = y + w["embedding.time.0.weight"][time[0]] + w["embedding.shot.0.weight"][shot[0]]
            y = y + w["embedding.instance.weight"][who]
        rows.append(y)
    if released:
        biases = w["embedding.feature.0.bias"] + w["embedding.spatial.bias"] + 0
        names = [f"embedding.{kind}.{i}.weight" for kind in ("time", "shot") for i in range(3)]
        special = [biases + sum(w[name][row] for name in [*names, "embedding.instance.weight"]) for row in (2, 3)]
    else:
        special = [w["embedding.cls"]]
    x = norm(torch.stack([*special, *rows]), "embedding.norm")
    for i in range(2):
        name = f"layers.{i}"
        query, key, value = (x @ w[f"{name}.self_attn.in_proj_weight"].T + w[f"{name}.self_attn.in_proj_bias"]).chunk(
            3, dim=1
        )
        heads = []
        for a in range(0, 16, 4):
            share = (query[:, a : a + 4] @ key[:, a : a + 4].T / 2).softmax(dim=1)
            heads.append(share @ value[:, a : a + 4])
        mixed = torch.cat(heads, 1) @ w[f"{name}.self_attn.out_proj.weight"].T + w[f"{name}.self_attn.out_proj.bias"]
        x = norm(x + mixed, f"{name}.norm1")
        inner = x @ w[f"{name}.linear1.weight"].T + w[f"{name}.linear1.bias"]
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = norm(x + inner @ w[f"{name}.linear2.weight"].T + w[f"{name}.linear2.bias"], f"{name}.norm2")
    return x


@pytest.mark.parametrize("form", ["thesis", "released"])
def test_it_is_the_papers_model_and_padding_changes_nothing(form: Any) -> None:
    model = small(form=form)
    counts = [9, 4, 7]
    tokens = random_tokens(counts)
    encoded = model(tokens)
    for row, count in enumerate(counts):
        expected = by_hand(model, part(tokens, row, count), form == "released").float()
        torch.testing.assert_close(encoded.tokens[row, :count], expected[-count:], rtol=1e-4, atol=1e-5)
        video = expected[0]
        if form == "released":
            video = torch.tanh(model.pooler(video))
        torch.testing.assert_close(encoded.video[row], video, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["thesis", "released"])
def test_a_hidden_feature_is_not_seen_but_its_place_is(form: Any) -> None:
    model, tokens = small(form=form), random_tokens([6, 5])
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[0, 2] = hidden[1, 4] = True
    other = tokens.feature.clone()
    other[hidden] = 99.0
    torch.testing.assert_close(model(tokens, hidden).video, model(tokens._replace(feature=other), hidden).video)
    moved = tokens.box.clone()
    moved[0, 2] += 0.5
    assert not torch.allclose(model(tokens._replace(box=moved), hidden).video[0], model(tokens, hidden).video[0])
    assert not torch.allclose(model(tokens, hidden).video, model(tokens).video)


def test_order_of_tokens_does_not_matter() -> None:
    model, tokens = small(), random_tokens([8])
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    turned = Tokens(*(value[:, order] for value in tokens))
    torch.testing.assert_close(model(turned).video, model(tokens).video, rtol=1e-4, atol=1e-5)


def test_sources_have_features_of_their_own() -> None:
    model = small(feature_dims=(6, 3))
    tokens = random_tokens([8], sources=2)
    assert tokens.source.unique().tolist() == [0, 1]
    objects = (tokens.source == 1)[..., None]
    beyond = torch.where(objects & (torch.arange(6) >= 3), 7.0, tokens.feature)
    torch.testing.assert_close(model(tokens._replace(feature=beyond)).video, model(tokens).video)
    within = torch.where(objects & (torch.arange(6) < 3), 7.0, tokens.feature)
    assert not torch.allclose(model(tokens._replace(feature=within)).video, model(tokens).video)
    swapped = tokens._replace(source=1 - tokens.source)
    assert not torch.allclose(model(swapped).video, model(tokens).video)


def test_a_span_without_a_token_and_one_of_far_indices() -> None:
    for form in ("thesis", "released"):
        model = small(form=form)
        empty = model(random_tokens([0, 3]))
        assert empty.video.isfinite().all()
        torch.testing.assert_close(empty.video[0], model(random_tokens([0])).video[0], rtol=1e-4, atol=1e-5)
        far = random_tokens([5])
        far = far._replace(shot=far.shot + 10_000, instance=far.instance + 500)
        assert model(far).video.isfinite().all()


def test_attention_is_a_share() -> None:
    for form in ("thesis", "released"):
        model, tokens = small(form=form), random_tokens([9, 4])
        shares = model.attention(tokens)
        assert shares.shape == (2, 9) and not shares[1, 4:].any()
        assert (shares >= 0).all() and (shares.sum(dim=1) < 1).all() and (shares.sum(dim=1) > 0.2).all()


@pytest.mark.parametrize("form", ["thesis", "released"])
def test_attention_of_a_hidden_token_is_what_the_layer_computes(form: str) -> None:
    """Against the weights of the last layer's own ``MultiheadAttention`` within ``forward``, all tokens at once."""
    model, tokens = small(form=form), random_tokens([9, 4])
    hidden = torch.zeros(2, 9, dtype=torch.bool)
    hidden[0, 5] = hidden[1, 2] = True
    seen: list[Tensor] = []
    hook = model.layers[-1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    outputs = model(tokens, hidden).tokens
    hook.remove()
    (x,) = seen
    special = x.shape[1] - 9
    padding = torch.cat([torch.zeros(2, special, dtype=torch.bool), ~tokens.valid], dim=1)
    block: Any = model.layers[-1]
    mixed, shares = block.self_attn(x, x, x, key_padding_mask=padding, need_weights=True)
    y = block.norm1(x + mixed)
    torch.testing.assert_close(outputs, block.norm2(y + block.linear2(block.activation(block.linear1(y))))[:, special:])
    for of in ([5, 2], [0, 3]):
        found = model.attention(tokens, hidden, torch.tensor(of))
        torch.testing.assert_close(found, shares[torch.arange(2), torch.tensor(of) + special, special:])
        assert not found[1, 4:].any()
    torch.testing.assert_close(model.attention(tokens, hidden), shares[:, 0, special:])
    assert (model.attention(tokens, hidden) - model.attention(tokens)).abs().max() > 1e-4


def test_frames_are_means_of_their_boxes() -> None:
    tokens = random_tokens([5, 2])
    time = tokens.time.clone()
    time[0, :5, 0] = torch.tensor([0, 0, 3, 3, 3])
    time[1, :2, 0] = torch.tensor([1, 1])
    frames = frame_tokens(tokens._replace(time=time))
    assert frames.valid.tolist() == [[True, False, False, True], [False, True, False, False]]
    torch.testing.assert_close(frames.feature[0, 3], tokens.feature[0, 2:5].mean(dim=0))
    torch.testing.assert_close(frames.feature[1, 1], tokens.feature[1, :2].mean(dim=0))
    assert frames.time[0, 3].tolist() == [3, 0, 2] and frames.time[0, 0].tolist() == [0, 3, -1]
    assert frame_tokens(random_tokens([0])).valid.tolist() == [[False]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "bert"}, "form is 'bert'; allowed: thesis, released"),
        ({"uses": ("time", "place")}, "uses names place; allowed: spatial, time, shot, instance"),
        ({"feature_dims": ()}, "feature_dims is"),
        ({"width": 18}, "width is 18, which 4 heads do not divide"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
