"""How public code names the parts of our models: one table per format and family, read in both directions.

A line maps a module of ours to one of theirs. ``{n}`` is a stage (2..5), ``{m}`` a block, ``{i}`` a further number; on
their side ``{n1}`` is ``n - 1``. What stands behind the module (weight, bias, ...) is the same unless the format says so.
"""

import re
from collections.abc import Mapping
from functools import cache

Table = Mapping[str, str]


def _blocks(ours: str, theirs: str, parts: Table) -> dict[str, str]:
    return {f"{ours}.{part}": f"{theirs}{name}" for part, name in parts.items()}


_BOTTLENECK = ("conv_a", "norm_a", "conv_b", "norm_b", "conv_c", "norm_c")
_SLOWFAST_PARTS = {
    "conv_a": ".branch2.a", "norm_a": ".branch2.a_bn", "conv_b": ".branch2.b", "norm_b": ".branch2.b_bn",
    "conv_c": ".branch2.c", "norm_c": ".branch2.c_bn", "shortcut_conv": ".branch1", "shortcut_norm": ".branch1_bn",
    "squeeze.reduce": ".branch2.se.fc1", "squeeze.expand": ".branch2.se.fc2",
}  # fmt: skip
_VIDEO_PARTS = {
    **{part: f".branch2.{part}" for part in _BOTTLENECK},
    "shortcut_conv": ".branch1_conv", "shortcut_norm": ".branch1_norm",
}  # fmt: skip
_MM_PARTS = {
    "conv_a": ".conv1.conv", "norm_a": ".conv1.bn", "conv_b": ".conv2.conv", "norm_b": ".conv2.bn",
    "conv_c": ".conv3.conv", "norm_c": ".conv3.bn", "shortcut_conv": ".downsample.conv", "shortcut_norm": ".downsample.bn",
    "squeeze.reduce": ".se_module.fc1", "squeeze.expand": ".se_module.fc2",
}  # fmt: skip
_CAFFE2_PARTS = {
    "conv_a": "_branch2a", "norm_a": "_branch2a_bn", "conv_b": "_branch2b", "norm_b": "_branch2b_bn",
    "conv_c": "_branch2c", "norm_c": "_branch2c_bn", "shortcut_conv": "_branch1", "shortcut_norm": "_branch1_bn",
}  # fmt: skip
_UNIT = {"conv": ".conv3d", "norm": ".bn"}
_NON_LOCAL = {"theta": "theta", "phi": "phi", "g": "g", "out": "out"}


def _pyslowfast(pathway: int, prefix: str) -> dict[str, str]:
    operator = f"s{{n}}.pathway{pathway}_nonlocal{{m}}"
    return {
        f"stem{prefix}.conv": f"s1.pathway{pathway}_stem.conv",
        f"stem{prefix}.norm": f"s1.pathway{pathway}_stem.bn",
        **_blocks(f"res{{n}}{prefix}.blocks.{{m}}", f"s{{n}}.pathway{pathway}_res{{m}}", _SLOWFAST_PARTS),
        **_blocks(f"res{{n}}{prefix}.non_local.{{m}}", f"{operator}.conv_", _NON_LOCAL),
        f"res{{n}}{prefix}.non_local.{{m}}.norm": f"{operator}.bn",
    }


def _caffe2(prefix: str, theirs: str) -> dict[str, str]:
    return {
        f"stem{prefix}.conv": f"{theirs}conv1",
        f"stem{prefix}.norm": f"{theirs}res_conv1_bn",
        **_blocks(f"res{{n}}{prefix}.blocks.{{m}}", f"{theirs}res{{n}}_{{m}}", _CAFFE2_PARTS),
        **_blocks(f"res{{n}}{prefix}.non_local.{{m}}", f"{theirs}nonlocal_conv{{n}}_{{m}}_", _NON_LOCAL),
        f"res{{n}}{prefix}.non_local.{{m}}.norm": f"{theirs}nonlocal_conv{{n}}_{{m}}_bn",
        "head.linear": "pred",
    }


def _mmaction2(prefix: str, pathway: str) -> dict[str, str]:
    return {
        f"stem{prefix}.conv": f"backbone.{pathway}conv1.conv",
        f"stem{prefix}.norm": f"backbone.{pathway}conv1.bn",
        **_blocks(f"res{{n}}{prefix}.blocks.{{m}}", f"backbone.{pathway}layer{{n1}}.{{m}}", _MM_PARTS),
        "head.linear": "cls_head.fc_cls",
    }


def _x3d(stem: tuple[str, str, str], blocks: str, parts: Table, tail: tuple[str, str, str, str]) -> dict[str, str]:
    ours = ("stem.conv_s", "stem.conv_t", "stem.norm"), ("conv5.conv", "conv5.norm", "head.conv", "head.linear")
    return {
        **dict(zip(ours[0], stem, strict=True)),
        **_blocks("res{n}.{m}", blocks, parts),
        **dict(zip(ours[1], tail, strict=True)),
    }


