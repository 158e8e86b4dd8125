"""The published training step computed plainly, and with what makes it faster, one thing at a time."""

from __future__ import annotations

from functools import partial

import timm
import torch
import torch.nn.functional as F
from published_losses import published_public_loss
from torch import Tensor, nn

from model.blocks.attention import attend_cuda
from model.blocks.transformer import Stream, TransformerBlock
from model.network import GIFNet
from model.training.feed import Batch
from model.training.information import DENSENET_STAGES
from pipeline.networks.padding import ReflectedConv2d, reflection_pad


class PlainStep:
    """The two updates as the published code computes them, on the weights of a :class:`GIFNet`.

    Args:
        network: trained in place, on its device.
        channels_last: how weights and maps lie in memory.
        fp16: mixed precision with a gradient scaler; CUDA alone.
        fused_adam: one kernel for all tensors instead of several for each.
        fused_attention: heads padded to what fused kernels take instead of scores written out.
        own_padding: the product's reflection instead of PyTorch's, which makes maps channels first on CUDA.
    """

    def __init__(
        self,
        network: GIFNet,
        *,
        channels_last: bool = False,
        fp16: bool = False,
        fused_adam: bool = False,
        fused_attention: bool = False,
        own_padding: bool = False,
    ) -> None:
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout)
        self.device = next(network.parameters()).device
        self.fp16, self.fused_attention = fp16, fused_attention
        self.pad = reflection_pad if own_padding else partial(F.pad, mode="reflect")
        # Neither `fused` nor `foreach` is Adam tensor by tensor.
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, foreach=False, fused=fused_adam)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=fp16)
        features = timm.create_model("densenet121", pretrained=False).eval().get_submodule("features")
        features = features.to(self.device).to(memory_format=self.layout)
        self.stages: list[nn.Sequential] = []
        stage = nn.Sequential()
        for name, layer in features.named_children():
            stage.append(layer)
            if name in DENSENET_STAGES:
                self.stages.append(stage)
                stage = nn.Sequential()

    def __call__(self, batch: Batch, weights: tuple[float, float] | None = None) -> list[float]:
        """``weights`` replace w_ir and w_vis, which are computed all the same."""
        batch = Batch(**{k: v.contiguous(memory_format=self.layout) for k, v in vars(batch).items()})
        losses = []
        for main in ("mm", "dp"):
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.fp16):
                fused, reconstruction = (planes.float() for planes in self.outputs(batch, main))
            if main == "mm":
                with torch.no_grad():
                    g = torch.stack([self.information(batch.infrared), self.information(batch.visible)])
                w_ir, w_vis = torch.softmax(g, 0) if weights is None else weights
                task = w_ir * F.mse_loss(fused, batch.infrared) + w_vis * F.mse_loss(fused, batch.visible)
            else:
                task = F.mse_loss(fused, batch.visible)
            public = published_public_loss(reconstruction, batch.visible)
            self.scaler.scale(task + public).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            losses += [float(task.detach()), float(public.detach())]
        return losses

    def outputs(self, batch: Batch, main: str) -> tuple[Tensor, Tensor]:
        """Fused image and reconstruction; the main task's features first, since autocast caches weights."""
        if main == "mm":
            own = mm = self.encode(batch.infrared, batch.visible)
            with torch.no_grad():
                dp = self.encode(batch.dp_a, batch.dp_b)
        else:
            own = dp = self.encode(batch.dp_a, batch.dp_b)
            with torch.no_grad():
                mm = self.encode(batch.infrared, batch.visible)
        reconstruction = torch.tanh(self.apply(self.network.reconstruction_decoder, own))
        return self.decode(own, self.transform(mm, dp, main)), reconstruction

    def encode(self, a: Tensor, b: Tensor) -> Tensor:
        x = torch.cat([a, b], 1)
        for convolution in self.network.encoder.convolutions:
            x = torch.cat([x, F.relu(self.apply(convolution, x))], 1)
        return x

    def decode(self, features: Tensor, refined: Tensor) -> Tensor:
        decoder = self.network.global_decoder
        merged = decoder.merge(torch.cat([features, refined], 1))
        return torch.tanh(self.apply(decoder.decoder, merged)) / 2 + 0.5

    def apply(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A layer, or several one after the other, with the padding that was chosen."""
        if isinstance(layer, nn.Sequential):
            for one in layer:
                x = self.apply(one, x)
            return x
        if not isinstance(layer, ReflectedConv2d):
            return layer(x)
        half = layer.kernel_size[0] // 2
        return F.conv2d(self.pad(x, (half,) * 4), layer.weight, layer.bias, groups=layer.groups)

    def transform(self, mm: Tensor, dp: Tensor, main: str) -> Tensor:
        transformer = self.network.transformer
        x = {"mm": self.apply(transformer.embed_mm, mm), "dp": self.apply(transformer.embed_dp, dp)}
        other = "dp" if main == "mm" else "mm"
        x[main], x[other] = self.block(transformer.cross_block, x[main], x[other], main, shift=0, cross=True)
        x[main] = x[main] + getattr(transformer, f"lambda_{main}") * x[other]
        for block in transformer.refine_blocks:
            assert isinstance(block, TransformerBlock)
            x[main], x[other] = self.block(block, x[main], x[other], main, shift=4, cross=False)
        return self.apply(transformer.unembed, x[main])

    def block(
        self, block: TransformerBlock, main_x: Tensor, other_x: Tensor, main: str, *, shift: int, cross: bool
    ) -> tuple[Tensor, Tensor]:
        stream, other = (block.mm, block.dp) if main == "mm" else (block.dp, block.mm)
        n, rescale, rebias = self.norm(stream, main_x)
        q, k, v = self.project(stream, n)
        mixed = stream.project(self.apply(stream.local, v) + self.attend(block, q, k, v, shift))
        n, other_rescale, other_rebias = self.norm(other, other_x)
        with torch.no_grad():
            own_q, k, v = self.project(other, n)
            attended = self.attend(block, q if cross else own_q, k, v, shift)
            other_mixed = other.project(self.apply(other.local, v) + attended)
        main_x = main_x + (mixed * rescale + rebias)
        other_x = other_x + (other_mixed * other_rescale + other_rebias)
        return main_x + stream.mlp(main_x), other_x + other.mlp(other_x)

    def norm(self, stream: Stream, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        deviation = ((x - mean).pow(2).mean(dim=(1, 2, 3), keepdim=True) + 1e-5).sqrt()
        normal = (x - mean) / deviation
        return normal * stream.norm_weight + stream.norm_bias, stream.rescale(deviation), stream.rebias(mean)

    def project(self, stream: Stream, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        weight, bias = stream.qkv.weight, stream.qkv.bias
        assert bias is not None
        v = F.conv2d(x, weight[2 * channels :], bias[2 * channels :])
        q, k = F.conv2d(x, weight[: 2 * channels], bias[: 2 * channels]).chunk(2, 1)
        return q, k, v

    def attend(self, block: TransformerBlock, q: Tensor, k: Tensor, v: Tensor, shift: int) -> Tensor:
        batch, channels, height, width = v.shape
        right, bottom = -(width + shift) % 8, -(height + shift) % 8
        x = self.pad(torch.cat([q, k, v], 1), (shift, right, shift, bottom)).permute(0, 2, 3, 1)
        rows, columns = x.shape[1] // 8, x.shape[2] // 8
        x = x.view(batch, rows, 8, columns, 8, 3 * channels).permute(0, 1, 3, 2, 4, 5).contiguous()
        heads = block.heads
        if self.fused_attention:
            q, k, v = x.view(-1, 64, 3, channels).unbind(2)
            x = attend_cuda(q, k, v, block.position_bias(), scale=(channels // heads) ** -0.5)
        else:
            q, k, v = x.view(-1, 64, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
            scores = (q * (channels // heads) ** -0.5) @ k.transpose(-2, -1) + block.position_bias()[None]
            x = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(-1, 64, channels)
        x = x.view(batch, rows, columns, 8, 8, channels).permute(0, 1, 3, 2, 4, 5).contiguous()
        x = x.view(batch, 8 * rows, 8 * columns, channels)[:, shift : shift + height, shift : shift + width]
        return x.permute(0, 3, 1, 2).contiguous(memory_format=self.layout)

    def information(self, planes: Tensor) -> Tensor:
        features, energy = torch.cat([planes] * 3, 1), planes.new_zeros(())
        for stage in self.stages:
            features = stage(features)
            channels = features.shape[1]
            kernel = torch.tensor([[1.0, 1, 1], [1, -8, 1], [1, 1, 1]], device=planes.device)[None, None] / 8
            padded = F.pad(features, (1, 1, 1, 1), mode="reflect")
            response = F.conv2d(padded, kernel.repeat(channels, channels, 1, 1))
            energy = energy + response.pow(2).mean() / 5
        return energy
