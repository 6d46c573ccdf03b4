"""Names and shapes against lists taken from the reference code, in both directions."""

import copy
import re
from functools import cache

import pytest
import torch
from torch import nn

from models.catalogue import build_model
from models.checkpoints import FORMATS, CheckpointError, export_checkpoint, load_checkpoint
from models.encoders import ENCODERS, build_encoder
from models.recogniser import Recogniser
from tests.models.checkpoints.filled import filled, key_list, key_lists

# Networks that bear the name of one of ours and are not it.
OTHERS = [("mmaction2", "slowfast_4x16_r50"), ("mmaction2", "i3d_r50")]
LISTS = [entry for entry in key_lists() if entry not in OTHERS]
# One of each naming is also carried through value by value; the rest by name and shape, which costs nothing.
WITH_VALUES = [
    ("pyslowfast", "x3d_m"), ("pytorchvideo", "x3d_m"), ("coarse_fine", "x3d_m"), ("mmaction2", "x3d_m"),
    ("caffe2", "slow_8x8_r50"), ("tsm", "tsm_resnet18"),
]  # fmt: skip


def model_of(form: str, name: str, device: str = "meta") -> nn.Module:
    entries = key_list(form, name)
    ends = r"(head\.projection|blocks\.\d\.proj|fc2|cls_head\.(fc2|fc_cls)|module\.new_fc|fc|logits\.conv3d)\.weight|pred_w"
    head = next(shape for key, shape in entries.items() if re.fullmatch(ends, key))
    first = next(other for other, entry in ENCODERS.items() if entry == ENCODERS[name])
    model = built(first, head[0])
    return model if device == "meta" else copy.deepcopy(model).to_empty(device=device)


@cache
def built(name: str, classes: int) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, classes)


@pytest.mark.parametrize(("form", "name"), LISTS)
def test_our_model_has_exactly_the_reference_names_and_shapes(form: str, name: str) -> None:
    x3d_of_pytorchvideo = form == "pytorchvideo" and name.startswith("x3d")
    model = model_of(form, name, "cpu" if x3d_of_pytorchvideo else "meta")
    if x3d_of_pytorchvideo:  # its export looks at values
        load_checkpoint(model, filled(key_list(form, name)))
    exported = {key: list(value.shape) for key, value in export_checkpoint(model, form).items()}
    assert exported == key_list(form, name)


@pytest.mark.parametrize(("form", "name"), LISTS)
def test_every_reference_key_is_loaded(form: str, name: str) -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape in key_list(form, name).items()}
    loaded = load_checkpoint(model_of(form, name), state)
    assert (loaded.format, loaded.fresh) == (form, ())
    assert loaded.not_loaded == tuple(sorted(key for key in state if ".split_bn." in key))


@pytest.mark.parametrize(("form", "name"), WITH_VALUES)
def test_values_come_back_as_they_were(form: str, name: str) -> None:
    state = filled(key_list(form, name))
    state |= {key: state[key.replace("split_bn", "bn")] for key in state if ".split_bn." in key}
    model = model_of(form, name, "cpu")
    load_checkpoint(model, state)
    exported = export_checkpoint(model, form)
    assert exported.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(exported[key], value, rtol=1e-6, atol=0)
    other = model_of(form, name, "cpu")
    load_checkpoint(other, exported)
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(other.state_dict()[key], value, rtol=1e-6, atol=0)


def test_no_two_formats_claim_the_same_file() -> None:
    for form, name in key_lists():
        keys = [key.removeprefix("module.") for key in key_list(form, name)]
        claimed = {other for other in FORMATS if any(re.fullmatch(FORMATS[other].sign, key) for key in keys)}
        assert claimed == {form}, name


