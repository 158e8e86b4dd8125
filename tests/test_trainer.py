"""Training: the published step, exact resume, one result on any number of processes, nothing lost."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joint_data import write_joint
from torch import Tensor

import model.objectives
from model.checkpoint import load_network, load_training_state, read_metadata, weights_digest
from model.curves import summarise
from model.distributed import Team
from model.feed import Batch, TrainingData
from model.information import load_measure
from model.network import GIFNet, NetworkConfig
from model.objectives import OBJECTIVES, FidelityObjective
from model.run_folder import RunFolder
from model.schedule import learning_rate
from model.step import AlternatingStep
from model.train_config import TrainConfig
from model.trainer import train
from model.training_log import LOSSES, read_metrics
from pipeline.files import InputError, read_json
from pipeline.images import read_image

pytestmark = pytest.mark.usefixtures("one_thread")

REPOSITORY = Path(__file__).resolve().parents[1]
PUBLISHED = OBJECTIVES["published"]
#: Settings of runs that take a second or two.
TINY: dict[str, Any] = {
    "batch_size": 2,
    "crop": 32,
    "device": "cpu",
    "checkpoint_every": 2,
    "validate_every": 2,
    "warmup_steps": 0,
}


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_joint(tmp_path_factory.mktemp("data") / "joint")


@pytest.fixture(scope="module")
def straight(joint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps without interruption."""
    out = tmp_path_factory.mktemp("straight") / "run"
    train(tiny(), joint, out)
    return out


def tiny(**settings: Any) -> TrainConfig:
    return TrainConfig(**TINY | {"steps": 4} | settings)


def digest(run: Path) -> str:
    return weights_digest(load_network(run / "weights.safetensors"))


def without_times(run: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in record.items() if k != "seconds"} for record in read_metrics(run / "metrics.jsonl")
    ]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], None]) -> None:
    """Do something when the batch of a step (from 0) is fetched."""
    fetch = TrainingData.batch

    def fetch_and_act(data: TrainingData, number: int) -> Batch:
        if number == step:
            action()
        return fetch(data, number)

    monkeypatch.setattr(TrainingData, "batch", fetch_and_act)


@pytest.mark.shared
@pytest.mark.parametrize("main", ["mm", "dp"])
def test_step_reproduces_the_published_outputs_and_losses(shared: Path, main: Any) -> None:
    reference = shared / "reference/gifnet"
    network = load_network(reference / "Final.model")
    planes = np.load(reference / "train_inputs.npz")
    names = {"infrared": "ir", "visible": "vis", "dp_a": "near", "dp_b": "far", "dp_truth": "vis"}
    batch = Batch(**{name: torch.from_numpy(planes[source]) for name, source in names.items()})
    published = np.load(reference / f"train_{main}.npz")
    outputs = torch.cat([torch.from_numpy(published[name]) for name in ("fused", "reconstruction")], dim=1)
    with torch.no_grad():
        assert torch.allclose(PUBLISHED.outputs(network, batch[:1], main), outputs[:1], atol=1e-5)

    expected = json.loads((reference / "train_losses.json").read_text())[main]
    weights = (torch.full((4,), 0.4), torch.full((4,), 0.6))
    losses = PUBLISHED.losses(outputs, batch, main, weights, TrainConfig())
    assert losses.task.item() == pytest.approx(expected["task_loss"], rel=1e-5)
    # The reference computed 1 - MS-SSIM in float32, which leaves it an error of 1e-7.
    assert losses.public.item() == pytest.approx(expected["public_loss"], rel=1e-5, abs=1.5e-7)
    assert losses.total.item() == pytest.approx(expected["total"], rel=1e-5, abs=1.5e-7)


def test_loss_weights_scale_their_losses(joint: Path) -> None:
    batch = TrainingData(tiny(), [joint], device=torch.device("cpu")).batch(0)
    outputs = torch.rand(2, 2, 32, 32)
    weights = (torch.full((2,), 0.3), torch.full((2,), 0.7))

    def losses(main: Any, **settings: float) -> tuple[float, float, float]:
        found = PUBLISHED.losses(outputs, batch, main, weights, tiny(**settings))
        return float(found.task), float(found.public), float(found.total)

    for main in ("mm", "dp"):
        task, public, total = losses(main)
        assert total == pytest.approx(task + public)
        scaled = losses(main, **{f"{main}_task_weight": 3.0, f"{main}_public_weight": 0.5})
        assert scaled == pytest.approx((task, public, 3 * task + 0.5 * public))
        parts = losses(main, public_ssim_weight=0.0)[1] + losses(main, public_mse_weight=0.0)[1]
        assert parts == pytest.approx(public)


