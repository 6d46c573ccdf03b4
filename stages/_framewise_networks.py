"""The table of networks that label frames: which there are, and the parameters of each."""

from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from pipeline.run.params import Section
from stages import _encoder, _training

FrameNetwork = Literal["coarse_fine", "fine_fine", "coarse_only", "fine_only", "slowfast_det"]
POOLED, TWO_STREAM = ("coarse_fine", "coarse_only", "slowfast_det"), ("coarse_fine", "fine_fine", "slowfast_det")
STREAMS = {"coarse_fine": ("coarse_only", "fine_only"), "fine_fine": ("fine_only", "fine_only"),
           "slowfast_det": ("coarse_only", "fine_only")}  # fmt: skip
"""Of which networks the streams of the second training stage are, coarse and fine."""
PRETRAINED = "acp"
"""What ``initial`` says for the encoder that the stage ``pretrain`` made."""
ENCODERS = tuple(
    name for name in get_args(_encoder.EncoderSpec.model_fields["name"].annotation) if not name.startswith("coviar_")
)


class Sgs(Section):
    """Similarity Guided Sampling inside an encoder; each frame is labelled by the bin it went into."""

    stage: Literal["stem", "res2", "res3", "res4", "res5"] = Field("res2", description="that it stands behind")
    bins: int | tuple[int, ...] | None = Field(None, description="B, one number per coordinate; null: one bin a frame")
    dims: int = Field(8, ge=1, description="L, of the similarity space")
    similarity: Literal["magnitude", "angular", "spherical"] = "magnitude"
    kernel: Literal["linear", "kronecker"] = "linear"


class Fusion(Section):
    """What of the Fine stream is fused into the Coarse one, and how (tables 3a to 3c)."""

    connections: Literal["multi_stage", "one_to_one", "late"] = Field(
        "multi_stage", description="of the Fine stages into the Coarse ones; late: into the logits only"
    )
    dims: Literal["CHWT", "CHW", "C"] = Field("CHWT", description="of fused features; an average over the others")
    mask: bool = Field(True, description="self-attention on the fine features")
    centres: Literal["paper", "released"] = Field("paper", description="of the Gaussians")


class NetworkSection(Section):
    """A network of the table and how it is trained."""

    model: str = Field(
        description="a network of Coarse-Fine Networks, or any encoder of RGB with a label at every frame"
    )
    base_width: int = Field(64, ge=8, multiple_of=8, description="scales all channels; 64 is the paper's network")
    frames: int = Field(64, ge=1, description="of a training clip")
    pooling: Literal["grid_pool", "max_pool", "average_pool", "stride"] | None = Field(
        None, description="of the Coarse stream, behind res2; null: stride in slowfast_det, else grid_pool"
    )
    alpha: float = Field(0.25, gt=0, lt=1, description="share of the frames that pooling keeps")
    auxiliary: Literal["none", "reconstruction", "flow"] = Field("none", description="loss on Grid Pool (appendix A.2)")
    sgs: Sgs | None = None
    fusion: Fusion | None = Field(None, description="null: the paper's")
    window: int = Field(0, ge=0, description="frames that an encoder or Fine stream sees together; 0: the whole clip")
    replay_chunk: int = Field(0, ge=0, description="windows encoded together by gradient replay; 0: all, directly")
    coarse: str = Field("", description="network of this table whose weights the Coarse stream starts from")
    fine: str = Field("", description="likewise, of the Fine stream")
    fine_training: Literal["joint", "frozen"] = Field("joint", description="of the second training stage")
    initial: str = Field(
        "", description="weights to start from: acp, the encoder of pretrain; or a file, a public X3D or ours"
    )
    norm: Literal["running", "frozen", "fine_frozen"] = Field(
        "running",
        description="batch statistics in training; fine_frozen: those of the Fine stream stay, all others run",
    )
    training: _training.Optimisation

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        allowed = (*get_args(FrameNetwork), *ENCODERS)
        if model not in allowed:
            raise ValueError(f"is {model!r}; allowed: {', '.join(allowed)}")
        return model

    @model_validator(mode="after")
    def _fits(self) -> "NetworkSection":
        encoder, windowed = self.model in ENCODERS, self.model in ENCODERS or self.model in ("coarse_fine", "fine_fine")
        for field, given, fits, whose in (
            ("pooling", self.pooling is not None, self.model in POOLED, ", ".join(POOLED)),
            ("alpha", self.alpha != 0.25, self.model in POOLED, ", ".join(POOLED)),
            ("auxiliary", self.auxiliary != "none", self.chosen_pooling == "grid_pool" and self.model == "coarse_only",
             "coarse_only with grid_pool"),
            ("sgs", self.sgs is not None, encoder, "encoders"),
            ("fusion", self.fusion is not None, self.model in ("coarse_fine", "fine_fine"), "coarse_fine, fine_fine"),
            ("window", self.window > 0, windowed, "encoders, coarse_fine, fine_fine"),
            ("replay_chunk", self.replay_chunk > 0, windowed, "encoders, coarse_fine, fine_fine"),
            ("coarse", bool(self.coarse), self.model in TWO_STREAM, ", ".join(TWO_STREAM)),
            ("fine", bool(self.fine), self.model in TWO_STREAM, ", ".join(TWO_STREAM)),
            ("norm: fine_frozen", self.norm == "fine_frozen", self.model in TWO_STREAM, ", ".join(TWO_STREAM)),
            ("initial", bool(self.initial), self.model not in TWO_STREAM, "networks of one stream"),
        ):  # fmt: skip
            if given and not fits:
                raise ValueError(f"{field} belongs to {whose}, not to {self.model}")
        if bool(self.coarse) != bool(self.fine):
            raise ValueError(f"coarse is {self.coarse!r} and fine {self.fine!r}: name both networks or none")
        return self

    @property
    def chosen_pooling(self) -> str:
        """The Coarse stream's pooling, "" where there is none."""
        if self.model not in POOLED:
            return ""
        return self.pooling or ("stride" if self.model == "slowfast_det" else "grid_pool")
