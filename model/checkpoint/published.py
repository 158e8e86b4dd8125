"""Import of the authors' checkpoint (``Final.model``): which of its 116 tensors becomes which of ours.

There the MM stream has plain names or ``ivif``, its DP twin ends in ``_mfif``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from model.blocks.attention import log_offsets
from model.network import GIFNet, NetworkConfig
from pipeline.files import InputError

#: The network that the authors trained.
PUBLISHED_CONFIG = NetworkConfig(local_path_quirk=True)
_TRANSFORMER = "extractor_multask.SwinTransformerSpecific."
#: Gates behind the last block: present in the file, without effect on any output. Dropped.
UNUSED_NAMES = (f"{_TRANSFORMER}layer1.weights.1", f"{_TRANSFORMER}layer1.weights_mfif.1")
#: Buffers that follow from the window size. Checked, then dropped.
OFFSET_NAMES = tuple(f"{_TRANSFORMER}layer1.blocks.{i}.attn.attn.relative_positions" for i in range(2))


def is_published(content: object) -> bool:
    """Whether an unpickled file looks like the authors' state dict."""
    return isinstance(content, Mapping) and "getSharedFeatures.conv_1.conv2d.weight" in content


def import_published(content: Mapping[str, Tensor], path: Path) -> GIFNet:
    """Build the published network from the authors' state dict.

    Raises:
        InputError: a tensor is missing, unknown or of the wrong shape or type.
    """
    names = published_names()
    expected = {name for parts in names.values() for name in parts} | {*UNUSED_NAMES, *OFFSET_NAMES}
    missing, unknown = sorted(expected - set(content)), sorted(map(str, set(content) - expected))
    if missing or unknown:
        problem = f"lacks {missing[0]}" if missing else f"holds {unknown[0]}, which GIFNet does not have"
        raise InputError(f"{path}: not the published GIFNet: it {problem}; download the file again")
    for name, value in content.items():
        if not isinstance(value, Tensor) or value.dtype != torch.float32 or not value.isfinite().all():
            raise InputError(f"{path}: {name} is not a finite float32 tensor; download the file again")

    offsets = log_offsets(PUBLISHED_CONFIG.window)
    for name in OFFSET_NAMES:
        if content[name].shape != offsets.shape or not torch.allclose(content[name], offsets, atol=1e-6):
            raise InputError(f"{path}: {name} are not the offsets of a window of 8x8; download again")
    network = GIFNet(PUBLISHED_CONFIG)
    own = {}
    for name, parameter in network.state_dict().items():
        parts = [content[part] for part in names[name]]
        alike = len({part.shape[1:] for part in parts}) == 1 and parts[0].ndim > 0
        joined = torch.cat(parts) if alike else parts[0]
        # Scale and shift of a normalisation have a batch axis there.
        if not alike or joined.shape not in (parameter.shape, (1, *parameter.shape)):
            shapes, due = " and ".join(str(tuple(part.shape)) for part in parts), tuple(parameter.shape)
            raise InputError(
                f"{path}: {names[name][0]} has shape {shapes} where {due} is due; download again"
            )
        own[name] = joined.reshape(parameter.shape)
    network.load_state_dict(own)
    return network.eval()


def published_names() -> dict[str, tuple[str, ...]]:
    """Our name of every tensor -> the published tensors that it is made of, joined along the first axis."""
    names: dict[str, str | tuple[str, ...]] = {
        "transformer.lambda_mm": f"{_TRANSFORMER}layer1.weights.0",
        "transformer.lambda_dp": f"{_TRANSFORMER}layer1.weights_mfif.0",
    }
    layers = {
        "transformer.embed_mm": f"{_TRANSFORMER}patch_embed_ivif.proj",
        "transformer.embed_dp": f"{_TRANSFORMER}patch_embed_mfif.proj",
        "transformer.unembed": f"{_TRANSFORMER}patch_unembed.proj.0",
    }
    for i in range(3):
        layers[f"encoder.convolutions.{i}"] = f"getSharedFeatures.conv_{i + 1}.conv2d"
    for i, j in ((0, 1), (2, 4), (4, 7), (6, 10)):
        layers[f"reconstruction_decoder.{i}"] = f"decoder_rec.decoder.{j}"
        layers[f"global_decoder.decoder.{i}"] = f"cnnDecoder.decoder.{j}"
    for i in (0, 2):
        names[f"global_decoder.merge.{i}.weight"] = f"cnnDecoder.fuseComplementFeatures.mlp.{i}.weight"

    for i, ours in enumerate(("transformer.cross_block", "transformer.refine_blocks.0")):
        theirs = f"{_TRANSFORMER}layer1.blocks.{i}"
        for j in (0, 2):
            layers[f"{ours}.position_bias.mlp.{j}"] = f"{theirs}.attn.attn.meta.{j}"
        for task, suffix in (("mm", ""), ("dp", "_mfif")):
            stream, norm = f"{ours}.{task}", f"{theirs}.norm1{suffix}"
            layers[f"{stream}.rescale"] = f"{norm}.meta1"
            layers[f"{stream}.rebias"] = f"{norm}.meta2"
            layers[f"{stream}.local"] = f"{theirs}.attn.conv{suffix}"
            layers[f"{stream}.project"] = f"{theirs}.attn.proj{suffix}"
            for j in (0, 2):
                layers[f"{stream}.mlp.{j}"] = f"{theirs}.mlp{suffix}.mlp.{j}"
            for kind in ("weight", "bias"):
                names[f"{stream}.norm_{kind}"] = f"{norm}.{kind}"
                query_key, value = f"{theirs}.attn.QK{suffix}.{kind}", f"{theirs}.attn.V{suffix}.{kind}"
                names[f"{stream}.qkv.{kind}"] = (query_key, value)

    for ours, theirs in layers.items():
        for kind in ("weight", "bias"):
            names[f"{ours}.{kind}"] = f"{theirs}.{kind}"
    return {ours: (parts,) if isinstance(parts, str) else parts for ours, parts in names.items()}
