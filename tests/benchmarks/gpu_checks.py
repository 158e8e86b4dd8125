"""Whether a device computes what float64 on the CPU does, and the same twice. Sections of gpu.py."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import torch
from fuse_children import error_figures
from gpu_bench import DTYPES, QUICK_SHAPE, Bench
from gpu_report import Report
from gpu_train import make_step, on_device, random_batch
from joint_data import write_joint
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.blocks.attention import PositionBias, attend_cuda
from model.checkpoint import load_network
from model.checkpoint.digest import weights_digest
from model.engine.strips import FusionEngine
from model.network import GIFNet
from model.trainer import train
from model.training.feed import Batch
from model.training.objectives import OBJECTIVES
from model.training.padded import PaddedNetwork
from model.training.train_config import TrainConfig
from pipeline.images import read_grey, read_rgb
from pipeline.images.ycbcr import luminance
from pipeline.networks.device import repeatable

#: Largest error of a fused plane against float64, by precision.
FUSED_BOUNDS = {"fp32": 1e-5, "bf16": 5e-2, "fp16": 1e-2}
#: Largest relative error of the losses of one update, by precision.
LOSS_BOUNDS = {"off": 1e-5, "bf16": 5e-2, "fp16": 1e-2}
ATTENTION_BOUND = 5e-2


def attention(bench: Bench, report: Report) -> None:
    """Whether fused kernels take the attention of fusing and of training, and what they would differ by."""
    generator = torch.Generator().manual_seed(5)
    query, key, value = (torch.randn(96, 64, 98, generator=generator).to(bench.device) for _ in range(3))
    bias = PositionBias(8, 2).to(bench.device)
    fused = [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION]
    if not bench.cuda:
        fused = [SDPBackend.MATH]
    for dtype in (torch.bfloat16, torch.float16):
        q, k, v = (tensor.to(dtype) for tensor in (query, key, value))
        for use, mask in (("fusing", bias().detach()), ("training", bias())):
            exact = attend_cuda(q.float(), k.float(), v.float(), mask.float(), scale=49**-0.5)
            name = f"attention of {use}, {str(dtype).removeprefix('torch.')}"
            try:
                with sdpa_kernel(fused):
                    attended = attend_cuda(q, k, v, mask, scale=49**-0.5)
            except RuntimeError as error:
                report.fail(f"{name}: NO fused kernel ({str(error).splitlines()[0]})")
                continue
            error = float((attended.float() - exact).abs().max().detach())
            report.check(f"{name}, fused kernel: largest error", error, at_most=ATTENTION_BOUND)


def fused_planes(bench: Bench, report: Report) -> None:
    """Fused planes against float64 on the CPU."""
    generator = np.random.default_rng(1)
    a, b = (generator.random((123, 171), np.float32) for _ in "ab")
    for name, network in bench.networks.items():
        exact = copy.deepcopy(network).double().eval()
        with torch.no_grad():
            planes = [torch.from_numpy(x).double()[None, None] for x in (a, b)]
            expected = exact(*planes)[0, 0].numpy()
        for precision in bench.precisions:
            engine = FusionEngine(network, device=bench.device, precision=precision)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(3):  # launched, recorded, replayed
                    fused = engine.fuse_planes(a, b)
            if caught:
                report.fail(f"{name}, fused {precision}: {caught[0].message}")
            error = float(np.abs(fused - expected).max())
            report.check(f"{name}, fused {precision}: largest error", error, at_most=FUSED_BOUNDS[precision])


def fusing_error(bench: Bench, report: Report) -> None:
    """What lower precisions change in real frames, grey values in [0, 1], against float32 on the device."""
    pairs = [
        (read_grey(infrared) / np.float32(255), luminance(read_rgb(visible) / np.float32(255)))
        for infrared, visible in bench.frames[:4]
    ]
    for name, network in bench.networks.items():
        exact = FusionEngine(network, device=bench.device, precision="fp32")
        for precision in bench.precisions[1:] or bench.precisions:
            fast = FusionEngine(network, device=bench.device, precision=precision)
            found = error_figures(exact, fast, pairs)
            report.say(
                f"{name}, {precision} against fp32: mean {found['mean']:.2e}, "
                f"99.9th percentile {found['p999']:.2e}, over 1/255 {found['over']:.3%}"
            )
            for key, value in found.items():
                report.keep(f"{name}, {precision}: {key}", value)


def training_losses(bench: Bench, report: Report) -> None:
    """Losses of both updates against float64 on the CPU."""
    for objective, network in (("published", bench.published), ("fidelity", bench.shipped)):
        exact = _losses(objective, copy.deepcopy(network).double(), torch.device("cpu"), torch.float64, "off")
        for amp in bench.amps:
            own = copy.deepcopy(network).to(bench.device)
            found = _losses(objective, own, bench.device, torch.float32, amp)
            error = max(abs(x - y) / abs(y) for x, y in zip(found, exact, strict=True))
            name = f"{objective} losses, amp {amp}: largest relative error"
            report.check(name, error, at_most=LOSS_BOUNDS[amp])


def repeated_steps(bench: Bench, report: Report) -> None:
    """Whether the same steps from the same weights give the same weights: as graphs, and one by one."""
    amp, count = bench.amps[-1], 2 if bench.quick else 4
    for objective, network in (("published", bench.published), ("fidelity", bench.shipped)):
        generator = np.random.default_rng(4)
        batches = [on_device(random_batch(generator, count, 64), bench.device) for _ in range(count)]
        ends = []
        for graphs in (True, True, False):
            config = TrainConfig(objective=objective, amp=amp, batch_size=count, crop=64, cuda_graphs=graphs)
            step = make_step(network, config, bench.device)
            with repeatable(bench.device):
                for batch in batches:
                    step(batch, 1e-3)
            ends.append([parameter.detach().cpu() for parameter in step.network.parameters()])
        for name, other in (("twice", ends[1]), ("as CUDA graphs and without", ends[2])):
            same = all(map(torch.equal, ends[0], other))
            report.same(f"{objective}, amp {amp}: weights of {count} steps, {name}", same)


def resumed_run(bench: Bench, report: Report) -> None:
    """Steps of the real trainer against half of them, a checkpoint, and the other half."""
    joint = write_joint(bench.new_folder() / "joint", tile=80)
    half, size, crop = (2, 2, 48) if bench.quick else (5, 4, 64)
    kinds = (("published", "plane"), ("fidelity", "pyramid"))
    for objective, head in kinds[: 1 if bench.quick else 2]:
        for amp in bench.amps[:: 2 if bench.cuda else 1]:
            settings = {"batch_size": size, "crop": crop, "warmup_steps": 3, "amp": amp, "head": head}
            settings |= {"objective": objective, "device": str(bench.device)}
            settings |= QUICK_SHAPE if bench.quick else {}
            runs = [bench.new_folder() / name for name in ("straight", "resumed")]
            train(TrainConfig(steps=2 * half, **settings), joint, runs[0])
            for end in (half, 2 * half):
                train(TrainConfig(steps=end, **settings), joint, runs[1], resume=end > half)
            same = _digest(runs[0]) == _digest(runs[1])
            steps = f"{2 * half} steps and of {half}, saved and resumed, {half}"
            report.same(f"{objective}, amp {amp}: weights of {steps}", same)


def _losses(
    objective_name: str, network: GIFNet, device: torch.device, dtype: torch.dtype, amp: str
) -> list[float]:
    batch = random_batch(np.random.default_rng(2), 2, 64)
    weights = (torch.full((2,), 0.4, device=device), torch.full((2,), 0.6, device=device))
    own, seen = (
        Batch(**{name: planes.to(device, kind) for name, planes in vars(batch).items()})
        for kind in (dtype, torch.float32)
    )
    objective, found = OBJECTIVES[objective_name], []
    # As the trainer does on a GPU; without one this has the CPU compute it.
    form = network if amp == "off" else PaddedNetwork(network, DTYPES[amp])
    for main in ("mm", "dp"):
        with repeatable(device), torch.no_grad():
            with torch.autocast(device.type, dtype=DTYPES[amp], enabled=amp != "off"):
                outputs = objective.outputs(form, own, main)
            task = objective.losses(outputs, seen, main, weights, TrainConfig())
        found += [float(task.task), float(task.total)]
    return found


def _digest(run: Path) -> str:
    return weights_digest(load_network(run / "weights.safetensors"))
