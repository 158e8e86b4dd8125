"""A transformer block in training on a GPU: see :mod:`model.training.padded`.

Revised layer norm, affine once an image's statistics are known, is merged into the weights that read what it
gives, for each sample. So are the rescale and rebias behind the attention into those of the projection and of
the MLP. Maps are (B, H, W, C).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.attention import attend_heads, from_windows, in_chunks, to_windows
from model.blocks.transformer import Statistics, Stream, Task, TransformerBlock
from model.engine.layout import Layout
from model.training.spread import Spreader, map_statistics
from pipeline.networks.padding import reflection_pad

_ONE = Layout(1, torch.tensor([0]))


@dataclass(frozen=True, kw_only=True)
class BlockLayouts:
    """Channels of the maps in and between blocks, in pieces of ``multiple``."""

    channels: int
    heads: int
    multiple: int

    @property
    def map(self) -> Layout:
        """Of the maps between blocks, with a channel of ones."""
        return Layout.of(self._sizes, self.multiple, one=True)

    @property
    def added(self) -> Layout:
        """Of what is added to such a map, whose ones stay."""
        return Layout(self.map.channels, self.map.places)

    def split(self, parts: int) -> Layout:
        """Of so many of queries, keys and values side by side."""
        return Layout.of(self._sizes * parts, self.multiple)

    @property
    def hidden(self) -> Layout:
        """Of the MLP's maps."""
        return Layout.of([2 * self.channels], self.multiple, one=True)

    @property
    def _sizes(self) -> list[int]:
        return [self.channels // self.heads] * self.heads


class PaddedBlock:
    """The streams of one block.

    Args:
        block: whose parameters are used.
        layouts: of its maps.
        own: 1 for the network's channels of a map and 0 for the others, (C,).
        name: of the block, for the spreader.
    """

    def __init__(
        self, block: TransformerBlock, layouts: BlockLayouts, own: Tensor, spreader: Spreader, name: str
    ) -> None:
        self._block, self._layouts, self._own = block, layouts, own
        self._spread, self._name = spreader, name
        self._window = block.window

    def main(self, x: Tensor, *, task: Task) -> tuple[Tensor, Tensor, Tensor]:
        """One stream alone, and its queries and values (windows, N, C)."""
        stream, statistics = self._stream(task), self._statistics(x)
        query, key, value = self._project(stream, task, x, statistics, 3)
        mixed = self._mix(stream, task, x, query, key, value, value)
        return self._finish(stream, task, x, mixed, statistics, learns=True), query, value

    def other(self, x: Tensor, *, task: Task, query: Tensor, local_value: Tensor | None) -> Tensor:
        """The stream beside the main one, with that one's queries, and its values in the local path if given.

        The attention part carries no gradient.
        """
        stream, statistics = self._stream(task), self._statistics(x)
        with torch.no_grad():
            key, value = self._project(stream, task, x, statistics, 2)
            mixed = self._mix(
                stream, task, x, query, key, value, value if local_value is None else local_value
            )
        return self._finish(stream, task, x, mixed, statistics, learns=False)

    def _stream(self, task: Task) -> Stream:
        return self._block.mm if task == "mm" else self._block.dp

    def _statistics(self, x: Tensor) -> Statistics:
        mean, deviation = map_statistics(x.flatten(1, 2), self._own, self._layouts.channels)
        return Statistics(mean[:, None], deviation[:, None])

    def _project(
        self, stream: Stream, task: Task, x: Tensor, statistics: Statistics, parts: int
    ) -> tuple[Tensor, ...]:
        """The last of queries, keys and values of the normalised map, (windows, N, C) each."""
        windows = to_windows(self._filled(x.permute(0, 3, 1, 2)), self._window)
        scale = stream.norm_weight.flatten() / statistics.deviation
        offset = stream.norm_bias.flatten() - statistics.mean * scale
        first = (3 - parts) * self._layouts.channels
        weight, bias = (tensor[first:] for tensor in _weights(stream.qkv))
        wide = self._spread(
            f"{self._name} {task} {parts} of qkv",
            weight * scale[:, None],
            bias + offset @ weight.t(),
            self._layouts.map,
            self._layouts.split(parts),
        )
        projected = windows.unflatten(0, (len(x), -1)).flatten(1, 2) @ wide.mT
        return projected.view(-1, self._window**2, parts, projected.shape[2] // parts).unbind(2)

    def _mix(
        self,
        stream: Stream,
        task: Task,
        x: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        local_value: Tensor,
    ) -> Tensor:
        """Local path of some values beside the attention to others."""
        bias = self._block.position_bias().to(query.dtype).contiguous()
        scale = (self._layouts.channels // self._layouts.heads) ** -0.5
        attended = in_chunks(attend_heads, query, key, value, bias, scale=scale)
        values = self._placed(local_value, x).permute(0, 3, 1, 2)
        weight, target = stream.local.weight, self._layouts.split(1)
        local = self._spread.convolve(
            f"{self._name} {task} local", values, weight, None, _ONE, target, groups=target.channels
        )
        return local.permute(0, 2, 3, 1) + self._placed(attended, x)

    def _finish(
        self, stream: Stream, task: Task, x: Tensor, mixed: Tensor, statistics: Statistics, *, learns: bool
    ) -> Tensor:
        """Projection, scale and offset given back, residual and MLP.

        What the projection would add to x comes with the biases of the MLP instead, which reads x.
        """
        name, layouts, pixels = f"{self._name} {task}", self._layouts, x.flatten(1, 2)
        project, offset = _weights(stream.project)
        assert stream.local.bias is not None
        offset = offset + project @ stream.local.bias
        if not learns:
            project, offset = project.detach(), offset.detach()
        rescale, rebias = (
            weight[:, 0] * statistic + bias
            for (weight, bias), statistic in (
                (_weights(stream.rescale), statistics.deviation),
                (_weights(stream.rebias), statistics.mean),
            )
        )
        shift = rescale * offset + rebias
        (expand, expand_bias), (contract, contract_bias) = map(_weights, (stream.mlp[0], stream.mlp[2]))
        expand_bias, contract_bias = expand_bias + shift @ expand.t(), contract_bias + shift
        expand, contract = (weight.expand(len(x), -1, -1) for weight in (expand, contract))

        project = project * rescale[..., None]
        wide = self._spread(f"{name} project", project, None, layouts.split(1), layouts.added)
        pixels = torch.baddbmm(pixels, mixed.flatten(1, 2), wide.mT)
        wide = self._spread(f"{name} expand", expand, expand_bias, layouts.map, layouts.hidden)
        hidden = F.relu(pixels @ wide.mT)
        wide = self._spread(f"{name} contract", contract, contract_bias, layouts.hidden, layouts.added)
        return torch.baddbmm(pixels, hidden, wide.mT).view_as(x)

    def _filled(self, x: Tensor) -> Tensor:
        """(B, C, H, W) with what windows over the border see there."""
        sides = self._sides(*x.shape[2:])
        return reflection_pad(x, sides) if any(sides) else x

    def _placed(self, windows: Tensor, x: Tensor) -> Tensor:
        """Windows (windows, N, C) where they lie in x."""
        height, width = x.shape[1:3]
        left, right, top, bottom = self._sides(height, width)
        pixels = from_windows(
            windows, torch.Size((top + height + bottom, left + width + right)), self._window
        )
        return pixels[:, top : top + height, left : left + width] if left or right or bottom else pixels

    def _sides(self, height: int, width: int) -> tuple[int, int, int, int]:
        before = self._window // 2 if self._block.shifted else 0
        return before, -(width + before) % self._window, before, -(height + before) % self._window


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution's matrix (out, in) and its bias."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    return layer.weight.flatten(1), layer.bias
