"""Looking at what a temporal module does: the same as the module's own result, and the encoder stays as it was."""

import pytest
import torch

from models.encoders import build_encoder
from models.encoders.staged import StagedEncoder
from models.temporal.look import look
from models.temporal.plug import plugged
from tests.models.temporal.encoders import alive, clips


def encoder(name: str, encoder_name: str = "x3d_s", **options: object) -> StagedEncoder:
    torch.manual_seed(0)
    made = plugged(build_encoder(encoder_name, base_width=8), name, "res2", **options)
    alive(made)
    return made


def test_bins_are_sums_of_the_frames_as_weighted() -> None:
    found = look(encoder("sgs", bins=64), clips(3, 8))
    assert found.weights is not None and found.positions is None
    assert found.before.shape[:2] == (3, 8) and found.weights.shape == (3, found.after.shape[1], 8)
    assert found.frames.tolist() == (found.weights.sum(dim=2) > 0).sum(dim=1).tolist()
    assert 3 < found.frames.max() == found.after.shape[1]
    # Before the ReLU means are of magnitudes; a bin of a single frame is that frame times its weight.
    single = [(n, b) for n in range(3) for b in range(int(found.frames[n])) if (found.weights[n, b] > 0).sum() == 1]
    for n, b in single:
        t = int(found.weights[n, b].argmax())
        assert torch.allclose(found.after[n, b], found.weights[n, b, t] * found.before[n, t], atol=1e-5)
    assert single


def test_grid_locations_are_in_frames_of_the_clip() -> None:
    found = look(encoder("grid_pool", alpha=0.5), clips(2, 8))
    assert found.positions is not None and found.weights is None
    assert found.positions.shape == (2, 5) == tuple(found.after.shape[:2])
    assert found.positions[:, 0].tolist() == [0, 0] and torch.allclose(found.positions[:, -1], torch.tensor(7.0))
    assert bool((found.positions.diff(dim=1) > 0).all())


def test_the_fast_pathway_of_slowfast() -> None:
    found = look(encoder("slowfast_sgs", "slowfast_8x8_r18"), clips(1, 8))
    assert found.before.shape[:2] == (1, 8) and found.weights is not None


def test_modes_and_hooks_are_put_back() -> None:
    one = encoder("sgs")
    one.train()
    look(one, clips(1, 4))
    assert all(child.training for child in one.modules()) and not one.after["res2"]._forward_hooks


def test_there_must_be_one_module() -> None:
    plain = build_encoder("x3d_s", base_width=8)
    assert isinstance(plain, StagedEncoder)
    with pytest.raises(ValueError, match="0 temporal modules"):
        look(plain, clips(1, 4))
