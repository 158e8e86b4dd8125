"""Inverse depth from the depth-estimation models of transformers (extra ``hf``)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.device import one_thread
from pipeline.files import InputError, first_line
from pipeline.inverse_depth import full_size

#: Model families whose output is depth; all others give inverse depth unless their config says "metric".
DEPTH_FAMILIES = ("glpn", "zoedepth")
#: Never used in the DPT family, and therefore absent from some of its checkpoints, such as Intel/dpt-large.
_UNUSED = "neck.fusion_stage.layers.0.residual_layer1."


@dataclass(frozen=True, kw_only=True, eq=False)
class TransformersDepth:
    """A transformers model as a :class:`pipeline.depth.DepthEstimator`; frames pass one by one."""

    name: str
    digest: str  # SHA-256 over the names and bytes of its tensors
    model: Any  # a transformers *ForDepthEstimation
    processor: Any  # its image processor
    gives_depth: bool  # depth, to be inverted; else inverse depth
    device: torch.device
    refine: bool  # pull depth edges onto the frame's

    def path_of(self, id_: str) -> None:
        """Nothing is read from files; see :class:`pipeline.depth.DepthEstimator`."""

    def estimate(
        self, frames: Sequence[np.ndarray], ids: Sequence[str], infrared: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Inverse depth of each frame; see :class:`pipeline.depth.DepthEstimator`."""
        return [self._one(frame, id_) for frame, id_ in zip(frames, ids, strict=True)]

    @torch.inference_mode()
    def _one(self, frame: np.ndarray, id_: str) -> np.ndarray:
        # Padding would have to be cut off again; without it the output covers the frame exactly.
        unpadded = {"do_pad": False} if getattr(self.processor, "do_pad", False) else {}
        inputs = self.processor(
            images=frame, return_tensors="pt", input_data_format="channels_last", **unpadded
        ).to(self.device)
        with one_thread():
            output = self.model(**inputs).predicted_depth[0].float().cpu().numpy()
        if not np.isfinite(output).all():
            raise InputError(
                f"--depth {self.name}: the model gave no finite depth for {id_}; use another one"
            )
        if self.gives_depth:
            output = 1 / np.maximum(output, 1e-3)  # metres; nearer than a millimetre is noise
        return full_size(output, frame, refine=self.refine)


def load_transformers_depth(source: str, *, device: torch.device | None, refine: bool) -> TransformersDepth:
    """Load ``hf:MODEL``: a local folder or an id of the hub, which transformers fetches and keeps.

    Raises:
        InputError: transformers is not installed, or the model is missing, damaged or no depth estimator.
    """
    try:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation
    except ImportError:
        raise InputError(f"--depth {source}: needs transformers; pip install 'gifnet[hf]'") from None
    model_id = source.partition(":")[2]
    try:
        processor = AutoImageProcessor.from_pretrained(model_id)
        model, info = AutoModelForDepthEstimation.from_pretrained(
            model_id, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # noqa: BLE001 - what a damaged model raises is written down nowhere
        raise InputError(
            f"--depth {source}: cannot be loaded for depth estimation ({first_line(error)})"
        ) from None
    state = model.state_dict()
    # transformers fills these at random.
    missing = sorted(info["missing_keys"])
    if needed := [key for key in missing if not key.startswith(_UNUSED)]:
        raise InputError(
            f"--depth {source}: its checkpoint lacks {len(needed)} tensors, such as {needed[0]}; "
            "use a complete one for depth estimation"
        )
    for key in missing:
        state[key].zero_()
    config = model.config
    metric = getattr(config, "depth_estimation_type", "relative") == "metric"
    device = device or torch.device("cpu")
    return TransformersDepth(
        name=source,
        digest=_digest(state),
        model=model.float().eval().to(device),
        processor=processor,
        gives_depth=metric or config.model_type in DEPTH_FAMILIES,
        device=device,
        refine=refine,
    )


def _digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
