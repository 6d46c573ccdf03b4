"""Encoders as files: what ``pretrain`` and ``lofi`` write and every later stage and ``predict`` read.

A folder ``data/checkpoints/encoders/<variant>`` holds ``encoder.safetensors`` and ``encoder.json``. The JSON says how a
snippet is cut, so that no reader needs those numbers from params.yaml a second time.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.run.files import read_json, write_bytes, write_json
from pipeline.run.params import Section

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_FILE, SPEC_FILE = "encoder.safetensors", "encoder.json"


_SGS = ("bins", "similarity", "dims", "kernel", "form", "gradient")
_OPTIONS = {
    "sgs": ("block", *_SGS),
    "slowfast_sgs": ("blocks", *_SGS),
    "grid_pool": ("alpha", "temperature"),
    "max_pool": ("alpha",),
    "average_pool": ("alpha",),
    "stride": ("alpha",),
    "temporal_attention": (),
}


class Temporal(Section):
    """A module that changes the time axis inside the encoder; what is not given is the module's own default."""

    name: Literal[
        "sgs", "slowfast_sgs", "grid_pool", "max_pool", "average_pool", "stride", "temporal_attention"
    ]  # fmt: skip
    after: Literal["stem", "res2", "res3", "res4", "res5"] = Field("res3", description="stage that it stands behind")
    bins: int | tuple[int, ...] | None = Field(None, description="of sgs: B, or one number per coordinate; null: B = T")
    similarity: Literal["magnitude", "angular", "spherical"] | None = None
    dims: int | None = Field(None, ge=1, description="of sgs: L of the similarity space")
    kernel: Literal["linear", "kronecker"] | None = None
    form: Literal["paper", "released"] | None = None
    gradient: Literal["paper", "exact"] | None = None
    block: int | None = Field(None, ge=1, description="of sgs: frames that are sampled on their own")
    blocks: tuple[int, int] | None = Field(None, description="of slowfast_sgs: those of the slow and the fast pathway")
    alpha: float | None = Field(None, gt=0, lt=1, description="of pools: share of the frames kept, 1/2, 1/4, ...")
    temperature: float | None = Field(None, gt=0, description="of grid_pool")

    @property
    def options(self) -> dict[str, Any]:
        """What is given beside name and stage."""
        return self.model_dump(exclude={"name", "after"}, exclude_none=True)

    @model_validator(mode="after")
    def _belong(self) -> "Temporal":
        foreign = [option for option in self.options if option not in _OPTIONS[self.name]]
        if foreign:
            allowed = ", ".join(_OPTIONS[self.name]) or "none"
            raise ValueError(f"{foreign[0]} is no option of {self.name}; its options: {allowed}")
        return self


class EncoderSpec(Section):
    """An encoder and the snippets it sees (LoFi section 3: 64 frames, stride 8, 8 frames at native rate)."""

    name: Literal[
        "tsm_resnet18", "tsm_resnet50", "x3d_xs", "x3d_s", "x3d_m", "x3d_l", "x3d_xl", "slowfast_4x16_r50",
        "slowfast_4x16_r101", "slowfast_8x8_r18", "slowfast_8x8_r50", "slowfast_8x8_r50_nl", "slowfast_8x8_r101",
        "slowfast_8x8_r101_101", "slowfast_8x8_r101_nl", "slowfast_16x8_r50", "slowfast_16x8_r101",
        "slowfast_16x8_r101_nl", "slow_4x16_r50", "slow_8x8_r50", "i3d_r50", "i3d_r50_nl", "i3d_r50_thesis",
        "i3d_r50_thesis_nl", "i3d_inception", "r2plus1d_18", "resnet3d_18", "resnet3d_50", "coviar_resnet18",
        "coviar_resnet50",
    ]  # fmt: skip
    base_width: int = Field(64, ge=8, multiple_of=8, description="scales all channels; 64 is the paper's network")
    frames: int = Field(8, ge=1, description="frames per snippet")
    window_s: float = Field(gt=0, description="length of the window the frames are spread over, s")
    height: int = Field(224, ge=32, description="px")
    width: int = Field(224, ge=32, description="px")
    residual: bool = Field(False, description="of coviar encoders: they see residuals too, beside I-frames and motion")
    copies: int = Field(1, ge=1, description="encoders side by side, each with weights of its own; pretrain sets it")
    motion_px: float = Field(20.0, gt=0, description="of coviar encoders: full motion, px of a 256 px shorter side")
    temporal: Temporal | None = Field(None, description="SGS, Grid Pool or a fixed pool behind a stage")

    @property
    def compressed(self) -> bool:
        """Whether its snippets are of the coded stream, not of decoded frames."""
        return self.name.startswith("coviar_")

    @model_validator(mode="after")
    def _fits(self) -> "EncoderSpec":
        if self.residual and not self.compressed:
            raise ValueError(f"residual: true belongs to coviar encoders, not to {self.name}")
        pathways = self.name.startswith("slowfast_")
        if self.temporal is not None and (self.compressed or self.name == "i3d_inception"):
            raise ValueError(f"temporal: {self.name} has no stages res2..res5 that a module could stand behind")
        if self.temporal is not None and (self.temporal.name == "slowfast_sgs") != pathways:
            fitting = "slowfast_sgs" if pathways else "a module of one pathway"
            raise ValueError(f"temporal.name is {self.temporal.name}; {self.name} takes {fitting}")
        return self


