"""CUDA against float64 on the CPU, and the benchmark table, in one run.

    python tests/benchmarks/gpu.py [--device cuda] [--size 1024x1280] [--repeats 20]

First the checks: fused planes and both training updates on the device are compared with float64 on the CPU,
and two short runs with each other, bit for bit; the script ends with status 1 where an error leaves its bound
or the runs differ. Then the table: median times of a depth estimate, an exposure pair, a fused pair and a
training step at each precision, beside the device's measured matrix and copy rates, from which floors follow.
``--device cpu --size 64x96 --repeats 2`` tries the script.
"""

from __future__ import annotations

import argparse
import copy
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model.attention import PositionBias, attend_cuda
from model.checkpoint import load_network
from model.distributed import Team
from model.feed import Batch
from model.information import load_measure
from model.network import GIFNet, NetworkConfig
from model.objectives import OBJECTIVES
from model.step import AlternatingStep
from model.strips import FusionEngine
from model.train_config import TrainConfig
from pipeline.depth import load_depth_estimator
from pipeline.device import repeatable
from pipeline.exposure import probe_pairs
from pipeline.probe import load_probe

#: Largest error of a fused plane against float64, by precision.
FUSED_BOUNDS = {"fp32": 1e-5, "bf16": 5e-2, "fp16": 1e-2}
#: Largest relative error of the losses of one update, by precision.
LOSS_BOUNDS = {"off": 1e-5, "bf16": 5e-2, "fp16": 1e-2}
#: Multiply-accumulates of GIFNet per pixel with both branches.
MACS_PER_PIXEL = 785e3


def seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median wall time of ``work``, with the device's queue drained."""
    times = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 2:  # warm-up: kernels are chosen, caches filled
            times.append(time.perf_counter() - start)
    return median(times)


def random_batch(generator: np.random.Generator, size: int, crop: int) -> Batch:
    planes = [torch.from_numpy(generator.random((size, 1, crop, crop), np.float32)) for _ in range(5)]
    return Batch(infrared=planes[0], visible=planes[1], dp_a=planes[2], dp_b=planes[3], dp_truth=planes[4])


def check_fusing(name: str, network: GIFNet, device: torch.device, precisions: list[str]) -> bool:
    generator = np.random.default_rng(1)
    a, b = (generator.random((123, 171), np.float32) for _ in "ab")
    exact = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        planes = [torch.from_numpy(x).double()[None, None] for x in (a, b)]
        expected = exact(*planes)[0, 0].numpy()
    good = True
    for precision in precisions:
        fused = FusionEngine(network, device=device, precision=precision).fuse_planes(a, b)
        error = float(np.abs(fused - expected).max())
        bound = FUSED_BOUNDS[precision]
        good &= error <= bound
        print(f"check: {name}, fused {precision}: largest error {error:.2e}, bound {bound:.0e}")
    return good


def check_training(objective_name: str, network: GIFNet, device: torch.device, amps: list[str]) -> bool:
    batch = random_batch(np.random.default_rng(2), 2, 64)
    weights = (torch.full((2,), 0.4), torch.full((2,), 0.6))
    config, good = TrainConfig(), True
    objective = OBJECTIVES[objective_name]

    def losses(net: GIFNet, on: torch.device, dtype: torch.dtype, amp: torch.dtype | None) -> list[float]:
        own, seen = (
            Batch(**{k: v.to(on, kind) for k, v in vars(batch).items()}) for kind in (dtype, torch.float32)
        )
        found = []
        for main in ("mm", "dp"):
            with repeatable(on), torch.no_grad():
                with torch.autocast(on.type, dtype=amp, enabled=amp is not None):
                    outputs = objective.outputs(net, own, main)
                task = objective.losses(outputs, seen, main, tuple(w.to(on) for w in weights), config)
            found += [float(task.task), float(task.total)]
        return found

    exact = losses(copy.deepcopy(network).double(), torch.device("cpu"), torch.float64, None)
    for amp in amps:
        dtype = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]
        found = losses(copy.deepcopy(network).to(device), device, torch.float32, dtype)
        error = max(abs(x - y) / abs(y) for x, y in zip(found, exact, strict=True))
        bound = LOSS_BOUNDS[amp]
        good &= error <= bound
        print(f"check: {objective_name} losses, amp {amp}: ", end="")
        print(f"largest relative error {error:.2e}, bound {bound:.0e}")
    return good


def check_attention(device: torch.device) -> bool:
    """Whether fused kernels take the attention of fusing and of training, and what they would differ by."""
    generator = torch.Generator().manual_seed(5)
    query, key, value = (torch.randn(96, 64, 98, generator=generator).to(device) for _ in range(3))
    bias = PositionBias(8, 2).to(device)
    fused = [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION]
    good = True
    for dtype in (torch.bfloat16, torch.float16):
        q, k, v = (tensor.to(dtype) for tensor in (query, key, value))
        for name, mask in (("fusing", bias().detach()), ("training", bias())):
            exact = attend_cuda(q.float(), k.float(), v.float(), mask.float(), scale=49**-0.5)
            try:
                with sdpa_kernel(fused):
                    attended = attend_cuda(q, k, v, mask, scale=49**-0.5)
            except RuntimeError as error:
                good = False
                print(f"check: attention, {name} {dtype}: NO fused kernel ({str(error).splitlines()[0]})")
                continue
            error = float((attended.float() - exact).abs().max().detach())
            good &= error <= 5e-2
            print(f"check: attention, {name} {dtype}: fused, largest error {error:.2e}, bound 5e-02")
    return good


