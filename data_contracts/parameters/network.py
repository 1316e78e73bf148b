"""Shape of the network."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from data_contracts.parameters.base import Parameters
from data_contracts.skeleton import NUM_JOINTS


class NetworkConfig(Parameters):
    """Shape of the network: a DSTformer (MotionBERT, Zhu et al., ICCV 2023, section 4.1) or a residual MLP.

    With default `stem`, `patch`, `cosines` and `geometry`, and `attn_depth` 1, the DSTformer is MotionBERT's network.
    """

    kind: Literal["dstformer", "mlp"] = Field(
        "dstformer", description="Backbone: DSTformer, or a residual MLP over the whole window (needs head pose)."
    )
    dim_in: Literal[2, 3] = Field(3, description="Inputs per joint: x, y, or x, y, confidence.")
    dim_out: Literal[2, 3] = Field(3, description="Outputs per joint: 2D or 3D pose.")
    embed_dim: int = Field(64, ge=8, description="Number of features per token.")
    heads: int = Field(8, ge=1, description="Number of attention heads; must divide embed_dim.")
    fusion_depth: int = Field(2, ge=0, description="Stages of an ST and a TS stream; 0 leaves only stem and head.")
    attn_depth: int = Field(1, ge=1, description="Number of blocks per stream in a stage; MotionBERT has 1.")
    mlp_ratio: float = Field(2.0, gt=0, description="Hidden features of a block's MLP, as a multiple of embed_dim.")
    rep_dim: int | None = Field(None, ge=1, description="Width of Linear+tanh before the head. Default: no such layer.")
    max_frames: int = Field(243, ge=1, description="Longest window in frames; training sets it from the windows.")
    mask_token: bool = Field(False, description="Learn a mask token; training sets it from corruption.fill.")
    stem: Literal["none", "window"] = Field(
        "none",
        description="MLP from a whole window to each token, before attention; head pose also reads its features.",
    )
    stem_width: int = Field(384, ge=8, le=65_536, description="Number of features of the stem or MLP.")
    stem_blocks: int = Field(1, ge=0, le=1000, description="Number of residual blocks of the stem or MLP.")
    patch: int = Field(1, ge=1, le=243, description="Number of frames per token.")
    cosines: int | None = Field(
        None,
        ge=1,
        description="Number of cosines by which stem, MLP and head pose represent a window. Default: frames.",
    )
    geometry: Literal["none", "foreshortening"] = Field(
        "none", description="foreshortening: input in units of body size; depth of each bone from its foreshortening."
    )

    @model_validator(mode="after")
    def _sizes_agree(self) -> "NetworkConfig":
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not a multiple of heads {self.heads}")
        if self.geometry != "none" and (self.dim_in, self.dim_out) != (3, 3):
            raise ValueError(f"geometry needs dim_in 3 and dim_out 3; got {self.dim_in} and {self.dim_out}")
        return self

    @property
    def features_in(self) -> int:
        """Number of backbone inputs per joint and frame; geometry adds one, the reach (depth) of the joint's bone."""
        return self.dim_in + (self.geometry != "none")

    @property
    def features_out(self) -> int:
        """Number of outputs of the head per joint and frame; geometry adds one, the signed share of the reach."""
        return self.dim_out + (self.geometry != "none")

    @property
    def max_tokens(self) -> int:
        """Number of tokens per joint in the longest window."""
        return -(-self.max_frames // self.patch)

    @property
    def padded_frames(self) -> int:
        """Frames of the longest window, padded to whole tokens."""
        return self.max_tokens * self.patch

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Shape of the backbone's features of the longest window: tokens per joint, joints, features."""
        return (1, 1, self.stem_width) if self.kind == "mlp" else (self.max_tokens, NUM_JOINTS, self.embed_dim)

    def idle(self) -> set[str]:
        if self.kind == "mlp":
            return {"embed_dim", "heads", "fusion_depth", "attn_depth", "mlp_ratio", "rep_dim", "stem", "patch"}
        return {"stem_width", "stem_blocks"} if self.stem == "none" else set()


class HeadKind(StrEnum):
    """Head of the network.

    `joints`: linear from each token to the positions of its joint. `depth`: an MLP of C, 128 and 1 units for z; x and y
    are those of the input. `pose`: linear from all tokens of the window, and the features of the stem, to all poses.
    """

    JOINTS = "joints"
    DEPTH = "depth"
    POSE = "pose"