def test_parameters_without_gradient_are_left_alone(straight: Path) -> None:
    """Adam counts an update of a parameter only where the task reaches it: 4 steps are 4 or 8 updates."""
    state = load_training_state(RunFolder(straight).checkpoint(4))
    names = [name for name, _ in load_network(straight / "weights.safetensors").named_parameters()]
    updates = {names[index]: int(value["step"]) for index, value in state.optimizer["state"].items()}
    assert updates.keys() == set(names)
    assert updates["encoder.convolutions.0.weight"] == 8  # shared by both tasks
    assert updates["transformer.lambda_mm"] == updates["transformer.lambda_dp"] == 4
    assert updates["transformer.cross_block.mm.qkv.weight"] == 4
    assert updates["transformer.cross_block.mm.mlp.0.weight"] == 8  # reached through lambda by the other task
    assert set(updates.values()) == {4, 8}


def test_a_run_leaves_everything_that_it_promises(straight: Path, joint: Path) -> None:
    folder = RunFolder(straight)
    records = read_metrics(folder.metrics)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert all(math.isfinite(record[name]) for record in records for name in (*LOSSES, "w_ir", "lr"))
    assert ["validation_total" in record for record in records] == [False, True, False, True]

    summary = read_json(folder.summary)
    for name in LOSSES:
        mean = sum(record[name] for record in records) / 4
        assert summary["losses"][name] == {
            "first_10_mean": pytest.approx(mean),
            "last_10_mean": pytest.approx(mean),
        }
    best = min((r for r in records if "validation_total" in r), key=lambda r: r["validation_total"])
    assert summary["best_validation"] == {"step": best["step"], "total": best["validation_total"]}
    assert summary["weights_digest"] == digest(straight)
    assert summary["lambda_mm"] == records[-1]["lambda_mm"]

    assert read_metadata(folder.best_weights)["step"] == best["step"]
    metadata = read_metadata(folder.weights)
    assert metadata["step"] == 4 and metadata["config"] == tiny().to_json()
    assert read_json(folder.config)["config"] == tiny().to_json()
    assert [path.name for path in folder.checkpoints()] == ["step-00000002.pt", "step-00000004.pt"]
    assert weights_digest(load_network(folder.checkpoint(4))) == digest(straight)
    assert read_image(folder.curves).std() > 5
    assert read_image(folder.pictures / "step-00000004.png").std() > 5