_PYSLOWFAST_ONE = {**_pyslowfast(0, ""), "head.linear": "head.projection"}
_CAFFE2_ONE = _caffe2("", "")
_FACTORED = {
    "conv_a.spatial": ".conv1.0.0", "conv_a.norm": ".conv1.0.1", "conv_a.temporal": ".conv1.0.3", "norm_a": ".conv1.1",
    "conv_b.spatial": ".conv2.0.0", "conv_b.norm": ".conv2.0.1", "conv_b.temporal": ".conv2.0.3", "norm_b": ".conv2.1",
    "shortcut_conv": ".downsample.0", "shortcut_norm": ".downsample.1",
}  # fmt: skip
# Our TSM has torchvision's own names.
_RESNET_2D = {
    **{
        name: name
        for name in ("conv1", "bn1", "layer{n}.{m}.conv{i}", "layer{n}.{m}.bn{i}", "layer{n}.{m}.downsample.{i}")
    },
    "head.linear": "fc",
}

# By format, then by family of encoder (:func:`family`); the first line that fits counts.
TABLES: dict[str, dict[str, Table]] = {
    "pyslowfast": {
        "X3D": _x3d(
            ("s1.pathway0_stem.conv_xy", "s1.pathway0_stem.conv", "s1.pathway0_stem.bn"),
            "s{n}.pathway0_res{m}",
            _SLOWFAST_PARTS,
            ("head.conv_5", "head.conv_5_bn", "head.lin_5", "head.projection"),
        ),
        "I3D": _PYSLOWFAST_ONE,
        "Slow": _PYSLOWFAST_ONE,
        "3DResNet": _PYSLOWFAST_ONE,
        "SlowFast": {
            **_pyslowfast(0, ".slow"),
            **_pyslowfast(1, ".fast"),
            "res{n}.lateral.conv": "s{n1}_fuse.conv_f2s",
            "res{n}.lateral.norm": "s{n1}_fuse.bn",
            "head.linear": "head.projection",
        },
    },
    "caffe2": {
        "I3D": _CAFFE2_ONE,
        "Slow": _CAFFE2_ONE,
        "SlowFast": {
            **_caffe2(".slow", ""),
            **_caffe2(".fast", "t_"),
            "res2.lateral.conv": "t_pool1_subsample",
            "res2.lateral.norm": "t_pool1_subsample_bn",
            "res{n}.lateral.conv": "t_res{n1}_{last}_branch2c_bn_subsample",
            "res{n}.lateral.norm": "t_res{n1}_{last}_branch2c_bn_subsample_bn",
        },
    },
    "pytorchvideo": {
        # The names of the stem's two convolutions are swapped in PyTorchVideo.
        "X3D": _x3d(
            ("blocks.0.conv.conv_t", "blocks.0.conv.conv_xy", "blocks.0.norm"),
            "blocks.{n1}.res_blocks.{m}",
            {
                **_VIDEO_PARTS,
                "norm_b": ".branch2.norm_b.0",
                "squeeze.reduce": ".branch2.norm_b.1.block.0",
                "squeeze.expand": ".branch2.norm_b.1.block.2",
            },
            ("blocks.5.pool.pre_conv", "blocks.5.pool.pre_norm", "blocks.5.pool.post_conv", "blocks.5.proj"),
        ),
        "Slow": {
            "stem.conv": "blocks.0.conv",
            "stem.norm": "blocks.0.norm",
            **_blocks("res{n}.blocks.{m}", "blocks.{n1}.res_blocks.{m}", _VIDEO_PARTS),
            "head.linear": "blocks.5.proj",
        },
        # The pool after res2 counts as a block.
        "I3D": {
            "stem.conv": "blocks.0.conv",
            "stem.norm": "blocks.0.norm",
            **_blocks("res2.blocks.{m}", "blocks.1.res_blocks.{m}", _VIDEO_PARTS),
            **_blocks("res{n}.blocks.{m}", "blocks.{n}.res_blocks.{m}", _VIDEO_PARTS),
            "head.linear": "blocks.6.proj",
        },
        "SlowFast": {
            **{
                f"stem.{name}.{part}": f"blocks.0.multipathway_blocks.{pathway}.{part}"
                for pathway, name in enumerate(("slow", "fast"))
                for part in ("conv", "norm")
            },
            **_blocks("res{n}.slow.blocks.{m}", "blocks.{n1}.multipathway_blocks.0.res_blocks.{m}", _VIDEO_PARTS),
            **_blocks("res{n}.fast.blocks.{m}", "blocks.{n1}.multipathway_blocks.1.res_blocks.{m}", _VIDEO_PARTS),
            "res{n}.lateral.conv": "blocks.{n2}.multipathway_fusion.conv_fast_to_slow",
            "res{n}.lateral.norm": "blocks.{n2}.multipathway_fusion.norm",
            "head.linear": "blocks.6.proj",
        },
    },
    "torchvision": {
        "TSM": _RESNET_2D,
        "R2Plus1D": {
            "stem.spatial": "stem.0",
            "stem.spatial_norm": "stem.1",
            "stem.temporal": "stem.3",
            "stem.temporal_norm": "stem.4",
            **_blocks("res{n}.{m}", "layer{n1}.{m}", _FACTORED),
            "head.linear": "fc",
        },
    },
    "tsm": {
        "TSM": {
            "layer{n}.{m}.conv1": "base_model.layer{n}.{m}.conv1.net",
            **{ours: f"base_model.{theirs}" for ours, theirs in _RESNET_2D.items()},
            "head.linear": "new_fc",
        },
    },
    "pytorch_i3d": {
        "I3D (Inception)": {
            **_blocks("stem.parts.a", "Conv3d_1a_7x7", _UNIT),
            **_blocks("res2.parts.b", "Conv3d_2b_1x1", _UNIT),
            **_blocks("res2.parts.c", "Conv3d_2c_3x3", _UNIT),
            **{
                f"{stage}.parts.{letter}.{branch}.{part}": f"Mixed_{stage[3]}{letter}.{branch}{name}"
                for stage, letters in {"res3": "bc", "res4": "bcdef", "res5": "bc"}.items()
                for letter in letters
                for branch in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
                for part, name in _UNIT.items()
            },
            "head.linear": "logits.conv3d",
        }
    },
    "coarse_fine": {
        "X3D": _x3d(
            ("conv1_s", "conv1_t", "bn1"),
            "layer{n1}.{m}",
            {
                "conv_a": ".conv1",
                "norm_a": ".bn1",
                "conv_b": ".conv2",
                "norm_b": ".bn2",
                "conv_c": ".conv3",
                "norm_c": ".bn3",
                "shortcut_conv": ".downsample.0",
                "shortcut_norm": ".downsample.1",
                "squeeze.reduce": ".fc1",
                "squeeze.expand": ".fc2",
            },
            ("conv5", "bn5", "fc1", "fc2"),
        ),
    },
    "mmaction2": {
        "X3D": _x3d(
            ("backbone.conv1_s.conv", "backbone.conv1_t.conv", "backbone.conv1_t.bn"),
            "backbone.layer{n1}.{m}",
            _MM_PARTS,
            ("backbone.conv5.conv", "backbone.conv5.bn", "cls_head.fc1", "cls_head.fc2"),
        ),
        "Slow": _mmaction2("", ""),
        "SlowFast": {
            **_mmaction2(".slow", "slow_path."),
            **_mmaction2(".fast", "fast_path."),
            "res2.lateral.conv": "backbone.slow_path.conv1_lateral.conv",
            "res2.lateral.norm": "backbone.slow_path.conv1_lateral.bn",
            "res{n}.lateral.conv": "backbone.slow_path.layer{n2}_lateral.conv",
            "res{n}.lateral.norm": "backbone.slow_path.layer{n2}_lateral.bn",
        },
        "TSM": {
            "conv1": "backbone.conv1.conv",
            "bn1": "backbone.conv1.bn",
            "layer{n}.{m}.conv1": "backbone.layer{n}.{m}.conv1.conv.net",
            "layer{n}.{m}.conv{i}": "backbone.layer{n}.{m}.conv{i}.conv",
            "layer{n}.{m}.bn{i}": "backbone.layer{n}.{m}.conv{i}.bn",
            "layer{n}.{m}.downsample.0": "backbone.layer{n}.{m}.downsample.conv",
            "layer{n}.{m}.downsample.1": "backbone.layer{n}.{m}.downsample.bn",
            "head.linear": "cls_head.fc_cls",
        },
    },
}


def translate(table: Table, module: str, last_blocks: Mapping[int, int]) -> str | None:
    """Their name of our module, None if they have none.

    Args:
        table: of a format and family.
        module: such as ``res3.0.conv_a``, ``head.linear``.
        last_blocks: index of the last block of each stage, which Caffe2 names lateral connections by.
    """
    for pattern, theirs in _compiled(tuple(table.items())):
        found = pattern.fullmatch(module)
        if found:
            numbers = {key: int(value) for key, value in found.groupdict().items()}
            n = numbers.get("n", 0)
            return theirs.format(**numbers, n1=n - 1, n2=n - 2, last=last_blocks.get(n - 1))
    return None


@cache
def _compiled(table: tuple[tuple[str, str], ...]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d+)", re.escape(ours))), theirs) for ours, theirs in table]