@pytest.mark.parametrize(("keys", "name"), [(563, "x3d_s"), (1141, "x3d_l")])
def test_pytorchvideos_x3d_lacks_a_normalisation(keys: int, name: str) -> None:
    state = filled(key_list("pytorchvideo", name))
    assert len(state) == keys
    assert len(key_list("pyslowfast", "x3d_m" if name == "x3d_s" else name)) == keys + 5
    model = model_of("pytorchvideo", name, "cpu").eval()
    loaded = load_checkpoint(model, state)
    assert any("563" in message and "identity" in message for message in loaded.messages)
    norm = model.get_submodule("encoder.res2.0.shortcut_norm")
    x = torch.randn(1, 24, 2, 3, 3)
    torch.testing.assert_close(norm(x), x, rtol=1e-6, atol=0)
    # The other way round it is folded, as far as it only scales.
    with torch.no_grad():
        norm.weight.fill_(2.0)
    folded = export_checkpoint(model, "pytorchvideo")["blocks.1.res_blocks.0.branch1_conv.weight"]
    torch.testing.assert_close(folded, 2 * state["blocks.1.res_blocks.0.branch1_conv.weight"], rtol=1e-5, atol=0)
    with torch.no_grad():
        norm.bias.fill_(0.1)
    with pytest.raises(CheckpointError, match="no normalisation on the shortcut of res2's first block"):
        export_checkpoint(model, "pytorchvideo")


def test_a_pyslowfast_file_without_that_normalisation_is_not_excused() -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape in key_list("pyslowfast", "x3d_m").items()}
    lacking = {key: value for key, value in state.items() if not key.startswith("s2.pathway0_res0.branch1_bn")}
    with pytest.raises(CheckpointError, match=r"missing: s2.pathway0_res0.branch1_bn.weight \[24\]"):
        load_checkpoint(model_of("pyslowfast", "x3d_m"), lacking)


def test_a_classifier_of_another_width_stays_with_a_message() -> None:
    state = filled(key_list("tsm", "tsm_resnet18"))
    with torch.device("meta"):
        model = build_model("tsm_resnet18", 7)
    model.to_empty(device="cpu")
    nn.init.ones_(model.get_parameter("head.linear.weight"))
    loaded = load_checkpoint(model, state)
    assert "the file's classifier has 400 classes, the model 7: the model's own stays" in loaded.messages
    assert loaded.fresh == ("head.linear.bias", "head.linear.weight")
    assert loaded.not_loaded == ("new_fc.bias", "new_fc.weight")
    assert (model.get_parameter("head.linear.weight") == 1).all()
    assert torch.equal(model.get_parameter("encoder.bn1.weight"), state["module.base_model.bn1.weight"])


def test_an_encoder_alone_leaves_the_classifier_and_a_file_without_one_leaves_the_models() -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape in key_list("pyslowfast", "x3d_m").items()}
    with torch.device("meta"):
        encoder = build_encoder("x3d_m")
        model = build_model("x3d_m", 400)
    loaded = load_checkpoint(encoder, state)
    assert loaded.not_loaded == ("head.lin_5.weight", "head.projection.bias", "head.projection.weight")
    assert export_checkpoint(encoder, "pyslowfast").keys() == state.keys() - set(loaded.not_loaded)
    headless = {key: value for key, value in state.items() if key not in loaded.not_loaded}
    assert load_checkpoint(model, headless).fresh == ("head.conv.weight", "head.linear.bias", "head.linear.weight")


def test_what_does_not_fit_is_listed_and_nothing_is_loaded() -> None:
    with torch.device("meta"):
        model = build_model("slow_8x8_r50", 400)
    model.to_empty(device="cpu")
    model.apply(lambda module: nn.init.zeros_(module.weight) if isinstance(module, nn.Conv3d) else None)
    state = {key: torch.zeros(()).expand(shape) for key, shape in key_list("pyslowfast", "slow_8x8_r50").items()}
    del state["s2.pathway0_res0.branch2.a.weight"]
    state["s2.ts_layer.fc.0.weight"] = torch.zeros(128, 256)
    state["s1.pathway0_stem.conv.weight"] = torch.ones(64, 3, 5, 7, 7)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, state)
    assert str(caught.value).splitlines() == [
        "checkpoint (PySlowFast) does not fit ResNet3D:",
        "  shape: s1.pathway0_stem.conv.weight is [64, 3, 5, 7, 7] in the file, [64, 3, 1, 7, 7] in the model "
        "(encoder.stem.conv.weight)",
        "  missing: s2.pathway0_res0.branch2.a.weight [64, 64, 1, 1, 1] (encoder.res2.blocks.0.conv_a.weight)",
        "  unexpected: s2.ts_layer.fc.0.weight [128, 256]",
    ]
    assert not model.get_parameter("encoder.stem.conv.weight").any()