def test_network_is_a_function_of_the_seed_alone(joint: Path, tmp_path: Path, straight: Path) -> None:
    torch.rand(7)  # moves the global generator, which must not matter
    train(tiny(), joint, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(straight)
    assert without_times(tmp_path / "again") == without_times(straight)
    train(tiny(seed=1, steps=1), joint, tmp_path / "other")
    assert without_times(tmp_path / "other")[0]["mm_task"] != without_times(straight)[0]["mm_task"]


def test_a_run_that_was_made_longer_equals_a_long_one(joint: Path, tmp_path: Path, straight: Path) -> None:
    train(tiny(steps=2), joint, tmp_path)
    assert train(tiny(), joint, tmp_path, resume=True) == tmp_path / "weights.safetensors"
    assert digest(tmp_path) == digest(straight)
    assert without_times(tmp_path)[2:] == without_times(straight)[2:]


def test_ctrl_c_finishes_the_step_and_saves(
    joint: Path, tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(patch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="stopped after step 3"):
            train(tiny(), joint, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert RunFolder(tmp_path).checkpoints()[-1].name == "step-00000003.pt"
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3
    assert not (tmp_path / "weights.safetensors").exists()
    train(tiny(), joint, tmp_path, resume=True)
    assert digest(tmp_path) == digest(straight)
    assert without_times(tmp_path) == without_times(straight)


def test_resume_restores_average_best_and_metrics(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two checkpoints, with a record half written."""
    config = tiny(ema_decay=0.9, dp_task="both", schedule="cosine", warmup_steps=2, init="", amp="bf16")
    train(config, joint, tmp_path / "straight")

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    with monkeypatch.context() as patch:
        stop_at(patch, 3, kill)
        with pytest.raises(Killed):
            train(config, joint, tmp_path / "killed")
    with open(tmp_path / "killed/metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lr"')
    assert [record["step"] for record in read_metrics(tmp_path / "killed/metrics.jsonl")] == [1, 2, 3]
    train(config, joint, tmp_path / "killed", resume=True)
    assert digest(tmp_path / "killed") == digest(tmp_path / "straight")
    assert without_times(tmp_path / "killed") == without_times(tmp_path / "straight")
    best = [
        weights_digest(load_network(tmp_path / run / "best.safetensors")) for run in ("killed", "straight")
    ]
    assert best[0] == best[1]
    # What is written is the average, not the network that learns.
    state = load_training_state(RunFolder(tmp_path / "killed").checkpoint(4))
    result = load_network(tmp_path / "killed/weights.safetensors").state_dict()
    assert all(torch.equal(result[name], value) for name, value in state.extra["average"].items())
    assert any(not torch.equal(result[name], value) for name, value in state.network.items())


def test_changed_settings_or_data_stop_with_what_differs(joint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny(steps=1), joint, run)
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        train(tiny(steps=1), joint, run)
    with pytest.raises(InputError, match=r"batch_size: 2 -> 4; lr: 0.001 -> 0.01"):
        train(tiny(steps=1, lr=0.01, batch_size=4), joint, run, resume=True)
    other = write_joint(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="data: "):
        train(tiny(steps=1), other, run, resume=True)
    with pytest.raises(InputError, match="not empty and not a training run"):
        train(tiny(steps=1), joint, joint)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    joint: Path, tmp_path: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(steps=4), joint, tmp_path)
    folder = RunFolder(tmp_path)
    newest = bytearray(folder.checkpoint(4).read_bytes())
    newest[len(newest) // 2] ^= 1
    folder.checkpoint(4).write_bytes(newest)
    folder.weights.unlink()
    train(tiny(steps=4), joint, tmp_path, resume=True)
    assert "passed over" in capsys.readouterr().err
    assert digest(tmp_path) == digest(straight)
    for path in folder.checkpoints():
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"step-00000004\.pt"):
        train(tiny(steps=4), joint, tmp_path, resume=True)


def test_old_checkpoints_go(joint: Path, tmp_path: Path) -> None:
    train(tiny(steps=4, checkpoint_every=1, keep_checkpoints=2, validation_share=0), joint, tmp_path)
    assert [path.name for path in RunFolder(tmp_path).checkpoints()] == [
        "step-00000003.pt",
        "step-00000004.pt",
    ]
    assert not (tmp_path / "best.safetensors").exists() and not (tmp_path / "pictures").exists()


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_a_loss_that_is_not_finite_stops_with_the_state_of_before(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, straight: Path, main: str
) -> None:
    calls = 0
    honest = getattr(model.objectives, f"{main}_loss")

    def poisoned(*planes: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return honest(*planes) * (math.nan if calls == 4 else 1)

    config = tiny(validation_share=0)
    train(config, joint, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(model.objectives, f"{main}_loss", poisoned)
        with pytest.raises(InputError, match=rf"step 4 is not finite \({main} step") as error:
            train(config, joint, tmp_path / "run")
    assert "\n" not in str(error.value)
    data = TrainingData(config, [joint], device=torch.device("cpu"))
    for sample_id in data.batch_ids(3):
        assert sample_id in str(error.value)
    newest = RunFolder(tmp_path / "run").checkpoints()[-1]
    assert newest.name == "step-00000003.pt" and str(newest) in str(error.value)
    # The state is exactly that of before the step: going on from it leads where the honest run led.
    train(config, joint, tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == digest(tmp_path / "straight")


def test_the_first_step_can_fail_too(joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(model.objectives, "dp_loss", lambda fused, truth: fused.mean() * math.inf)
        with pytest.raises(InputError, match="step 1 is not finite"):
            train(tiny(steps=1), joint, tmp_path)
    state = load_training_state(RunFolder(tmp_path).checkpoint(0))
    assert state.step == 0 and not state.optimizer["state"]


def test_overfitting_one_batch_lowers_every_loss(joint: Path, tmp_path: Path) -> None:
    train(tiny(steps=24, overfit=True, validation_share=0, checkpoint_every=100), joint, tmp_path)
    records = read_metrics(tmp_path / "metrics.jsonl")
    for name in LOSSES:
        assert records[-1][name] < 0.8 * records[0][name], name


def test_long_gradients_are_shortened_and_told_as_they_were(joint: Path) -> None:
    config, device = tiny(clip_norm=1e-3), torch.device("cpu")
    network = GIFNet(NetworkConfig(feature_growth=2, decoder_channels=8))
    measure = load_measure("pyramid", weights="", device=device)
    step = AlternatingStep(network, config, measure=measure, team=Team("cpu"))
    told = step(TrainingData(config, [joint], device=device).batch(0), 1e-3)
    norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    assert float(norm) == pytest.approx(1e-3, rel=1e-3) and told["dp_gradient_norm"] > 2e-3


def test_fine_tuning_starts_from_the_given_weights(joint: Path, tmp_path: Path, straight: Path) -> None:
    weights = straight / "weights.safetensors"
    train(tiny(steps=1, lr=1e-12, init=str(weights)), joint, tmp_path)
    start, end = (load_network(path).state_dict() for path in (weights, tmp_path / "weights.safetensors"))
    assert all(torch.allclose(start[name], end[name], atol=1e-9) for name in start)
    with pytest.raises(InputError, match="absent"):
        train(tiny(init="absent.safetensors"), joint, tmp_path / "none")


@pytest.mark.parametrize(
    ("amp", "steps"),
    [
        ("bf16", 6),
        pytest.param("bf16", 50, marks=pytest.mark.slow),
        pytest.param("fp16", 50, marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_follows_float32(joint: Path, tmp_path: Path, amp: str, steps: int) -> None:
    """From weights that have settled a little, every step's losses are within 10 % plus 0.01 of float32's.

    At the very start, and with the full learning rate, rounding alone sends runs different ways.
    """
    common = {"validation_share": 0, "checkpoint_every": 100}
    train(tiny(steps=40 if steps > 10 else 4, **common), joint, tmp_path / "start")
    losses = {}
    for name in ("off", amp):
        init = str(tmp_path / "start/weights.safetensors")
        train(tiny(steps=steps, amp=name, lr=1e-4, init=init, **common), joint, tmp_path / name)
        records = read_metrics(tmp_path / name / "metrics.jsonl")
        assert all(record["mm_gradient_norm"] for record in records[5:])  # the scale of fp16 has settled
        losses[name] = np.array([[record[key] for key in LOSSES] for record in records])
    assert (np.abs(losses[amp] - losses["off"]) < 0.1 * losses["off"] + 0.01).all()


def test_two_processes_learn_what_one_does(joint: Path, tmp_path: Path) -> None:
    config = {"steps": 3, "batch_size": 4, "lr": 1e-4}
    run_processes(2, joint, tmp_path / "two", config)
    train(tiny(**config), joint, tmp_path / "one")
    one, two = (read_metrics(tmp_path / run / "metrics.jsonl") for run in ("one", "two"))
    for first, second in zip(one, two, strict=True):
        for name in (*LOSSES, "w_ir"):
            assert second[name] == pytest.approx(first[name], rel=1e-5), (name, first["step"])
        assert second["mm_gradient_norm"] == pytest.approx(first["mm_gradient_norm"], rel=1e-4)
    states = [load_network(tmp_path / run / "weights.safetensors").state_dict() for run in ("one", "two")]
    for name, value in states[0].items():
        # Adam divides by the gradient's size, so rounding moves weights whose gradient is rounding alone.
        assert (states[1][name] - value).abs().median() < 1e-7, name
    assert read_json(tmp_path / "two/summary.json")["processes"] == 2


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    team = Team("cpu")
    team.size, team.rank = 2, 1
    assert team.part(8) == slice(4, 8)
    with pytest.raises(InputError, match="batch_size 3 cannot be split over 2 processes"):
        team.part(3)
    with pytest.raises(InputError, match="number of samples for MM 1 cannot be split"):
        team.part(FidelityObjective().mm_samples(6), "number of samples for MM")


def test_a_killed_run_resumes_to_the_same_weights(joint: Path, tmp_path: Path, straight: Path) -> None:
    kill_after_lines(joint, tmp_path, lines=3)
    train(tiny(), joint, tmp_path, resume=True)
    assert digest(tmp_path) == digest(straight)
    assert without_times(tmp_path) == without_times(straight)


@pytest.mark.slow
def test_killed_at_ten_random_moments(joint: Path, tmp_path: Path) -> None:
    settings = {"steps": 30, "checkpoint_every": 1}
    start = time.monotonic()
    run_processes(1, joint, tmp_path / "straight", settings)
    whole = time.monotonic() - start
    rng, kills = random.Random(0), 0
    while kills < 10:
        process = spawn(joint, tmp_path / "run", settings | {"resume": True})
        try:
            process.wait(timeout=rng.uniform(0.3, 1) * whole)
            break  # finished before its time had come
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    run_processes(1, joint, tmp_path / "run", settings | {"resume": True})
    assert digest(tmp_path / "run") == digest(tmp_path / "straight")
    assert without_times(tmp_path / "run") == without_times(tmp_path / "straight")


def test_learning_rate_is_a_function_of_the_step() -> None:
    constant = tiny(lr=2.0, steps=10)
    assert {learning_rate(constant, step) for step in range(10)} == {2.0}
    warm = tiny(lr=2.0, steps=10, warmup_steps=4)
    assert [learning_rate(warm, step) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    cosine = tiny(lr=2.0, steps=10, warmup_steps=2, schedule="cosine")
    rates = [learning_rate(cosine, step) for step in range(11)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == pytest.approx(1.0) and rates[10] == pytest.approx(0.0)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert learning_rate(tiny(schedule="cosine", steps=4, warmup_steps=4), 3) == 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"crop": 16},
        {"amp": "fp8"},
        {"dp_task": "ivif"},
        {"lr": 0.0},
        {"lr": math.nan},
        {"ema_decay": 1.0},
        {"clip_norm": -1.0},
        {"mm_task_weight": -1.0},
        {"mm_task_weight": math.nan},
        {"validation_share": 1.0},
        {"dp_folder": "pairs", "dp_task": "meif"},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_in_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))) as error:
        TrainConfig(**settings)
    assert "\n" not in str(error.value)


def test_only_settings_that_matter_keep_a_run_from_going_on() -> None:
    earlier = TrainConfig().to_json()
    assert TrainConfig().changes(earlier) == []
    assert TrainConfig(steps=9000, device="cpu", keep_checkpoints=9).changes(earlier) == []
    assert TrainConfig(seed=1).changes(earlier) == ["seed: 0 -> 1"]
    cosine = TrainConfig(schedule="cosine")
    longer = TrainConfig(schedule="cosine", steps=9000)
    assert longer.changes(cosine.to_json()) == ["steps: 5000 -> 9000"]
    assert TrainConfig().changes({**earlier, "momentum": 0.9}) == ["momentum: 0.9 -> (absent)"]


def test_overflowed_fp16_gradients_are_counted_and_written_as_null() -> None:
    base: dict[str, Any] = {"lambda_mm": 0.5, "lambda_dp": 0.5, "seconds": 1.0, **dict.fromkeys(LOSSES, 1.0)}
    records = [
        {**base, "step": 1, "mm_gradient_norm": None, "dp_gradient_norm": None},
        {**base, "step": 2, "mm_gradient_norm": 2.0, "dp_gradient_norm": 1.0},
    ]
    assert summarise(records)["skipped_updates"] == 2
    assert summarise([]) == {}


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnot json\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics.jsonl:2: not JSON"):
        read_metrics(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_metrics(tmp_path / "absent.jsonl")


def test_tensorboard_gets_the_scalars(joint: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny(steps=2), joint, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(LOSSES) <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("mm_task")] == [1, 2]


def spawn(joint: Path, out: Path, settings: dict[str, Any], **environment: str) -> subprocess.Popen[bytes]:
    """A training in a process of its own; ``resume`` among the settings is train's."""
    settings = {**TINY, "steps": 4, **settings}
    code = (
        "import sys, json, torch\n"
        "torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from model.trainer import TrainConfig, train\n"
        "settings = json.loads(sys.argv[3])\n"
        "resume = settings.pop('resume', False)\n"
        "train(TrainConfig(**settings), Path(sys.argv[1]), Path(sys.argv[2]), resume=resume)\n"
    )
    arguments = [sys.executable, "-c", code, str(joint), str(out), json.dumps(settings)]
    return subprocess.Popen(arguments, cwd=REPOSITORY, env={**os.environ, **environment})


def run_processes(count: int, joint: Path, out: Path, settings: dict[str, Any]) -> None:
    """What torchrun does: the same command in every process, with its rank in the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(count):
        environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes.append(spawn(joint, out, settings, **environment))
    for process in processes:
        if code := process.wait(timeout=280):
            raise subprocess.CalledProcessError(code, process.args)


def kill_after_lines(joint: Path, out: Path, lines: int) -> None:
    """SIGKILL a training as soon as its log has so many lines."""
    process = spawn(joint, out, {})
    deadline = time.monotonic() + 250
    while not (out / "metrics.jsonl").is_file() or (out / "metrics.jsonl").read_text().count("\n") < lines:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
