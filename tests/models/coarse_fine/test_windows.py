"""The Fine stream on windows: the same network, with the memory of one window."""

import torch
from torch import Tensor, nn

from models.coarse_fine import build_frame_network
from models.coarse_fine.windows import Rows, fine_in_windows
from models.encoders.ragged import padded
from models.norm import freeze_statistics
from pipeline.training.replay import replayed


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_frame_network("coarse_fine", classes=5, base_width=8).eval()


def test_one_window_is_the_whole_video() -> None:
    net, video, lengths = network(), torch.randn(2, 3, 8, 40, 64), torch.tensor([8, 5])
    with torch.inference_mode():
        whole = net.fine_features(video, padded(lengths, 8))
        found = fine_in_windows(net, video, lengths)  # type: ignore[arg-type]
    for a, b in zip((*found.levels, found.last), (*whole.levels, whole.last), strict=True):
        assert a.shape == b.shape and torch.allclose(a[0], b[0], atol=1e-5)
        assert torch.allclose(a[1, :, :5], b[1, :, :5], atol=1e-5)


def test_windows_are_encoded_alone_and_stand_in_their_order() -> None:
    net, video, lengths = network(), torch.randn(2, 3, 10, 32, 32), torch.tensor([10, 6])
    with torch.inference_mode():
        found = fine_in_windows(net, video, lengths, window=4)  # type: ignore[arg-type]
        second = net.fine_features(video[:, :, 4:8], padded(torch.tensor([4, 2]), 4))
    assert found.last.shape[2] == 12 and found.lengths.tolist() == [10, 6]
    assert torch.allclose(found.last[0, :, 4:8], second.last[0], atol=1e-5)
    assert torch.allclose(found.levels[1][1, :, 4:6], second.levels[1][1, :, :2], atol=1e-5)


def test_replay_gives_the_gradient_of_training_directly() -> None:
    net = network().train()
    freeze_statistics(net)
    for child in net.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.0
    video, lengths = torch.randn(2, 3, 9, 32, 32), torch.tensor([9, 5])

    def gradients(chunk: int) -> dict[str, Tensor]:
        def encode(rows: Rows, module: nn.Module, inputs: Tensor) -> Tensor:
            return replayed(rows, module, inputs, chunk=chunk) if chunk else rows(module, inputs)

        net.zero_grad(set_to_none=True)
        fine = fine_in_windows(net, video, lengths, 3, encode)  # type: ignore[arg-type]
        net.coarse_logits(video, fine, None, padded(lengths, 9)).square().sum().backward()
        return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}

    direct, found = gradients(0), gradients(2)
    assert set(direct) == set(found) and any(name.startswith("fine.encoder.stem") for name in found)
    for name, gradient in direct.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()) + 1e-9), name
