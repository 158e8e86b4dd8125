"""Inverse depth of whole frames, by the name of where it comes from.

=========================  =================================================================================
``default``                the network shipped with this package (trained on procedural scenes), which sees
                           infrared frames too
``megadepth:PATH``         the MegaDepth hourglass with the authors' file ``best_generalization_net_G.pth``
``files:FOLDER``           maps that exist already: ``FOLDER/ID.png``, ``.npy`` or ``.h5``
``timm:ENCODER:PATH``      a network made by ``weights train-depth`` with that timm encoder
``hf:MODEL``               a depth-estimation model of transformers, by hub id or local folder
=========================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.files import InputError

if TYPE_CHECKING:
    import torch

#: Every form that a depth source may take, for help texts and messages.
DEPTH_SOURCES = ("default", "megadepth:PATH", "files:FOLDER", "timm:ENCODER:PATH", "hf:MODEL")
#: Sides of the input must be multiples of this: the coarsest stride of the encoders.
STRIDE = 32
#: Frames that pass together: a batch of a network on a GPU, which is filled up where they are fewer, because
#: kernels are chosen by its size.
FRAMES_AT_ONCE = 8


class DepthEstimator(Protocol):
    """Something that knows the inverse depth of frames."""

    @property
    def digest(self) -> str:
        """SHA-256 of its weights, and of settings that lie beside them; empty for maps read from files."""
        ...

    def path_of(self, id_: str) -> Path | None:
        """The file that a frame's map is read from, if there is one; always None for a network."""
        ...

    def estimate(
        self, frames: Sequence[np.ndarray], ids: Sequence[str], infrared: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Estimate the inverse depth of each frame.

        A frame's result depends on that frame alone: it has the same bits in any batch and any order, on one
        device with one set of versions.

        Args:
            frames: whole frames, (H, W, 3) uint8 RGB, of any and of different sizes.
            ids: one id per frame, which names it in errors and finds its file for ``files:``.
            infrared: the aligned thermal infrared frame of each, (H, W) uint8, for those that can use it.

        Returns:
            One (H, W) float32 map per frame, in [0, 1], 1 = nearest; constant where a frame has no relief.

        Raises:
            InputError: no usable map can be made for a frame; the message names it.
        """
        ...


def source_identity(source: str) -> str:
    """What a plan holds of a depth source: not where files lie whose content counts anyway.

    Weights, and the settings of ``hf:``, count by the digest, which the plan holds too; depth maps count as
    sources of their shards.
    """
    kind, _, argument = source.partition(":")
    if kind in ("files", "megadepth", "hf"):
        return kind
    return f"{kind}:{argument.partition(':')[0]}" if kind == "timm" else source


def load_depth_estimator(
    source: str, *, device: torch.device | None = None, refine: bool = True
) -> DepthEstimator:
    """Make the estimator that ``source`` names (see the module's table).

    Args:
        source: one of ``DEPTH_SOURCES``.
        device: where a network runs; None = CPU. Files need none.
        refine: pull the depth edges of a network onto the frame's edges by a guided filter; maps from files
            stay as their owner made them.

    Raises:
        InputError: the source is unknown, or what it points to is missing or of another kind.
    """
    kind, _, argument = source.partition(":")
    if kind == "files" and argument:
        from pipeline.depth.files import FileDepth

        return FileDepth(Path(argument))
    if source == "default" or (kind in ("megadepth", "timm") and argument):
        from pipeline.depth.inference import load_network_depth

        return load_network_depth(source, device=device, refine=refine)
    if kind == "hf" and argument:
        from pipeline.depth.hf import load_transformers_depth

        return load_transformers_depth(source, device=device, refine=refine)
    raise InputError(f"--depth {source}: unknown depth source; use one of {', '.join(DEPTH_SOURCES)}")