@pytest.mark.parametrize(
    ("form", "name", "says"),
    [
        ("mmaction2", "i3d_r50", "MMAction2 has no I3D that fits ours: .* halves time in its stem"),
        ("mmaction2", "slowfast_4x16_r50", "missing: backbone.slow_path.conv1_lateral.bn.weight(.|\n)*another network"),
    ],
)
def test_other_networks_of_the_same_name_are_refused(form: str, name: str, says: str) -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape in key_list(form, name).items()}
    with torch.device("meta"):
        model = build_model(name, 400)
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(model, state)


def test_a_detector_and_an_unknown_file_are_refused() -> None:
    with torch.device("meta"):
        model = build_model("slow_8x8_r50", 80)
    with pytest.raises(CheckpointError, match="dilated"):
        load_checkpoint(
            model, {"model.blocks.0.conv.weight": torch.zeros(1), "detection_head.proj.weight": torch.zeros(1)}
        )
    with pytest.raises(CheckpointError, match=r"of no known format \(PySlowFast, Caffe2.*begin with encoder.x"):
        load_checkpoint(model, {"encoder.x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"Coarse-Fine Networks has no Slow that fits ours: it has X3D"):
        export_checkpoint(model, "coarse_fine")
    with pytest.raises(CheckpointError, match=r"unknown format 'onnx'; allowed: pyslowfast, caffe2"):
        export_checkpoint(model, "onnx")


def test_known_differences_of_a_format_are_told() -> None:
    state = {key: torch.empty(shape, device="meta") for key, shape in key_list("mmaction2", "slowfast_8x8_r50").items()}
    (message,) = load_checkpoint(model_of("mmaction2", "slowfast_8x8_r50"), state).messages
    assert "ImageNet" in message
    assert "alpha-th frame" in message


def test_caffe2_colours_are_turned() -> None:
    state = {key: torch.zeros(()).expand(shape) for key, shape in key_list("caffe2", "slow_8x8_r50").items()}
    state["conv1_w"] = torch.arange(3.0)[:, None, None, None].expand(64, 3, 1, 7, 7)
    model = model_of("caffe2", "slow_8x8_r50", "cpu")
    loaded = load_checkpoint(model, state)
    assert any("blue, green, red" in message for message in loaded.messages)
    assert torch.equal(model.get_parameter("encoder.stem.conv.weight"), state["conv1_w"][:, [2, 1, 0]])


def test_a_plugged_module_keeps_its_own_weights() -> None:
    with torch.device("meta"):
        model = build_model("x3d_m", 400)
        assert isinstance(model, Recogniser)
        model.encoder.plug("res2", nn.Linear(3, 3))
    state = {key: torch.empty(shape, device="meta") for key, shape in key_list("pyslowfast", "x3d_m").items()}
    loaded = load_checkpoint(model, state)
    assert loaded.fresh == ("encoder.after.res2.bias", "encoder.after.res2.weight")
    assert "encoder.after.res2.weight" in loaded.messages[-1]
    with pytest.raises(CheckpointError, match=r"has no name for encoder.after.res2.weight"):
        export_checkpoint(model, "pyslowfast")


def test_every_network_is_in_a_list() -> None:
    listed = {ENCODERS[name] for _, name in key_lists()}
    # The paper's 3DResNet is in no public format; its repository's names are PySlowFast's. Nobody publishes CoViAR's,
    # nor a SlowFast 4x16 of 101 layers, whose keys are those of 8x8.
    missing = set(ENCODERS.values()) - listed
    assert {entry.partition(":")[2] for entry in missing} == {
        "slowfast_8x8_r18",
        "slowfast_4x16_r101",
        "resnet3d_18",
        "resnet3d_50",
        "coviar_resnet18",
        "coviar_resnet50",
    }
