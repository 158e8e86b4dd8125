"""Inverse depth from the depth-estimation models of transformers (extra ``hf``)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pipeline.depth.maps import full_size
from pipeline.files import InputError, canonical_json, first_line
from pipeline.images import size_text
from pipeline.networks.device import one_thread, repeatable_kernels
from pipeline.runtime.workers import lacks_memory

#: Model families whose output is depth, and those that give inverse depth unless a config says otherwise.
DEPTH_FAMILIES = ("glpn", "tipsv2_dpt", "zoedepth")
INVERSE_DEPTH_FAMILIES = ("depth_anything", "depth_pro", "dpt", "prompt_depth_anything")
#: Never used in the DPT family, and therefore absent from some of its checkpoints, such as Intel/dpt-large.
_UNUSED = "neck.fusion_stage.layers.0.residual_layer1."
#: Settings, besides those that begin with _, that tell how and by what version a model was loaded or written.
_CIRCUMSTANCES = ("transformers_version", "dtype", "torch_dtype")
#: Seconds in which the hub has to answer.
_HUB_S = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TransformersDepth:
    """A transformers model as a :class:`pipeline.depth.DepthEstimator`; frames pass one by one."""

    name: str
    digest: str  # SHA-256 over its settings and its image processor's, and the names and bytes of its tensors
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
        """Inverse depth of each frame; see :class:`pipeline.depth.DepthEstimator`.

        Raises:
            InputError: a frame is of a size that the model does not take, or its depth is not finite.
        """
        return [self._one(frame, id_) for frame, id_ in zip(frames, ids, strict=True)]

    def _one(self, frame: np.ndarray, id_: str) -> np.ndarray:
        try:
            output = self._output(frame)
        except (ValueError, RuntimeError) as error:
            # Frames are not to blame for want of memory, nor for a GPU that fails in all that follow, too.
            if lacks_memory(error) or "CUDA error" in str(error):
                raise
            raise InputError(
                f"--depth {self.name}: the model does not take {id_} of {size_text(frame)} pixels "
                f"({first_line(error)})"
            ) from None
        if not np.isfinite(output).all():
            raise InputError(
                f"--depth {self.name}: the model gave no finite depth for {id_}; use another one"
            )
        if self.gives_depth:
            output = 1 / np.maximum(output, 1e-3)  # metres; nearer than a millimetre is noise
        return full_size(output, frame, refine=self.refine)

    @torch.inference_mode()
    def _output(self, frame: np.ndarray) -> np.ndarray:
        """What the model gives for one frame, of a size of its own."""
        # Padding would have to be cut off again; without it the output covers the frame exactly.
        unpadded = {"do_pad": False} if getattr(self.processor, "do_pad", False) else {}
        image = frame
        if not getattr(self.processor, "do_resize", True):
            # What is no whole patch would be left out, and the rest stretched over the frame.
            multiple = getattr(self.processor, "size_divisor", None) or _patch_size(self.model.config)
            height, width = (max(1, round(side / multiple)) * multiple for side in frame.shape[:2])
            image = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        inputs = self.processor(
            images=image, return_tensors="pt", input_data_format="channels_last", **unpadded
        ).to(self.device)
        with repeatable_kernels(), one_thread():
            return self.model(**inputs).predicted_depth[0].float().cpu().numpy()


def load_transformers_depth(source: str, *, device: torch.device | None, refine: bool) -> TransformersDepth:
    """Load ``hf:MODEL``: a local folder or an id of the hub, which transformers fetches once and keeps.

    Raises:
        InputError: transformers is not installed, or the model is missing, damaged or no depth estimator.
    """
    try:
        import transformers
    except ImportError:
        raise InputError(f"--depth {source}: needs transformers; pip install 'gifnet[hf]'") from None
    try:
        processor, model, info = _load(transformers, source.partition(":")[2])
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
    if config.model_type not in (families := (*DEPTH_FAMILIES, *INVERSE_DEPTH_FAMILIES)):
        raise InputError(
            f"--depth {source}: of the family {config.model_type} it is not known what is near; "
            f"use {', '.join(sorted(families))}"
        )
    device = device or torch.device("cpu")
    return TransformersDepth(
        name=source,
        digest=_digest(state, config.to_dict(), processor.to_dict()),
        model=model.float().eval().to(device),
        processor=processor,
        gives_depth=_gives_depth(config),
        device=device,
        refine=refine,
    )


def _load(transformers: Any, name: str) -> tuple[Any, Any, dict[str, Any]]:
    """The image processor, the model and what is told of loading it; the hub is asked for what is not here.

    Raises:
        Exception: whatever a missing or damaged model makes transformers raise; :class:`InputError` where
            there is no folder, and no answer of the hub.
    """

    def load(here: bool) -> tuple[Any, Any, dict[str, Any]]:
        processor = transformers.AutoImageProcessor.from_pretrained(name, local_files_only=here)
        model, info = transformers.AutoModelForDepthEstimation.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, local_files_only=here
        )
        return processor, model, info

    folder = Path(name).is_dir()
    if not folder and (name.startswith((".", "/", "~")) or name.count("/") > 1):  # no id of the hub
        raise InputError(f"there is no folder {name}")
    try:
        return load(here=True)  # or fetched before
    except OSError:
        if folder:
            raise
    from huggingface_hub import model_info  # of transformers

    try:
        model_info(name, timeout=_HUB_S)  # one question; fetching files is tried for minutes
    except Exception as error:  # noqa: BLE001 - of the hub or of its HTTP client, which changes
        raise InputError(f"no folder {name} here, and the hub gave none: {first_line(error)}") from None
    return load(here=False)


def _gives_depth(config: Any) -> bool:
    """Whether the output is depth; else it is inverse depth."""
    backbone = getattr(getattr(config, "backbone_config", None), "model_type", None)
    return (
        config.model_type in DEPTH_FAMILIES
        or getattr(config, "depth_estimation_type", "relative") == "metric"
        # DPT of MiDaS gives inverse depth, on DINOv2 it was trained on the metres of NYU and KITTI.
        or (config.model_type == "dpt" and backbone == "dinov2")
    )


def _patch_size(config: Any) -> int:
    sizes = (getattr(part, "patch_size", None) for part in (getattr(config, "backbone_config", None), config))
    return next((size for size in sizes if isinstance(size, int)), 1)


def _digest(state: dict[str, torch.Tensor], *settings: dict[str, Any]) -> str:
    """SHA-256 over settings and tensors."""
    digest = hashlib.sha256(canonical_json([_lasting(each) for each in settings]).encode())
    for key, value in sorted(state.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _lasting(settings: Any) -> Any:
    """Settings, which may be nested, without those of the circumstances."""
    if not isinstance(settings, dict):
        return settings
    return {
        str(key): _lasting(value)
        for key, value in settings.items()
        if not str(key).startswith("_") and key not in _CIRCUMSTANCES
    }
