"""GIFNet, the task-agnostic fusion network of Cheng et al., "One Model for ALL: Low-Level Task Interaction
Is a Key to Task-Agnostic Image Fusion" (CVPR 2025, arXiv:2502.19854).

    a, b --> shared encoder (S-Enc) --+--> reconstruction decoder (REC-Dec) --> reconstruction
                                      |
              features of MM and DP --+--> cross-task transformer --+
                                      |    (cross-fusion gating)    |
              features of main task --+-----------------------------+--> global decoder (G-Dec) --> fused

MM is the multi-modal stream (infrared + visible), DP the digital-photography stream (near + far, over +
under). One of them is the *main* task: its stream is decoded; the other one helps through cross attention
and the gate lambda. Both streams take the same features when fusing, different ones in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.head import HEADS
from model.blocks.pyramid_head import PyramidHead
from model.blocks.transformer import CrossTaskTransformer, Pointwise, Task, conv3x3, precise
from pipeline.files import InputError
from pipeline.networks.padding import ReflectedConv2d


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of GIFNet. The defaults are the published network."""

    #: Channels that each of the encoder's three convolutions adds to the two input planes.
    feature_growth: int = 32
    #: Channels of the decoders' first convolution; the next two have a half and a quarter of it.
    decoder_channels: int = 64
    #: What the global decoder gives: the fused plane itself, as published, or the shares of the two inputs
    #: in their Laplacian pyramids (pyramid); see model/blocks/pyramid_head.py.
    head: str = "plane"
    #: Side of an attention window in pixels; even.
    window: int = 8
    #: Attention heads; they divide the channels.
    heads: int = 2
    #: Transformer blocks: the first one holds cross attention and gate; every second one is shifted.
    depth: int = 2
    #: Whether, with MM as main task, DP's local path in the first block filters the values of MM instead of
    #: its own. The published weights were trained so and need it; networks trained here do not.
    local_path_quirk: bool = False

    def __post_init__(self) -> None:
        # Upper limits keep a foreign checkpoint from asking for a network that fills the memory.
        if not 1 <= self.feature_growth <= 256:
            raise InputError(f"network: feature_growth is {self.feature_growth}; use 1 to 256")
        if not 4 <= self.decoder_channels <= 512 or self.decoder_channels % 4:
            raise InputError(
                f"network: decoder_channels is {self.decoder_channels}; use a multiple of 4 up to 512"
            )
        if self.head not in HEADS:
            raise InputError(f"network: head is {self.head!r}; use one of {', '.join(HEADS)}")
        if not 1 <= self.depth <= 16:
            raise InputError(f"network: depth is {self.depth}; use 1 to 16")
        if not 4 <= self.window <= 32 or self.window % 2:
            raise InputError(f"network: window is {self.window}; use an even number from 4 to 32")
        if self.heads < 1 or self.channels % self.heads:
            raise InputError(
                f"network: {self.heads} heads do not divide the {self.channels} channels of feature_growth "
                f"{self.feature_growth}; use an even feature_growth"
            )

    @property
    def channels(self) -> int:
        """Channels of the encoder's output and of the transformer."""
        return 2 + 3 * self.feature_growth

    @property
    def alignment(self) -> int:
        """Features are reflection-padded to a multiple of this many pixels before the transformer."""
        return self.window // 2

    @property
    def min_side(self) -> int:
        """Shortest side in pixels that reflection padding allows, by the engine's strips too."""
        return max(self.window // 2 + 1, 5)

    def check_size(self, height: int, width: int, what: str = "") -> None:
        """Refuse what is too small for the network; ``what`` it is of, for the message.

        Raises:
            InputError: a side in pixels is shorter than :attr:`min_side`.
        """
        if min(height, width) < self.min_side:
            where = f"{what}: " if what else ""
            raise InputError(f"{where}{width}x{height} is too small: both sides need {self.min_side} pixels")


class GIFNet(nn.Module):
    """The whole network.

    Inputs are luminance planes, float, (B, 1, H, W) in [0, 1], H and W at least ``config.min_side``. By
    convention a is infrared, near-focused or over-exposed, and b visible, far-focused or under-exposed.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SharedEncoder(config)
        self.reconstruction_decoder = Decoder(config.channels, config.decoder_channels)
        self.transformer = CrossTaskTransformer(
            channels=config.channels,
            heads=config.heads,
            window=config.window,
            depth=config.depth,
            local_path_quirk=config.local_path_quirk,
        )
        self.global_decoder = GlobalDecoder(config)
        self.head = HEADS[config.head]()
        if isinstance(self.head, PyramidHead):
            self._begin_with_the_head()

    def forward(self, a: Tensor, b: Tensor, *, main: Task = "dp") -> Tensor:
        """Fuse two planes: (B, 1, H, W) twice -> (B, 1, H, W) in [0, 1].

        Raises:
            InputError: the planes differ in shape, are not single-channel, or are too small.
        """
        self._check(a, b)
        features = self.encode(a, b)
        return self.fuse_features(features, features, main=main)

    def encode(self, a: Tensor, b: Tensor) -> Tensor:
        """Shared encoder (S-Enc): two planes (B, 1, H, W) -> features (B, C, H, W)."""
        return self.encoder(torch.cat([a, b], dim=1))

    def reconstruct(self, features: Tensor) -> Tensor:
        """REC branch: encoder features -> plane (B, 1, H, W) in [-1, 1], trained to be the image b."""
        return torch.tanh(self.reconstruction_decoder(features))

    def fuse_features(self, mm: Tensor, dp: Tensor, *, main: Task) -> Tensor:
        """Fuse encoder features (B, C, H, W) of the two streams -> (B, 1, H, W) in [0, 1].

        In training the attention part of the other stream gets no gradient, as published: its embedding,
        its rescale and rebias and its MLP learn through the gate. Pass the same tensor twice to fuse.
        """
        refined = self.transformer(mm, dp, main=main)
        features = mm if main == "mm" else dp
        decoded = self.global_decoder(features, refined)
        with torch.autocast(decoded.device.type, enabled=False):
            # The encoder's output has the two input planes in front.
            return self.head(self.head.pooled(precise(decoded)), precise(features[:, :2]))

    def _begin_with_the_head(self) -> None:
        """Maps of 0, so that the start is what the head does by itself, of features that keep their scale.

        PyTorch's own start loses a half of it and more in every layer (He et al., "Delving Deep into
        Rectifiers", ICCV 2015): weights of 0 would then see almost nothing to begin with.
        """
        *hidden, last = (
            layer
            for part in (self.encoder, self.global_decoder)
            for layer in part.modules()
            if isinstance(layer, nn.Conv2d)
        )
        for layer in hidden:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def _check(self, a: Tensor, b: Tensor) -> None:
        if a.shape != b.shape:
            raise InputError(
                f"the two inputs differ in shape: {tuple(a.shape)} and {tuple(b.shape)}; resize one"
            )
        if a.ndim != 4 or a.shape[1] != 1:
            raise InputError(f"inputs must be single planes (B, 1, H, W), not {tuple(a.shape)}")
        self.config.check_size(a.shape[-2], a.shape[-1])


class SharedEncoder(nn.Module):
    """S-Enc: three densely connected 3x3 convolutions; its output keeps the two input planes in front."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        growth = config.feature_growth
        self.convolutions = nn.ModuleList(conv3x3(2 + i * growth, growth) for i in range(3))

    def forward(self, planes: Tensor) -> Tensor:
        """(B, 2, H, W) -> (B, C, H, W)."""
        features = planes
        for convolution in self.convolutions:
            grown = F.relu(convolution(features))
            if grown.is_contiguous(memory_format=torch.channels_last):
                # Two planes side by side are not; and what is concatenated with them would not be either.
                features = features.contiguous(memory_format=torch.channels_last)
            features = torch.cat([features, grown], dim=1)
        return features


class Decoder(nn.Sequential):
    """3x3 convolutions, as published to 64, 32, 16 and 1 channels, ReLU between; leaky with a slope."""

    def __init__(self, in_channels: int, width: int, out_channels: int = 1, *, slope: float = 0.0) -> None:
        super().__init__(
            conv3x3(in_channels, width),
            nn.LeakyReLU(slope),
            conv3x3(width, width // 2),
            nn.LeakyReLU(slope),
            conv3x3(width // 2, width // 4),
            nn.LeakyReLU(slope),
            conv3x3(width // 4, out_channels),
        )

    def after(self, widen: nn.Module, x: Tensor) -> Tensor:
        """The decoder behind a 1x1 convolution without bias, as one convolution with its first.

        Both are linear, and the maps between them, which have the most channels of all, are left out. The
        weights are multiplied in float32 also under autocast.
        """
        first, *rest = self
        assert isinstance(first, ReflectedConv2d) and isinstance(widen, Pointwise)
        with torch.autocast(x.device.type, enabled=False):
            weight = torch.einsum("omkl,mi->oikl", first.weight, widen.weight.flatten(1))
        x = first.with_weight(x, weight)
        for layer in rest:
            x = layer(x)
        return x


class GlobalDecoder(nn.Module):
    """G-Dec: merges the main task's encoder features with the transformer's output."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.channels
        self.merge = nn.Sequential(
            Pointwise(2 * channels, channels, bias=False),
            nn.ReLU(),
            Pointwise(channels, 2 * config.decoder_channels, bias=False),
        )
        head = HEADS[config.head]
        width = config.decoder_channels
        self.decoder = Decoder(2 * width, width, head.channels, slope=head.slope)

    def forward(self, features: Tensor, refined: Tensor) -> Tensor:
        """Two tensors (B, C, H, W) -> what the head takes, (B, channels, H, W)."""
        first, activation, widen = self.merge
        return self.decoder.after(widen, activation(first(torch.cat([features, refined], dim=1))))
