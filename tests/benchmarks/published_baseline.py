"""The published GIFNet computed plainly: what the benchmarks compare with.

One eager pass over the whole image, NCHW, straight from the published definition and the published tensor
names: both streams of both blocks, an explicit softmax, the layer norm as separate operations, no strips.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

TRANSFORMER = "extractor_multask.SwinTransformerSpecific."
WINDOW, HEADS = 8, 2


def published_forward(state: Mapping[str, Tensor], a: Tensor, b: Tensor, main: str = "dp") -> Tensor:
    """Fuse two planes.

    Args:
        state: the 116 tensors of the authors' ``Final.model``.
        a, b: (B, 1, H, W), float32 in [0, 1].
        main: ``mm`` or ``dp``.

    Returns:
        (B, 1, H, W) in [0, 1].
    """
    features = published_encode(state, a, b)
    refined = published_transform(state, features, features, main)
    return published_decode(state, features, refined)


def published_encode(state: Mapping[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Two planes -> encoder features (B, 98, H, W)."""
    features = torch.cat([a, b], dim=1)
    for i in (1, 2, 3):
        grown = torch.relu(_conv(state, f"getSharedFeatures.conv_{i}.conv2d", features))
        features = torch.cat([features, grown], dim=1)
    return features


def published_reconstruct(state: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """REC branch: encoder features -> (B, 1, H, W)."""
    return torch.tanh(_decoder(state, "decoder_rec", features))


def published_decode(state: Mapping[str, Tensor], features: Tensor, refined: Tensor) -> Tensor:
    """Global decoder: the main task's encoder features and the transformer's output -> (B, 1, H, W)."""
    name = "cnnDecoder.fuseComplementFeatures.mlp"
    merged = F.conv2d(torch.cat([features, refined], dim=1), state[f"{name}.0.weight"])
    merged = F.conv2d(torch.relu(merged), state[f"{name}.2.weight"])
    return torch.tanh(_decoder(state, "cnnDecoder", merged)) / 2 + 0.5


def published_transform(state: Mapping[str, Tensor], mm: Tensor, dp: Tensor, main: str) -> Tensor:
    """Cross-task transformer: encoder features of both streams -> refined features of the main one."""
    height, width = mm.shape[-2:]
    padding = (0, -width % 4, 0, -height % 4)
    mm, dp = F.pad(mm, padding, mode="reflect"), F.pad(dp, padding, mode="reflect")
    mm = _conv(state, f"{TRANSFORMER}patch_embed_ivif.proj", mm)
    dp = _conv(state, f"{TRANSFORMER}patch_embed_mfif.proj", dp)
    for i in (0, 1):
        mm, dp = _block(state, i, mm, dp, main)
        if i == 0 and main == "mm":
            mm = mm + state[f"{TRANSFORMER}layer1.weights.0"] * dp
        elif i == 0:
            dp = dp + state[f"{TRANSFORMER}layer1.weights_mfif.0"] * mm
    refined = _conv(state, f"{TRANSFORMER}patch_unembed.proj.0", mm if main == "mm" else dp)
    return refined[..., :height, :width]


def _block(
    state: Mapping[str, Tensor], index: int, mm: Tensor, dp: Tensor, main: str
) -> tuple[Tensor, Tensor]:
    block = f"{TRANSFORMER}layer1.blocks.{index}"
    bias = _position_bias(state, f"{block}.attn.attn")
    streams = {}
    for task, suffix, x in (("mm", "", mm), ("dp", "_mfif", dp)):
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        deviation = ((x - mean).pow(2).mean(dim=(1, 2, 3), keepdim=True) + 1e-5).sqrt()
        norm = f"{block}.norm1{suffix}"
        normalised = (x - mean) / deviation * state[f"{norm}.weight"] + state[f"{norm}.bias"]
        streams[task] = {
            "suffix": suffix,
            "x": x,
            "rescale": _pointwise(state, f"{norm}.meta1", deviation),
            "rebias": _pointwise(state, f"{norm}.meta2", mean),
            "v": _pointwise(state, f"{block}.attn.V{suffix}", normalised),
            "qk": _pointwise(state, f"{block}.attn.QK{suffix}", normalised),
        }
    outputs = []
    for task, own in streams.items():
        query, key = own["qk"].chunk(2, dim=1)
        value, suffix = own["v"], own["suffix"]
        if index == 0 and task != main:  # cross attention
            query = streams[main]["qk"].chunk(2, dim=1)[0]
        quirk = index == 0 and main == "mm" and task == "dp"
        local = F.conv2d(
            F.pad(streams["mm"]["v"] if quirk else value, (2, 2, 2, 2), mode="reflect"),
            state[f"{block}.attn.conv{suffix}.weight"],
            state[f"{block}.attn.conv{suffix}.bias"],
            groups=value.shape[1],
        )
        attended = _attention(query, key, value, bias, shift=4 * index)
        mixed = _pointwise(state, f"{block}.attn.proj{suffix}", local + attended)
        x = own["x"] + (mixed * own["rescale"] + own["rebias"])
        hidden = torch.relu(_pointwise(state, f"{block}.mlp{suffix}.mlp.0", x))
        outputs.append(x + _pointwise(state, f"{block}.mlp{suffix}.mlp.2", hidden))
    return outputs[0], outputs[1]


def _attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, shift: int) -> Tensor:
    """Window attention with explicit scores; the image is filled up to whole windows by reflection."""
    batch, channels, height, width = query.shape
    right, bottom = -(width + shift) % WINDOW, -(height + shift) % WINDOW
    padded = F.pad(torch.cat([query, key, value], dim=1), (shift, right, shift, bottom), mode="reflect")
    rows, columns = padded.shape[2] // WINDOW, padded.shape[3] // WINDOW
    windows = padded.view(batch, 3, HEADS, channels // HEADS, rows, WINDOW, columns, WINDOW)
    windows = windows.permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(
        3, batch * rows * columns, HEADS, WINDOW * WINDOW, channels // HEADS
    )
    q, k, v = windows
    scores = (q * (channels // HEADS) ** -0.5) @ k.transpose(-2, -1) + bias
    attended = torch.softmax(scores, dim=-1) @ v
    attended = attended.view(batch, rows, columns, HEADS, WINDOW, WINDOW, channels // HEADS)
    attended = attended.permute(0, 3, 6, 1, 4, 2, 5).reshape(batch, channels, rows * WINDOW, columns * WINDOW)
    return attended[..., shift : shift + height, shift : shift + width]


def _position_bias(state: Mapping[str, Tensor], name: str) -> Tensor:
    """(heads, 64, 64)."""
    hidden = F.linear(
        state[f"{name}.relative_positions"], state[f"{name}.meta.0.weight"], state[f"{name}.meta.0.bias"]
    )
    bias = F.linear(torch.relu(hidden), state[f"{name}.meta.2.weight"], state[f"{name}.meta.2.bias"])
    return bias.permute(2, 0, 1)


def _decoder(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    for i in (1, 4, 7):
        x = torch.relu(_conv(state, f"{name}.decoder.{i}", x))
    return _conv(state, f"{name}.decoder.10", x)


def _conv(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, state[f"{name}.weight"], state[f"{name}.bias"])


def _pointwise(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])