def build(spec: EncoderSpec) -> "nn.Module":
    """A fresh encoder; weights from torch's global generator."""
    return combined([with_temporal(build_plain(spec), spec) for _ in range(spec.copies)])


def build_plain(spec: EncoderSpec) -> "nn.Module":
    """A fresh encoder, one copy and without the temporal module: what files of public weights hold."""
    from models.encoders import build_encoder

    options = {"residual": spec.residual} if spec.compressed else {}
    return build_encoder(spec.name, base_width=spec.base_width, **options)


def with_temporal(encoder: "nn.Module", spec: EncoderSpec) -> "nn.Module":
    """The encoder with the temporal module that the spec asks for, if any."""
    if spec.temporal is None:
        return encoder
    from models.temporal.plug import plugged

    return plugged(encoder, spec.temporal.name, spec.temporal.after, **spec.temporal.options)


def combined(encoders: "Sequence[nn.Module]") -> "nn.Module":
    """One encoder of several: their features side by side; a single one stays what it is."""
    from models.encoders.side_by_side import SideBySide

    return SideBySide(encoders) if len(encoders) > 1 else encoders[0]


def feature_dim(encoder: "nn.Module") -> int:
    """D, channels of a snippet feature."""
    return int(encoder.feature_dim)  # type: ignore[arg-type]


def table_entries(spec: EncoderSpec) -> list[str]:
    """The encoder's entry in its table, and the temporal module's, for the code part of a work store key."""
    from models.encoders import ENCODERS
    from models.temporal import TEMPORAL

    return [ENCODERS[spec.name], *([TEMPORAL[spec.temporal.name]] if spec.temporal else [])]


def save(folder: Path, encoder: "nn.Module", spec: EncoderSpec) -> None:
    """Write weights and spec into ``folder``."""
    from models.weights import save_weights

    write_bytes(folder / WEIGHTS_FILE, save_weights(encoder, spec.model_dump(mode="json")))
    write_json(folder / SPEC_FILE, spec.model_dump(mode="json"))


def load_spec(folder: Path) -> EncoderSpec:
    """Read the spec of a saved encoder."""
    return EncoderSpec.model_validate(read_json(folder / SPEC_FILE))


def load(folder: Path) -> tuple["nn.Module", EncoderSpec]:
    """Read a saved encoder, in evaluation mode."""
    from models.weights import load_weights

    spec = load_spec(folder)
    encoder = build(spec)
    load_weights(encoder, folder / WEIGHTS_FILE)
    return encoder.eval(), spec


def load_for_inference(folder: Path, threads: int) -> tuple["nn.Module", EncoderSpec]:
    """A saved encoder on its device; read once per process as long as its file does not change.

    A pool's worker encodes many videos. ``threads``: torch threads of this process from now on.
    """
    return _loaded(folder, (folder / WEIGHTS_FILE).stat().st_mtime_ns, threads)


@lru_cache(maxsize=1)
def _loaded(folder: Path, _changed: int, threads: int) -> tuple["nn.Module", EncoderSpec]:
    from pipeline.training.device import device, set_deterministic, set_threads

    set_threads(threads)
    set_deterministic(strict=False)
    encoder, spec = load(folder)
    return encoder.to(device()), spec
