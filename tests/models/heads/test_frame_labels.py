"""Frame-wise multi-label detection: head and loss (Coarse-Fine paper, section 4.1)."""

import math

import pytest
import torch

from models.heads import build_head
from models.heads.frame_labels import at_frames, frame_label_loss


def test_head_labels_each_frame_on_its_own() -> None:
    torch.manual_seed(0)
    for x3d in (False, True):
        head = build_head("frame_labels", feature_dim=6, classes=4, x3d=x3d).eval()
        x = torch.randn(2, 6, 5, 3, 3)
        logits = head(x)
        assert logits.shape == (2, 4, 5)
        torch.testing.assert_close(head(x[:, :, 2:3]), logits[:, :, 2:3])
        torch.testing.assert_close(head(x.mean(dim=(3, 4), keepdim=True)), logits)


def test_loss_against_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 6, generator=generator)
    labels = (torch.rand(3, 4, 6, generator=generator) < 0.3).float()
    valid = torch.arange(6) < torch.tensor([[6], [4], [1]])

    def entropy(p: float, y: float) -> float:
        return -(y * math.log(p) + (1 - y) * math.log(1 - p))

    every, clip = [], []
    for n in range(3):
        frames = [t for t in range(6) if valid[n, t]]
        for k in range(4):
            p = [1 / (1 + math.exp(-float(logits[n, k, t]))) for t in frames]
            y = [float(labels[n, k, t]) for t in frames]
            every += [entropy(a, b) for a, b in zip(p, y, strict=True)]
            clip.append(entropy(max(p), max(y)))
    localisation, classification = sum(every) / len(every), sum(clip) / len(clip)
    loss = frame_label_loss(logits, labels, valid)
    assert float(loss.localisation) == pytest.approx(localisation, rel=1e-5)
    assert float(loss.classification) == pytest.approx(classification, rel=1e-5)
    assert float(loss.total) == pytest.approx((localisation + classification) / 2, rel=1e-5)
    worse = labels.clone()
    worse[2, :, 3:] = 1  # past the third clip's end
    assert frame_label_loss(logits, worse, valid).total == loss.total


def test_logits_are_brought_to_the_labels_frames() -> None:
    logits = torch.tensor([[[0.0, 4.0]]])
    assert at_frames(logits, 4).flatten().tolist() == [0, 1, 3, 4]
    torch.testing.assert_close(at_frames(logits, 3, align_corners=True).flatten(), torch.tensor([0.0, 2.0, 4.0]))
    labels = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    assert frame_label_loss(logits, labels).total == frame_label_loss(at_frames(logits, 4), labels).total
    with pytest.raises(ValueError, match=r"\[N, K, T\]"):
        frame_label_loss(logits, torch.zeros(1, 2, 4))
