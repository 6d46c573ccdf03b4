"""A clip's result in evaluation: alone, in any batch and in any packing the same; temporal modules inside encoders."""

import copy
import itertools

import pytest
import torch
from torch import Tensor

from models.encoders import ENCODERS, build_encoder
from models.encoders.ragged import Layout, mean_per_clip, padded
from models.encoders.snippets import MEAN, STD
from models.encoders.staged import StagedEncoder
from models.encoders.tsm import tsm_resnet18
from models.temporal import TEMPORAL, build_temporal
from models.temporal.rows import chunks, encode_by_length, in_one_row
from models.temporal.sgs import SGS, slowfast_sgs
from models.temporal.tsm_stages import StagedTSM
from tests.models.temporal.encoders import alive, clips


def encoder_with(module_name: str, encoder_name: str, stage: str, **options: object) -> StagedEncoder:
    torch.manual_seed(0)
    encoder = StagedTSM(tsm_resnet18(8)) if encoder_name == "tsm" else build_encoder(encoder_name, base_width=8)
    channels = encoder.stage_channels[stage]
    encoder.plug(stage, build_temporal(module_name, channels=channels, **options))
    return alive(encoder)  # type: ignore[return-value]


def alone(encoder: StagedEncoder, pixels: Tensor) -> Tensor:
    return torch.cat([mean_per_clip(*encoder.encode(clip.unsqueeze(0))) for clip in pixels])


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("x3d_s", "stem"),
        ("x3d_s", "res2"),
        ("x3d_s", "res3"),
        ("i3d_r50", "res2"),
        ("r2plus1d_18", "res2"),
        ("resnet3d_18", "res2"),
        ("tsm", "res2"),
    ],
)
def test_sgs_in_any_batch(name: str, stage: str) -> None:
    form = "paper" if name == "x3d_s" else "released"  # whose distances to the mean spread also in random networks
    encoder = encoder_with("sgs", name, stage, form=form)
    pixels = clips(4, 24 if name == "r2plus1d_18" else 8)  # which thins time out eightfold
    with torch.no_grad():
        expected = alone(encoder, pixels)
        lengths = encoder.encode(pixels)[1].mask.flatten(1).sum(1)  # type: ignore[union-attr]
        assert len(set(lengths.tolist())) > 1
        scale = expected.abs().max()
        torch.testing.assert_close(mean_per_clip(*encoder.encode(pixels)) / scale, expected / scale, rtol=0, atol=2e-5)
        for most in (None, 2):
            found = encode_by_length(encoder, pixels, mean_per_clip, most)
            torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize("stage", ["stem", "res2"])
def test_one_row_gives_the_same(stage: str) -> None:
    encoder = encoder_with("sgs", "x3d_s", stage, packing="row")
    pixels = clips(4, 8)
    with torch.no_grad():
        features, layout = encoder.encode(pixels)
        assert features.shape[0] == 1 and layout is not None and layout.clips == 4
        expected = alone(encoder, pixels)
        scale = expected.abs().max()
        torch.testing.assert_close(mean_per_clip(features, layout) / scale, expected / scale, rtol=0, atol=2e-5)
        with pytest.raises(ValueError, match="4 clips in 1 rows"):
            encode_by_length(encoder, pixels, mean_per_clip)


