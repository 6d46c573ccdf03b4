"""Peaks of memory: measured against known allocations, traced against measured, and flat in L for gradient replay."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from models.encoders import build_encoder
from models.encoders.snippets import snippet_features
from models.norm import train_mode
from pipeline.training.memory import TracedMemory, cpu_workspace, measured_peak
from pipeline.training.recompute import recompute
from pipeline.training.replay import Lazy, replayed

CPU = torch.device("cpu")
MIB = 2**20


pytestmark = pytest.mark.usefixtures("one_thread")


def allocations() -> Tensor:
    first = torch.ones(MIB // 4)  # 1 MiB
    second = torch.ones(3 * MIB // 4)  # 3 MiB
    del first
    return second[:10].view(2, 5).mul_(2).clone()


def test_measured_and_traced_peaks_of_known_allocations() -> None:
    assert abs(measured_peak(allocations, CPU) - 4 * MIB) < 1000
    with TracedMemory() as traced:
        kept = allocations()
    assert abs(traced.peak - 4 * MIB) < 1000
    assert traced.largest == 3 * MIB
    assert traced.live == kept.nbytes
    del kept
    assert traced.live == 0


def test_saved_activations_count_until_the_backward_pass() -> None:
    x = torch.ones(MIB // 4, requires_grad=True)
    with TracedMemory() as traced:
        y = x.exp()  # saves its result
        z = y.sin()  # saves its argument
        assert traced.live == 2 * MIB
        total = z.sum()
        del y, z
        assert MIB <= traced.live < MIB + 1000
        total.backward()
    assert x.grad is not None
    del total
    assert traced.live == MIB  # the gradient


@pytest.mark.parametrize(("channels", "out", "kernel", "stride"), [(64, 96, 3, 1), (3, 64, 7, 2), (128, 256, 3, 2)])
def test_workspace_of_single_convolutions(channels: int, out: int, kernel: int, stride: int) -> None:
    """The rule for what oneDNN allocates inside, operator by operator."""
    x = torch.randn(4, channels, 24, 24).to(memory_format=torch.channels_last).requires_grad_()
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)

    def forward() -> Tensor:
        result: Tensor = conv(x)
        return result

    result = forward()
    inside = 2 * conv.weight.nbytes
    assert measured_peak(forward, CPU) == pytest.approx(result.nbytes + inside, rel=0.02, abs=20_000)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, TracedMemory(cpu_workspace) as traced:
        fake_conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        start = traced.live
        fake_conv(fake.from_tensor(x))
    assert traced.peak - start == pytest.approx(result.nbytes + inside, abs=x.nbytes)


def make_encoder() -> nn.Module:
    torch.manual_seed(0)
    encoder = build_encoder("tsm_resnet18", base_width=8)
    train_mode(encoder, "frozen")
    return encoder


def step_peak(encoder: nn.Module, count: int) -> int:
    clips = torch.zeros(count, 3, 4, 48, 48, dtype=torch.uint8)

    def step() -> None:
        snippet_features(encoder, clips).square().sum().backward()
        encoder.zero_grad(set_to_none=True)

    return measured_peak(step, CPU)


def test_recomputing_activations_saves_memory() -> None:
    plain, encoder = make_encoder(), make_encoder()
    recompute([block for stage in range(1, 5) for block in encoder.get_submodule(f"layer{stage}").children()])
    assert step_peak(encoder, 16) < 0.75 * step_peak(plain, 16)


def test_replays_encoder_phases_are_flat_in_L() -> None:
    """From L = 25 to 400 at a fixed chunk, within 10 %; direct training grows with L."""
    encoder, few = make_encoder(), torch.zeros(5, 3, 4, 48, 48, dtype=torch.uint8)
    peaks = []
    for length in (25, 400):
        kept: list[Tensor] = []
        lazy = Lazy(length, lambda start, stop: few[: stop - start])

        def encode(lazy: Lazy = lazy, kept: list[Tensor] = kept) -> None:
            kept.append(replayed(snippet_features, encoder, lazy, chunk=5))

        def replay(kept: list[Tensor] = kept) -> None:
            kept[0].backward(kept[1])

        first = measured_peak(encode, CPU)
        kept.append(torch.ones_like(kept[0]))
        second = measured_peak(replay, CPU)
        encoder.zero_grad(set_to_none=True)
        peaks.append((first, second))
    (encode_25, replay_25), (encode_400, replay_400) = peaks
    assert encode_400 <= 1.1 * encode_25
    assert replay_400 <= 1.1 * replay_25
    assert step_peak(encoder, 25) > 2.5 * replay_400
