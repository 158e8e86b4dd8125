"""The cross-task transformer of GIFNet: two streams of window attention and the gate between them.

The blocks are those of DehazeFormer (Song et al., "Vision Transformers for Single Image Dehazing", TIP 2023):
revised layer norm (RLN), window attention on reflection-padded windows beside a depth-wise convolution.
GIFNet gives every block one set of weights per task and lets the streams meet in the first block.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.attention import PositionBias, window_attention
from pipeline.networks.padding import ReflectedConv2d, reflection_pad

#: Multi-modal (infrared + visible) or digital-photography (multi-focus, multi-exposure) stream.
Task = Literal["mm", "dp"]

#: Added to the variance by the revised layer norm.
EPSILON = 1e-5


class CrossTaskTransformer(nn.Module):
    """Cross-fusion gating: refines the main task's features with the help of the other task's.

    After the first block main = main + lambda * other, with one learned lambda per main task. From there on
    the other stream cannot reach the output, so it is not computed.
    """

    def __init__(
        self, *, channels: int, heads: int, window: int, depth: int, local_path_quirk: bool = False
    ) -> None:
        super().__init__()
        self.alignment = window // 2
        self.embed_mm = conv3x3(channels, channels)
        self.embed_dp = conv3x3(channels, channels)
        self.cross_block = TransformerBlock(channels, heads, window, local_path_quirk=local_path_quirk)
        self.refine_blocks = nn.ModuleList(
            TransformerBlock(channels, heads, window, shifted=i % 2 == 0) for i in range(depth - 1)
        )
        # Start in the middle between an ignored and a fully added other stream.
        self.lambda_mm = nn.Parameter(torch.full((1,), 0.5))
        self.lambda_dp = nn.Parameter(torch.full((1,), 0.5))
        self.unembed = conv3x3(channels, channels)

    def forward(self, mm: Tensor, dp: Tensor, *, main: Task) -> Tensor:
        """Encoder features (B, C, H, W) of both streams -> refined features of the main one, same shape."""
        height, width = mm.shape[-2:]
        refined = self.cross_fuse(*self.embed(mm, dp), main=main)
        for block in self.refine_blocks:
            refined = block(refined, task=main)
        refined = self.unembed(refined)
        # A crop of everything is none, and its gradient would be channels first.
        return refined if refined.shape == mm.shape else refined[..., :height, :width]

    def embed(self, mm: Tensor, dp: Tensor) -> tuple[Tensor, Tensor]:
        """Pad right and bottom to the alignment and embed: (B, C, H, W) twice -> (B, C, H', W') twice."""
        height, width = mm.shape[-2:]
        right, bottom = -width % self.alignment, -height % self.alignment
        if right or bottom:
            same = mm is dp
            mm = reflection_pad(mm, (0, right, 0, bottom))
            dp = mm if same else reflection_pad(dp, (0, right, 0, bottom))
        return self.embed_mm(mm), self.embed_dp(dp)

    def cross_fuse(self, mm: Tensor, dp: Tensor, *, main: Task) -> Tensor:
        """First block and gate: embedded streams (B, C, H, W) -> main stream."""
        mm, dp = self.cross_block.cross(mm, dp, main=main)
        return mm + self.lambda_mm * dp if main == "mm" else dp + self.lambda_dp * mm


class TransformerBlock(nn.Module):
    """One block: a stream with its own weights for each task, and the position bias that they share."""

    def __init__(
        self, channels: int, heads: int, window: int, *, shifted: bool = False, local_path_quirk: bool = False
    ) -> None:
        super().__init__()
        self.mm = Stream(channels)
        self.dp = Stream(channels)
        self.position_bias = PositionBias(window, heads)
        self.heads, self.window, self.shifted = heads, window, shifted
        self.local_path_quirk = local_path_quirk

    def forward(self, x: Tensor, *, task: Task) -> Tensor:
        """One stream alone: (B, C, H, W) -> same shape."""
        stream = self.mm if task == "mm" else self.dp
        return self._main(stream, x, layer_statistics(x), self.position_bias())[0]

    def cross(self, mm: Tensor, dp: Tensor, *, main: Task) -> tuple[Tensor, Tensor]:
        """Both streams, (mm, dp) -> (mm, dp); the other one attends with the main stream's queries.

        The attention part of the other stream (values, keys, windows, local path, projection) carries no
        gradient; its rescale, rebias and MLP do.
        """
        mm_statistics, dp_statistics = layer_statistics(mm), layer_statistics(dp)
        bias = self.position_bias()
        if main == "mm":
            mm, query, value = self._main(self.mm, mm, mm_statistics, bias)
            local_value = value if self.local_path_quirk else None
            return mm, self._other(self.dp, dp, dp_statistics, bias, query, local_value)
        dp, query, _ = self._main(self.dp, dp, dp_statistics, bias)
        return self._other(self.mm, mm, mm_statistics, bias, query, None), dp

    def _main(
        self, stream: Stream, x: Tensor, statistics: Statistics, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Plain attention; also returns the queries and values that the other stream borrows."""
        query, key, value = stream.project_qkv(x, statistics).chunk(3, dim=1)
        mixed = stream.mix(self._attend(query, key, value, bias), value)
        return stream.finish(x, mixed, statistics), query, value

    def _other(
        self,
        stream: Stream,
        x: Tensor,
        statistics: Statistics,
        bias: Tensor,
        query: Tensor,
        local_value: Tensor | None,
    ) -> Tensor:
        """Cross attention: softmax(Q_main K_other^T) V_other."""
        with torch.no_grad():
            key, value = stream.project_key_value(x, statistics).chunk(2, dim=1)
            attended = self._attend(query, key, value, bias)
            mixed = stream.mix(attended, value if local_value is None else local_value)
        return stream.finish(x, mixed, statistics)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        return window_attention(
            query, key, value, bias, heads=self.heads, window=self.window, shifted=self.shifted
        )