def test_slowfast_in_blocks() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("slowfast_8x8_r18", base_width=8)
    encoder.plug("res2", slowfast_sgs(encoder.stage_channels["res2"]))
    alive(encoder)
    pixels = clips(3, 16)
    with torch.no_grad():
        expected = alone(encoder, pixels)
        scale = expected.abs().max()
        torch.testing.assert_close(mean_per_clip(*encoder.encode(pixels)) / scale, expected / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", sorted(set(TEMPORAL) - {"slowfast_sgs"}))
def test_every_module_inside_an_encoder(name: str) -> None:
    """The contract of the table: plugs in, trains all its parameters, and a clip does not depend on its batch."""
    encoder = encoder_with(name, "x3d_s", "res2")
    pixels = clips(3, 8)
    with torch.no_grad():
        expected = alone(encoder, pixels)
        scale = expected.abs().max()
        torch.testing.assert_close(mean_per_clip(*encoder.encode(pixels)) / scale, expected / scale, rtol=0, atol=2e-5)
    mean_per_clip(*encoder.encode(pixels)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.after["res2"].parameters())


@pytest.mark.parametrize("name", ["grid_pool", "max_pool", "average_pool", "stride", "temporal_attention"])
def test_clips_of_unequal_length_may_enter(name: str) -> None:
    encoder = encoder_with(name, "x3d_s", "res2")
    pixels, lengths = clips(3, 12), [12, 7, 1]
    with torch.no_grad():
        expected = torch.cat(
            [
                mean_per_clip(*encoder.encode(clip[None, :, :length]))
                for clip, length in zip(pixels, lengths, strict=True)
            ]
        )
        found = mean_per_clip(*encoder.encode(pixels, padded(torch.tensor(lengths), 12)))
        scale = expected.abs().max()
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize("packing", ["padded", "row"])
def test_the_plain_call_averages_over_a_clips_own_frames(packing: str) -> None:
    """So that ``snippet_features``, which knows of no layout, is right."""
    encoder = encoder_with("sgs", "x3d_s", "res2", packing=packing)
    pixels = clips(4, 8)
    with torch.no_grad():
        features = encoder(pixels)
        assert features.shape[2] == 1
        torch.testing.assert_close(features.mean(dim=(2, 3, 4)), mean_per_clip(*encoder.encode(pixels)))


@pytest.mark.parametrize("name", ["x3d_s", "r2plus1d_18", "tsm"])
def test_batch_statistics_are_of_real_frames(name: str) -> None:
    """In training, a padded batch moves running statistics and gives results as if there were no padding."""
    encoder = encoder_with("sgs", name, "res2", form="released")
    pixels = clips(3, 24 if name == "r2plus1d_18" else 8)
    with torch.no_grad():
        x = run_before(encoder, "res2", pixels)
        features, layout = encoder.after["res2"](x, None)
    results = []
    for extra in (0, 5):
        net = copy.deepcopy(encoder).train()
        y = torch.nn.functional.pad(features, (0, 0, 0, 0, 0, extra), value=7.0)
        at = padded(layout.mask.flatten(1).sum(1).long(), y.shape[2])
        for stage in ("res3", "res4"):
            y, at = net.run_stage(stage, y, at), net.stage_layout(stage, at)
        results.append((mean_per_clip(y, at), dict(net.named_buffers())))
    (a, buffers), (b, others) = results
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    for key, value in buffers.items():
        torch.testing.assert_close(others[key], value, rtol=1e-3, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}")


def test_slowfast_trains_in_blocks() -> None:
    """Unreal frames move no running statistic of either pathway: more padding changes nothing."""
    torch.manual_seed(0)
    encoder = alive(build_encoder("slowfast_8x8_r18", base_width=8))
    pair = tuple(torch.randn(2, c, t, 4, 4) for c, t in zip(encoder.stage_channels["res2"], (3, 8), strict=True))
    lengths = (torch.tensor([3, 2]), torch.tensor([8, 5]))
    results = []
    for extra in (0, 4):
        net = copy.deepcopy(encoder).train()
        x = tuple(torch.nn.functional.pad(one, (0, 0, 0, 0, 0, extra), value=5.0) for one in pair)
        at = tuple(padded(length, one.shape[2]) for length, one in zip(lengths, x, strict=True))
        y, at = net.run_stage("res3", x, at), net.stage_layout("res3", at)
        means = [mean_per_clip(one, layout) for one, layout in zip(y, at, strict=True)]
        results.append((torch.cat(means, dim=1), dict(net.named_buffers())))
    (a, buffers), (b, others) = results
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    for key, value in buffers.items():
        torch.testing.assert_close(others[key], value, rtol=1e-3, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}")


def run_before(encoder: StagedEncoder, last: str, pixels: Tensor) -> Tensor:
    """Features behind stage ``last``, without the module there."""
    x = encoder.start(pixels)
    for name in encoder.stage_names[: encoder.stage_names.index(last) + 1]:
        x = encoder.run_stage(name, x)
    return x


def test_sgs_takes_no_ragged_clips() -> None:
    with pytest.raises(ValueError, match="equal length"):
        SGS(3)(torch.randn(2, 3, 4, 2, 2), padded(torch.tensor([4, 2]), 4))


def test_rows_hold_the_clips_and_empty_frames_between() -> None:
    x = torch.arange(1.0, 7.0).view(2, 1, 3, 1, 1)
    row, layout = in_one_row(x, torch.tensor([2, 3]))
    assert row.flatten().tolist() == [1, 2, 0, 4, 5, 6]
    assert layout.mask.flatten().tolist() == [1, 1, 0, 1, 1, 1]
    assert mean_per_clip(row, layout).flatten().tolist() == [1.5, 5]
    assert isinstance(layout, Layout) and layout.clips == 2


def test_chunks_pad_as_little_as_possible() -> None:
    lengths = [5, 1, 1, 9, 2, 5, 8, 1]

    def frames(parts: list[list[int]]) -> int:
        assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
        return sum(len(part) * max(lengths[i] for i in part) for part in parts)

    ordered = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for most in (1, 2, 3, 4):
        cuts = itertools.combinations_with_replacement(range(len(lengths) + 1), most - 1)
        best = min(
            frames([ordered[a:b] for a, b in itertools.pairwise((0, *cut, len(lengths))) if b > a]) for cut in cuts
        )
        found = chunks(lengths, most)
        assert len(found) <= most and frames(found) == best
    assert frames(chunks(lengths, None)) == sum(lengths)
    with pytest.raises(ValueError, match="at most 0"):
        chunks(lengths, 0)


def test_a_tsm_by_stages_is_the_same_network() -> None:
    tsm = alive(tsm_resnet18(8))
    staged = StagedTSM(tsm).eval()
    pixels = clips(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(staged(pixels), tsm(pixels))
    assert (staged.pixel_mean, staged.pixel_std) == (MEAN, STD)


def test_all_encoders_can_hold_one() -> None:
    for path in set(ENCODERS.values()):
        name = next(name for name, value in ENCODERS.items() if value == path)
        if not name.startswith(("tsm", "coviar")):
            with torch.device("meta"):
                assert isinstance(build_encoder(name, base_width=8), StagedEncoder), name
