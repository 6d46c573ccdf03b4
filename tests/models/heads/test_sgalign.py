"""SGAlign: the fused form against the published one, and both against the rule."""

import math

import pytest
import torch
from torch import Tensor

from models.heads.anchors import anchor_cells, valid_anchors
from models.heads.compat import Compat
from models.heads.sgalign import SGAlign, align_operator, align_plain

CPU = torch.device("cpu")


def literal_align(signal: list[float], low: float, high: float, points: int) -> list[float]:
    """ROIAlign in one dimension with sampling ratio 0, one sample at a time."""
    length = len(signal)
    bin_width = max(high - low, 1.0) / points
    samples = math.ceil(bin_width)
    result = []
    for point in range(points):
        total = 0.0
        for i in range(samples):
            x = low + point * bin_width + (i + 0.5) * bin_width / samples
            if x < -1 or x > length:
                continue
            x = min(max(x, 0.0), length - 1)
            left = min(int(x), length - 1)
            right = min(left + 1, length - 1)
            total += signal[left] * (1 - (x - left)) + signal[right] * (x - left)
        result.append(total / samples)
    return result


@pytest.mark.parametrize("compat", ["released", "fixed"])
@pytest.mark.parametrize("points", [1, 4, 7])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_plain_form_follows_the_rule(compat: Compat, points: int, length: int) -> None:
    signal = torch.randn(1, 1, length, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
    aligned = align_plain(signal, length, points, compat)[0, :, 0]
    row = 0
    for d in range(length):
        for s in range(length - d):
            edge = 0.5 if compat == "fixed" else 0.0
            low, high = s - edge - (d + 1) / 2, s + d + edge + (d + 1) / 2
            expected = torch.tensor(literal_align(signal[0, 0].tolist(), low, high, points), dtype=torch.float64)
            torch.testing.assert_close(aligned[row], expected, rtol=0, atol=1e-12)
            row += 1
    assert row == len(aligned)


def test_fixed_region_is_twice_the_labelled_segment() -> None:
    """A ramp sampled at one point gives the region's centre; the fixed and released centres agree with the label's."""
    ramp = torch.arange(40, dtype=torch.float64).view(1, 1, -1)
    cells = anchor_cells(40, 8, CPU)
    duration, start = cells // 40, cells % 40
    inside = (start > 8) & (start < 24)
    for compat in ("fixed", "released"):
        centre = align_plain(ramp, 8, 1, compat)[0, :, 0, 0]
        label = (start + (start + duration + 1)) / 2 - 0.5  # the label's segment in snippet centres
        torch.testing.assert_close(centre[inside], label[inside].double())
        first, second = align_plain(ramp, 8, 2, compat)[0, :, 0].unbind(dim=1)
        width = 2 * (second - first)[inside]
        expected = 2 * (duration + 1) if compat == "fixed" else 2 * duration + 1
        torch.testing.assert_close(width, expected[inside].double())


@pytest.mark.parametrize("compat", ["released", "fixed"])
@pytest.mark.parametrize(("length", "max_duration"), [(1, 1), (13, 13), (20, 7)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fused_equals_plain_in_values_and_gradients(
    compat: Compat, length: int, max_duration: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(3)
    layer = SGAlign(12, 10, 32, 4, compat).to(dtype)
    sources = [torch.randn(3, 12, length, dtype=dtype, requires_grad=True) for _ in range(2)]
    anchors = int(valid_anchors(length, max_duration).sum())
    weights = torch.randn(3, anchors, 10, dtype=dtype)
    results: list[tuple[Tensor, ...]] = []
    for form in ("fused", "plain"):
        layer.form = form
        out = layer(*sources, max_duration)
        assert out.shape == (3, anchors, 10)
        results.append((out, *torch.autograd.grad((out * weights).sum(), [*sources, *layer.parameters()])))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for fused, plain in zip(*results, strict=True):
        assert (fused - plain).norm() <= tolerance * plain.norm()


def test_operator_has_the_known_size() -> None:
    """Non-zeros at L = 100, released anchors, counted sample by sample (774,380 with 784 taps of weight exactly 0)."""
    operator = align_operator(100, 100, (32, 4), "released", torch.float32, CPU)
    assert (len(operator.rows.offsets), operator.rows.columns) == (5050, 3600)
    assert len(operator.rows.weights) == len(operator.transposed.weights) == 773_596
    assert operator is align_operator(100, 100, (32, 4), "released", torch.float32, CPU)


def test_operator_made_without_gradients_still_trains() -> None:
    layer = SGAlign(4, 4)
    x = torch.randn(1, 4, 11)
    with torch.inference_mode():
        layer(x, x, 11)
    layer(x, x, 11).sum().backward()
    assert layer.projection.weight.grad is not None


def test_fused_is_deterministic_and_makes_no_large_tensor() -> None:
    torch.manual_seed(0)
    layer, x = SGAlign(32, 64), torch.randn(2, 32, 50, requires_grad=True)
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        first = layer(x, x, 50)
    subgraphs = 2 * 50 * 50 * 32 * 36  # as published, invalid anchors included
    assert largest <= subgraphs / 20
    gradients = torch.autograd.grad(first.square().sum(), [x, *layer.parameters()])
    second = layer(x, x, 50)
    assert torch.equal(first, second)
    again = torch.autograd.grad(second.square().sum(), [x, *layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="form is 'sparse'; allowed: fused, plain"):
        SGAlign(4, 4, form="sparse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="compat is 'old'; allowed: fixed, released"):
        SGAlign(4, 4, compat="old")  # type: ignore[arg-type]
    x = torch.randn(1, 4, 5)
    with pytest.raises(ValueError, match="max_duration is 6, it must be between 1 and the length 5"):
        SGAlign(4, 4)(x, x, 6)
