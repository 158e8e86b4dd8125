"""Training speed against a plain implementation, and what the loader delivers.

    python tests/benchmarks/train.py [--batch-size 8] [--crop 128] [--repeats 3] [--threads 2]

The baseline computes the same two updates from the same weights: eager, NCHW, every branch of both streams
and both blocks, attention written out, one convolution per projection, Adam tensor by tensor, and the
published information measure (DenseNet-121, here with random weights, and dense Laplacian convolutions whose
kernel is built anew in each call). Its losses must equal ours, or the script stops. Both take turns, and
medians are shown; on a busy machine the ratio of CPU seconds is the one to trust.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model.data import PlaneSet, cut_crops
from model.distributed import Team
from model.feed import Batch
from model.host_memory import kept_in_process
from model.information import DENSENET_STAGES, load_measure
from model.losses import mean_squared_error, ms_ssim
from model.network import GIFNet, NetworkConfig
from model.sampling import SampleOrder
from model.step import AlternatingStep
from model.train_config import TrainConfig
from model.transformer import Stream, TransformerBlock


class PlainStep:
    """The two updates as the published code computes them, on the weights of a :class:`GIFNet`."""

    def __init__(self, network: GIFNet) -> None:
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, foreach=False, fused=False)
        features = timm.create_model("densenet121", pretrained=False).eval().get_submodule("features")
        self.stages: list[nn.Sequential] = []
        stage = nn.Sequential()
        for name, layer in features.named_children():
            stage.append(layer)
            if name in DENSENET_STAGES:
                self.stages.append(stage)
                stage = nn.Sequential()

    def __call__(self, batch: Batch, weights: tuple[float, float] | None = None) -> list[float]:
        """``weights`` replace w_ir and w_vis, which are computed all the same."""
        losses = []
        for main in ("mm", "dp"):
            self.optimizer.zero_grad()
            if main == "mm":
                own = mm = self.encode(batch.infrared, batch.visible)
                with torch.no_grad():
                    dp = self.encode(batch.dp_a, batch.dp_b)
            else:
                own = dp = self.encode(batch.dp_a, batch.dp_b)
                with torch.no_grad():
                    mm = self.encode(batch.infrared, batch.visible)
            reconstruction = torch.tanh(self.network.reconstruction_decoder(own))
            fused = self.decode(own, self.transform(mm, dp, main))
            if main == "mm":
                with torch.no_grad():
                    g = torch.stack([self.information(batch.infrared), self.information(batch.visible)])
                w_ir, w_vis = torch.softmax(g, 0) if weights is None else weights
                task = w_ir * F.mse_loss(fused, batch.infrared) + w_vis * F.mse_loss(fused, batch.visible)
            else:
                task = F.mse_loss(fused, batch.visible)
            public = 1 - ms_ssim(reconstruction, batch.visible)
            public = public + mean_squared_error(reconstruction, batch.visible)
            (task + public).backward()
            self.optimizer.step()
            losses += [float(task.detach()), float(public.detach())]
        return losses

    def encode(self, a: Tensor, b: Tensor) -> Tensor:
        x = torch.cat([a, b], 1)
        for convolution in self.network.encoder.convolutions:
            x = torch.cat([x, F.relu(convolution(x))], 1)
        return x

    def decode(self, features: Tensor, refined: Tensor) -> Tensor:
        decoder = self.network.global_decoder
        return torch.tanh(decoder(features, refined)) / 2 + 0.5

    def transform(self, mm: Tensor, dp: Tensor, main: str) -> Tensor:
        transformer = self.network.transformer
        x = {"mm": transformer.embed_mm(mm), "dp": transformer.embed_dp(dp)}
        other = "dp" if main == "mm" else "mm"
        x[main], x[other] = self.block(transformer.cross_block, x[main], x[other], main, shift=0, cross=True)
        x[main] = x[main] + getattr(transformer, f"lambda_{main}") * x[other]
        for block in transformer.refine_blocks:
            assert isinstance(block, TransformerBlock)
            x[main], x[other] = self.block(block, x[main], x[other], main, shift=4, cross=False)
        return transformer.unembed(x[main])

    def block(
        self, block: TransformerBlock, main_x: Tensor, other_x: Tensor, main: str, *, shift: int, cross: bool
    ) -> tuple[Tensor, Tensor]:
        stream, other = (block.mm, block.dp) if main == "mm" else (block.dp, block.mm)
        n, rescale, rebias = self.norm(stream, main_x)
        q, k, v = self.project(stream, n)
        mixed = stream.project(stream.local(v) + self.attend(block, q, k, v, shift))
        n, other_rescale, other_rebias = self.norm(other, other_x)
        with torch.no_grad():
            own_q, k, v = self.project(other, n)
            attended = self.attend(block, q if cross else own_q, k, v, shift)
            other_mixed = other.project(other.local(v) + attended)
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
        x = F.pad(torch.cat([q, k, v], 1), (shift, right, shift, bottom), mode="reflect").permute(0, 2, 3, 1)
        rows, columns = x.shape[1] // 8, x.shape[2] // 8
        x = x.view(batch, rows, 8, columns, 8, 3 * channels).permute(0, 1, 3, 2, 4, 5).contiguous()
        heads = block.heads
        q, k, v = x.view(-1, 64, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        scores = (q * (channels // heads) ** -0.5) @ k.transpose(-2, -1) + block.position_bias()[None]
        x = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(-1, 64, channels)
        x = x.view(batch, rows, columns, 8, 8, channels).permute(0, 1, 3, 2, 4, 5).contiguous()
        x = x.view(batch, 8 * rows, 8 * columns, channels)[:, shift : shift + height, shift : shift + width]
        return x.permute(0, 3, 1, 2).contiguous()

    def information(self, planes: Tensor) -> Tensor:
        features, energy = torch.cat([planes] * 3, 1), torch.zeros(())
        for stage in self.stages:
            features = stage(features)
            channels = features.shape[1]
            kernel = torch.tensor([[1.0, 1, 1], [1, -8, 1], [1, 1, 1]])[None, None] / 8
            padded = F.pad(features, (1, 1, 1, 1), mode="reflect")
            response = F.conv2d(padded, kernel.repeat(channels, channels, 1, 1))
            energy = energy + response.pow(2).mean() / 5
        return energy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--amp", nargs="+", default=["off", "bf16"], help="precisions to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {arguments.threads} threads, torch {torch.__version__}", flush=True)
    compare_steps(arguments.batch_size, arguments.crop, arguments.repeats, arguments.amp)
    measure_loader(arguments.batch_size, arguments.crop)


def compare_steps(batch_size: int, crop: int, repeats: int, amps: Sequence[str]) -> None:
    batch = random_batch(batch_size, crop)
    plain_network = fresh_network()
    plain = PlainStep(plain_network)
    runs: dict[str, Callable[[], object]] = {"plain baseline (eager, NCHW)": lambda: plain(batch)}
    for amp in amps:
        runs[f"gifnet train --amp {amp}"] = partial(our_run, our_step(amp, batch_size, crop), batch)
    check_equal_losses()
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            run()
            if repeat:  # the first round warms up
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - cpu_start)
    print(f"batch {batch_size}, crop {crop}, MM + DP update, median of {repeats}")
    print(f"{'':32}{'s/step':>9}{'CPU s/step':>12}{'steps/s':>10}{'ratio':>8}{'CPU ratio':>11}")
    base_wall, base_cpu = (median(times[next(iter(runs))]) for times in (wall, cpu))
    for name in runs:
        seconds, cpu_seconds = median(wall[name]), median(cpu[name])
        ratios = f"{base_wall / seconds:8.2f}{base_cpu / cpu_seconds:11.2f}"
        print(f"{name:32}{seconds:9.2f}{cpu_seconds:12.2f}{1 / seconds:10.3f}{ratios}")


def our_run(step: AlternatingStep, batch: Batch) -> None:
    with kept_in_process(torch.device("cpu")):
        step(batch, 1e-3)


def check_equal_losses() -> None:
    """Two small steps of both from the same weights, with w_ir = w_vis = 0.5."""
    plain = PlainStep(fresh_network())
    config = TrainConfig(batch_size=2, crop=76, amp="off", device="cpu")
    batch = random_batch(config.batch_size, config.crop)
    network = fresh_network().to(memory_format=torch.channels_last)
    ours = AlternatingStep(network, config, measure=lambda x: torch.zeros(len(x)), team=Team("cpu"))
    for _ in range(2):
        expected, record = plain(batch, (0.5, 0.5)), ours(batch, 1e-3)
        found = [record[name] for name in ("mm_task", "mm_public", "dp_task", "dp_public")]
        if not np.allclose(found, expected, rtol=1e-4):
            raise SystemExit(f"losses differ: {found} and {expected}")


def measure_loader(batch_size: int, crop: int, tile: int = 160, count: int = 2000) -> None:
    planes = torch.randint(0, 256, (count, 4, tile, tile), dtype=torch.uint8)
    stored = PlaneSet(planes=planes, roles=("infrared", "visible", "a", "b"), ids=(), digest="")
    order = SampleOrder(count, tile=tile, crop=crop, seed=0, flip=True)
    order.batch(0, batch_size)
    steps = 2 * count // batch_size
    start = time.perf_counter()
    for step in range(steps):
        cut_crops(stored.planes, order.batch(step, batch_size), crop) / 255
    rate = steps * batch_size / (time.perf_counter() - start)
    print(f"loader: {rate:.0f} samples/s (4 planes of {tile} cropped to {crop}, flipped, float, on the CPU)")


def our_step(amp: str, batch_size: int, crop: int) -> AlternatingStep:
    config = TrainConfig(batch_size=batch_size, crop=crop, amp=amp, device="cpu")
    network = fresh_network().to(memory_format=torch.channels_last)
    measure = load_measure("pyramid", weights="", device=torch.device("cpu"))
    return AlternatingStep(network, config, measure=measure, team=Team("cpu"))


def fresh_network() -> GIFNet:
    torch.manual_seed(0)
    return GIFNet(NetworkConfig())


def random_batch(batch_size: int, crop: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    planes = torch.rand(5, batch_size, 1, crop, crop, generator=generator)
    planes[4] = planes[1]
    names = ("infrared", "visible", "dp_a", "dp_b", "dp_truth")
    return Batch(**dict(zip(names, planes, strict=True)))


if __name__ == "__main__":
    main()