def precise(x: Tensor) -> Tensor:
    """The same values in float32, or float64 if they are; for what half precision or autocast would round."""
    return x if x.dtype == torch.float64 else x.float()


class Statistics(NamedTuple):
    """Mean and standard deviation over (C, H, W): (B, 1, 1, 1) each of a batch, at least float32; float64
    scalars of one image's strips."""

    mean: Tensor
    deviation: Tensor


def layer_statistics(x: Tensor) -> Statistics:
    """Statistics of the revised layer norm: (B, C, H, W) -> two (B, 1, 1, 1), float32 also under autocast.

    The deviation is sqrt(population variance + :data:`EPSILON`).
    """
    # Channels last: that is how their gradients, which are as large as x, will lie too.
    x = precise(x).permute(0, 2, 3, 1)
    mean = _mean(x)
    # Two passes: as exact as torch.var_mean, which takes ten times as long on a CPU. The variance is at its
    # least in the mean, so it passes no gradient to it.
    variance = _mean((x - mean.detach()).square())
    return Statistics(mean, (variance + EPSILON).sqrt())


def _mean(x: Tensor) -> Tensor:
    """Mean over all but the first axis, (B, H, W, C) -> (B, 1, 1, 1)."""
    if torch.compiler.is_exporting():
        # Runtimes may add up one value after the other in float32, which millions are too many for.
        return x.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True).mean(dim=1, keepdim=True)
    return x.mean(dim=(1, 2, 3), keepdim=True)


class Stream(nn.Module):
    """One task's weights in one block: revised layer norm, Q/K/V, local path, projection and MLP.

    The norm takes its statistics from the whole image and gives scale and offset back after the attention,
    through two learned maps of the deviation and the mean.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.norm_bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.rescale = nn.Conv2d(1, channels, 1)
        self.rebias = nn.Conv2d(1, channels, 1)
        self.qkv = Pointwise(channels, 3 * channels)
        self.local = ReflectedConv2d(channels, channels, 5, groups=channels)
        self.project = Pointwise(channels, channels)
        self.mlp = nn.Sequential(
            Pointwise(channels, 2 * channels), nn.ReLU(), Pointwise(2 * channels, channels)
        )
        # As in DehazeFormer: nearly a plain residual at the start.
        for layer, start in ((self.rescale, 1.0), (self.rebias, 0.0)):
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.constant_(layer.bias, start)

    def project_qkv(self, x: Tensor, statistics: Statistics) -> Tensor:
        """Normalise and project: (B, C, H, W) -> (B, 3C, H, W), channels [Q | K | V]."""
        return self.qkv(self._normalise(x, statistics))

    def project_key_value(self, x: Tensor, statistics: Statistics) -> Tensor:
        """Only the [K | V] channels of :meth:`project_qkv`, (B, 2C, H, W)."""
        channels = x.shape[1]
        assert self.qkv.bias is not None
        return pointwise(self._normalise(x, statistics), self.qkv.weight[channels:], self.qkv.bias[channels:])

    def mix(self, attended: Tensor, value: Tensor) -> Tensor:
        """Local path (depth-wise 5x5 of the values) plus attention, projected; (B, C, H, W)."""
        if value.device.type == "cpu":
            # In bfloat16 oneDNN takes six times as long for the gradient of a depth-wise weight.
            with torch.autocast("cpu", enabled=False):
                local = self.local(precise(value))
        else:
            local = self.local(value)
        return self.project(local + attended)

    def finish(self, x: Tensor, mixed: Tensor, statistics: Statistics) -> Tensor:
        """Scale and offset given back, residual, MLP; (B, C, H, W). There is no norm before the MLP."""
        rescale = _map_statistic(self.rescale, statistics.deviation).to(mixed.dtype)
        rebias = _map_statistic(self.rebias, statistics.mean).to(mixed.dtype)
        x = torch.addcmul(x + rebias, mixed, rescale)
        return x + self.mlp(x)

    def _normalise(self, x: Tensor, statistics: Statistics) -> Tensor:
        scale = self.norm_weight / statistics.deviation
        return torch.addcmul(self.norm_bias - statistics.mean * scale, x, scale)


def _map_statistic(layer: nn.Conv2d, statistic: Tensor) -> Tensor:
    """The layer's 1x1 convolution of (B, 1, 1, 1), which autocast would round: -> (B, C, 1, 1) in float32."""
    assert layer.bias is not None
    return layer.weight[:, 0] * statistic + layer.bias[:, None, None]


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """The network's 3x3 convolution: reflection padding, size kept."""
    return ReflectedConv2d(in_channels, out_channels, 3)


class Pointwise(nn.Conv2d):
    """The network's 1x1 convolution, computed by :func:`pointwise`."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x, self.weight, self.bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1 convolution of (B, C, H, W) with a weight (C', C, 1, 1) -> (B, C', H, W)."""
    if x.device.type != "cpu" or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, bias)
    # On one thread PyTorch gives a 1x1 convolution of fewer than 16 images to a matrix product, which takes
    # twice as long as oneDNN. So every row becomes an image of its own; nothing is copied.
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch * height, 1, width, channels).permute(0, 3, 1, 2)
    out = F.conv2d(rows, weight, bias).permute(0, 2, 3, 1)
    return out.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
