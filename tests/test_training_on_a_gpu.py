"""Every training on a pretended GPU: nothing mixes host and device, and a step waits for it once."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from exposure_manifest import exposure_manifest
from joint_data import write_joint
from pretended_gpu import pretended_gpu
from safetensors import safe_open
from training_runs import tiny, without_times

from model.trainer import train
from model.training.distributed import Team
from model.training.feed import TrainingData
from model.training.information import pyramid_energy
from model.training.start import start_network
from model.training.step import AlternatingStep
from pipeline.depth.network import load_depth_network
from pipeline.depth.training import train_depth
from pipeline.depth.training_config import DepthTrainingConfig
from pipeline.exposure.training import train_probe
from pipeline.exposure.training_config import ProbeTrainingConfig
from pipeline.networks.device import repeatable

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="here is a real one"),
]


@pytest.fixture(scope="module")
def wide_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_joint(tmp_path_factory.mktemp("wide") / "joint", tile=48)


@pytest.mark.parametrize(
    ("settings", "free_bytes"),
    [
        ({"amp": "fp16"}, 1 << 36),
        ({"amp": "off", "dp_task": "both"}, 1000),  # the data stay on the host
        ({"amp": "bf16", "objective": "fidelity", "head": "pyramid", "ema_decay": 0.9}, 1 << 36),
    ],
)
def test_training_and_resuming(
    settings: dict[str, object], free_bytes: int, wide_tiles: Path, tmp_path: Path
) -> None:
    settings = {"feature_growth": 2, "decoder_channels": 4, "crop": 48, "validate_every": 4, **settings}
    on_cpu = without_times(
        train(tiny(**{**settings, "steps": 1, "amp": "off"}), wide_tiles, tmp_path / "a").parent
    )
    with pretended_gpu(free_bytes):
        for steps in (2, 4):
            run = train(
                tiny(**settings, steps=steps, device="cuda"), wide_tiles, tmp_path / "b", resume=steps == 4
            )
    on_gpu = without_times(run.parent)
    assert [record["step"] for record in on_gpu] == [1, 2, 3, 4]
    for name in ("mm_task", "mm_public", "w_ir"):  # before the first update: pretended gradients are 0
        assert on_gpu[0][name] == pytest.approx(on_cpu[0][name], rel=2e-2), name


def test_a_run_begun_on_the_cpu_goes_on(wide_tiles: Path, tmp_path: Path) -> None:
    settings = {"feature_growth": 2, "decoder_channels": 4, "crop": 48, "amp": "auto"}
    train(tiny(**settings, steps=2), wide_tiles, tmp_path)
    with pretended_gpu():
        train(tiny(**settings, steps=3, device="cuda"), wide_tiles, tmp_path, resume=True)
    assert [record["step"] for record in without_times(tmp_path)] == [1, 2, 3]


def test_depth_is_trained(tmp_path: Path) -> None:
    config = DepthTrainingConfig(
        encoder="regnetx_002", size_hw=(64, 64), inference_size_hw=(64, 96), render_size_hw=(80, 80),
        scenes=3, held_out=1, steps=2, infrared_scenes=2, infrared_steps=2, batch_size=2, save_every=1,
        pairs=200, device="cuda",
    )  # fmt: skip
    with pretended_gpu():
        _, description = load_depth_network(train_depth(config, tmp_path / "depth.safetensors"))
    assert description["training"]["steps_done"] == 4


def test_a_probe_has_the_figures_of_the_cpu(tmp_path: Path) -> None:
    scenes, figures = exposure_manifest(tmp_path / "scenes"), []
    for device in ("cpu", "cuda"):
        config = ProbeTrainingConfig(
            steps=2,
            scenes_per_step=2,
            patches_per_scene=2,
            held_out_every=2,
            learning_rate=1e-12,  # pretended gradients are 0
            device=device,
        )
        with pretended_gpu() if device == "cuda" else nullcontext():
            out = train_probe(config, scenes, None, tmp_path / f"{device}.safetensors")
        with safe_open(out, framework="np") as file:
            figures.append(json.loads(file.metadata()["figures"]))
    assert figures[1] == pytest.approx(figures[0], rel=1e-3)


def test_a_step_waits_for_the_device_once(wide_tiles: Path) -> None:
    """And a validation once, however many batches it has; both launch recorded graphs."""
    config, device = tiny(crop=48, device="cuda", amp="bf16"), torch.device("cuda")
    with pretended_gpu() as account, repeatable(device):
        data = TrainingData(config, [wide_tiles], device=device)
        step = AlternatingStep(
            start_network(config).to("cuda"), config, measure=pyramid_energy, team=Team("cuda")
        )
        batches = [data.batch(number) for number in range(3)]
        step(batches[0], 1e-3)
        step.validate(step.network, batches)
        account.waits.clear()
        launches = account.launches
        step.begin(batches[1], 1e-3)
        data.prepare(2)
        assert not account.waits and account.launches == launches + 3
        step.finish()
        losses = step.validate(step.network, batches)
        assert not account.waits and account.launches == launches + 6  # reading a list does not count here
        assert losses["total"] > 0