def make_step(network: GIFNet, config: TrainConfig, device: torch.device) -> AlternatingStep:
    own = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last).train()
    measure = load_measure("pyramid", weights="", device=device)
    return AlternatingStep(own, config, measure=measure, team=Team(str(device)))


def on_device(batch: Batch, device: torch.device) -> Batch:
    return Batch(**{name: planes.to(device) for name, planes in vars(batch).items()})


def train(step: AlternatingStep, batch: Batch, device: torch.device) -> None:
    with repeatable(device):
        step(batch, 1e-3)


def check_repeats(objective: str, network: GIFNet, device: torch.device, amp: str) -> bool:
    """Whether the same steps from the same weights give the same weights."""
    generator = np.random.default_rng(4)
    batches = [on_device(random_batch(generator, 4, 64), device) for _ in range(4)]
    ends = []
    for _ in range(2):
        step = make_step(network, TrainConfig(objective=objective, amp=amp, batch_size=4, crop=64), device)
        for batch in batches:
            train(step, batch, device)
        ends.append([parameter.detach().cpu() for parameter in step.network.parameters()])
    same = all(map(torch.equal, *ends))
    print(f"check: {objective}, amp {amp}: four steps twice give {'the same' if same else 'OTHER'} weights")
    return same


def print_table(network: GIFNet, device: torch.device, height: int, width: int, repeats: int) -> None:
    generator = np.random.default_rng(3)
    cuda = device.type == "cuda"
    side = 8192 if cuda else 1024
    for dtype in (torch.float32, torch.float16) if cuda else (torch.float32, torch.bfloat16):
        x = torch.rand(side, side, device=device, dtype=dtype)
        rate = 2 * side**3 / seconds(lambda x=x: x @ x, repeats, device)
        print(f"ceiling: matrix product {dtype}: {rate / 1e12:.2f} TFLOP/s")
    x = torch.rand(1 << (28 if cuda else 24), device=device)
    print(f"ceiling: copy: {2 * x.nbytes / seconds(x.clone, repeats, device) / 1e9:.0f} GB/s")

    frame = generator.integers(0, 256, (height, width, 3), np.uint8)
    estimator, probe = load_depth_estimator("default", device=device), load_probe(None, device=device)
    tile = np.ascontiguousarray(frame[:160, :160])
    rows = [
        ("default depth, one frame", lambda: estimator.estimate([frame], ["x"])),
        ("exposure pairs, 40 of 160x160", lambda: probe_pairs([tile] * 40, probe)),
    ]
    a, b = (generator.random((height, width), np.float32) for _ in "ab")
    for precision in ["fp32", "bf16", "fp16"] if cuda else ["fp32"]:
        engine = FusionEngine(network, device=device, precision=precision, memory_bytes=1 << 32)
        rows.append((f"fuse one pair, {precision}", lambda engine=engine: engine.fuse_planes(a, b)))
    size, crop = (8, 128) if cuda else (2, 32)
    for amp in ["off", "bf16", "fp16"] if cuda else ["off"]:
        step = make_step(network, TrainConfig(amp=amp, batch_size=size, crop=crop), device)
        batch = on_device(random_batch(generator, size, crop), device)
        rows.append(
            (f"training step {size}x{crop}x{crop}, amp {amp}", lambda s=step, b=batch: train(s, b, device))
        )
    for name, work in rows:
        spent = seconds(work, repeats, device)
        print(f"{name:42s} {spent * 1e3:10.2f} ms   {1 / spent:8.2f}/s")
    flops = 2 * MACS_PER_PIXEL * height * width
    print(
        f"a fused pair is {flops / 1e12:.2f} TFLOP with both branches; a training step {160e9 * 8 / 1e12:.2f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="1024x1280")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here; --device cpu --size 64x96 --repeats 2 tries the script", file=sys.stderr)
        return 2
    device = torch.device(arguments.device)
    height, width = map(int, arguments.size.split("x"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(f"{name}, torch {torch.__version__}, {height}x{width}, median of {arguments.repeats}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GIFNet(NetworkConfig())
    cuda = device.type == "cuda"
    shipped = load_network(None)
    good = check_attention(device) if cuda else True
    for name, one in (("published shape", network), ("shipped weights", shipped)):
        good &= check_fusing(name, one, device, ["fp32", "bf16", "fp16"] if cuda else ["fp32", "bf16"])
    for objective, one in (("published", network), ("fidelity", shipped)):
        good &= check_training(objective, one, device, ["off", "bf16", "fp16"] if cuda else ["off", "bf16"])
        good &= check_repeats(objective, one, device, "fp16" if cuda else "off")
    print_table(network, device, height, width, arguments.repeats)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
