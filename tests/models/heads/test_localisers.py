"""The contract of heads that find segments, for each of them."""

import pytest
import torch
from torch import Tensor, nn

from models.heads import LOCALISERS, build_head
from models.heads.localiser import Localiser
from models.heads.standardise import StandardisedLocaliser

SMALL = {
    "gtad": {"hidden": 32, "groups": 8, "inner_points": 8, "aligned": 24, "localisation": 16},
    "actionformer": {"hidden": 32, "heads": 2, "window": 7, "levels": 4},
}


def small(name: str, fresh: bool = False) -> Localiser:
    torch.manual_seed(0)
    head = build_head(name, feature_dim=16, **SMALL[name])
    with torch.no_grad():
        if fresh:
            return head  # type: ignore[return-value]
        for parameter in head.parameters():  # as after a training: what starts at 0 or nearly so must matter here
            parameter.add_(0.05 * torch.randn_like(parameter))
    return head  # type: ignore[return-value]


def parts(output: object) -> list[Tensor]:
    return [part for part in output if isinstance(part, Tensor)]  # type: ignore[attr-defined]


@pytest.fixture(params=LOCALISERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_localiser_has_small_sizes_here() -> None:
    assert set(SMALL) == set(LOCALISERS)


@pytest.mark.parametrize("length", [1, 2, 7, 25, 33, 100])
def test_any_length_gives_finite_proposals_inside_the_video(name: str, length: int) -> None:
    head = small(name).eval()  # type: ignore[attr-defined]
    names = {key: value.shape for key, value in head.state_dict().items()}
    output = head(torch.randn(2, 16, length))
    found = head.proposals(output)
    assert len(found) == 2
    for segments, scores in found:
        assert segments.shape == (len(scores), 2)
        assert len(scores) > 0 or length == 1  # ActionFormer leaves out segments without length
        assert segments.isfinite().all() and (segments >= 0).all() and (segments <= 1).all()
        assert (segments[:, 0] <= segments[:, 1]).all()
        assert (scores >= 0).all() and (scores <= 1).all()
        assert not segments.requires_grad and not scores.requires_grad
    assert names == {key: value.shape for key, value in head.state_dict().items()}


@pytest.mark.parametrize("segments", [[], [[0.2, 0.21]], [[0.0, 1.0]], [[0.5, 0.5]], [[0.1, 0.6], [0.5, 1.2]]])
def test_loss_and_gradients_are_finite_for_any_labels(name: str, segments: list[list[float]]) -> None:
    head = small(name).train()  # type: ignore[attr-defined]
    rows = torch.tensor(segments).view(-1, 2)
    loss = head.loss(head(torch.randn(2, 16, 16)), head.labels([rows, rows[:0]], 16), torch.Generator().manual_seed(0))
    assert loss._fields[0] == "total"
    assert torch.stack(loss).isfinite().all()
    loss.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


def test_a_video_does_not_depend_on_its_batch(name: str) -> None:
    head, features = small(name).eval(), torch.randn(3, 16, 21)  # type: ignore[attr-defined]
    together = parts(head(features))
    for index in range(3):
        for a, b in zip(together, parts(head(features[index : index + 1])), strict=True):
            torch.testing.assert_close(a[index] if a.dim() > 1 else a, b[0] if b.dim() > 1 else b, rtol=0, atol=1e-5)


def test_low_precision_gives_float32_and_the_same_places(name: str) -> None:
    head, features = small(name).eval(), torch.randn(1, 16, 24)  # type: ignore[attr-defined]
    with torch.autocast("cpu", torch.bfloat16):
        low = parts(head(features))
    for a, b in zip(low, parts(head(features)), strict=True):
        assert a.dtype == b.dtype != torch.bfloat16
        assert (a.float() - b.float()).norm() <= 0.1 * b.float().norm()


def test_gradients_reach_the_features(name: str) -> None:
    """End-to-end training lives on it."""
    head = small(name).train()  # type: ignore[attr-defined]
    features = torch.randn(2, 16, 12, requires_grad=True)
    segments = [torch.tensor([[0.1, 0.5]]), torch.tensor([[0.3, 0.9]])]
    head.loss(head(features), head.labels(segments, 12), torch.Generator().manual_seed(0)).total.backward()
    assert features.grad is not None
    assert (features.grad.norm(dim=1) > 0).all()


def test_training_finds_the_action(name: str) -> None:
    """Steps on one video whose action is visible in the features: the best proposal is the action."""
    torch.manual_seed(2)
    features = 0.3 * torch.randn(1, 16, 20)
    features[:, :8, 6:15] += 1
    head = small(name, fresh=True).train()  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = head.loss(head(features), head.labels([torch.tensor([[6 / 20, 15 / 20]])], 20), generator).total
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    ((segments, scores),) = head.eval().proposals(head(features))
    start, end = segments[scores.argmax()].tolist()
    assert abs(start - 6 / 20) <= 0.05
    assert abs(end - 15 / 20) <= 0.05


def test_standardised_is_a_localiser_too(name: str) -> None:
    torch.manual_seed(0)
    wrapped = StandardisedLocaliser(16, build_head(name, feature_dim=16, **SMALL[name])).eval()
    features = 5 + 100 * torch.randn(4, 16, 10)
    wrapped.standardise.fit(features)
    output = wrapped(features)
    plain = wrapped.head(wrapped.standardise(features))
    for a, b in zip(parts(output), parts(plain), strict=True):
        assert torch.equal(a, b)
    labels = wrapped.labels([torch.tensor([[0.2, 0.6]])] * 4, 10)
    assert wrapped.loss(output, labels, torch.Generator().manual_seed(0)).total > 0
    assert len(wrapped.proposals(output)) == 4
