"""Training GIFNet from a joint data set.

    python cli.py train SHARDS -o RUN        one GPU, or the CPU; several: model.training.distributed

Everything that a step depends on is a function of the settings and the step's number, or stands in the
checkpoint; so a run that was killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import save_weights
from model.checkpoint.digest import weights_digest
from model.checkpoint.training_state import TrainingState, save_training_state
from model.inputs.folders import check_apart
from model.memory import kept_in_process
from model.network import GIFNet
from model.training.curves import summarise
from model.training.distributed import Team
from model.training.feed import TrainingData
from model.training.information import load_measure
from model.training.objectives import OBJECTIVES
from model.training.run_folder import RunFolder
from model.training.start import STILLBORN, learns_nothing, notices, start_network
from model.training.step import AlternatingStep, NonFiniteError, amp_dtype
from model.training.train_config import SHAPE, TrainConfig
from model.training.training_log import TrainingLog, progress_note
from pipeline.files import InputError, first_line, write_json
from pipeline.networks.device import repeatable
from pipeline.networks.optimizer_state import restore_adam, restore_scaler
from pipeline.networks.schedules import follow
from pipeline.runtime.progress import Progress
from pipeline.runtime.signals import stop_on_signal


def train(config: TrainConfig, shards: Path | Sequence[Path], out: Path, *, resume: bool = False) -> Path:
    """Train on finished joint data sets and return the weights file ``out/weights.safetensors``.

    Args:
        config: settings.
        shards: folder of the data set, or folders of several, which are mixed.
        out: folder of the run, outside those of the data; see :mod:`model.training.run_folder`.
        resume: go on with the run in ``out`` if there is one.

    Raises:
        InputError: unusable data, weights or folder, a run that cannot go on with these settings, or a loss
            that is not finite (the message names the step, its samples, and the checkpoint of before).
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the running step is finished and saved.
    """
    with (
        Team(config.device) as team,
        repeatable(team.device, deterministic=config.deterministic),
        kept_in_process(team.device),
        ExitStack() as alone,
    ):
        team.check_batch(config.batch_size, OBJECTIVES[config.objective].mm_samples)
        folders = [Path(one) for one in ([shards] if isinstance(shards, str | Path) else shards)]
        check_apart(Path(out), [*folders, *([Path(config.dp_folder)] if config.dp_folder else [])])
        data = TrainingData(config, folders, device=team.device)
        folder = RunFolder(Path(out))
        if team.is_first:
            alone.enter_context(folder.in_use())
        state = folder.begin(config, data.digest, resume=resume)
        # After it everybody has read, and the first may write.
        team.agree({"data": data.digest, "checkpoints": state.step if state else 0, **config.shared()})
        run = _Run(config, data, folder, team, state)
        team.agree({"weights": weights_digest(run.network)})
        run.train()
        return folder.weights


class _Run:
    """The live objects of one run and the loop over its steps."""

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        folder: RunFolder,
        team: Team,
        state: TrainingState | None,
    ) -> None:
        self.data, self.folder, self.team = data, folder, team
        network = GIFNet(state.network_config) if state else start_network(config)
        begun = {"init": state.config["init"]} if state else {}  # what the weights come from
        begun |= {name: getattr(network.config, name) for name in SHAPE}
        self.config = config = replace(config, **begun)
        network = network.to(team.device).to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(network).eval() if config.ema_decay else None
        measure = load_measure(config.information, weights=config.information_weights, device=team.device)
        self.step = AlternatingStep(network, config, measure=measure, team=team)
        self.done = 0
        self.best: float | None = None  # lowest validation loss so far
        self.log: TrainingLog | None = None  # while the first process trains
        if state is not None:
            try:
                self._restore(state)
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                why = f"{folder.checkpoint(state.step)}: does not fit this version ({first_line(error)})"
                raise InputError(f"{why}; begin a new run, with --init from weights") from None

    def train(self) -> None:
        """Run the steps that are left, then write the result."""
        with ExitStack() as stack:
            stop_requested = stack.enter_context(stop_on_signal())
            progress = None
            if self.team.is_first:
                for line in notices(self.config, self.data):
                    print(line, file=sys.stderr)
                self.folder.write_config(self.config, self.data.digest)
                self.log = stack.enter_context(TrainingLog(self.folder, self.done))
                self.folder.forget_after(self.done, self.config.steps)
                self.folder.prune(self.config.keep_checkpoints)  # a full disk may be why the run ended
                progress = Progress("train", total=self.config.steps, unit="step", initial=self.done)
                stack.enter_context(progress)
            while self.done < self.config.steps:
                record = self._one_step()
                stopping = self.team.any(stop_requested()) and self.done < self.config.steps
                if self.log is not None and progress is not None:
                    self.log.hold(record | self._watch(self.log))
                    progress.advance(note=progress_note(record))
                    if stopping or self._due(self.config.checkpoint_every):
                        self._save(self.log, last=stopping)
                if stopping:
                    self.team.wait()  # torchrun ends the others, saving or not, when one process ends
                    raise KeyboardInterrupt(f"after step {self.done}; go on with --resume")
            if self.log is not None:
                self._finish(self.log)
        self.team.wait()

    def _one_step(self) -> dict[str, Any]:
        start = time.perf_counter()
        rate = self.config.learning_rate(self.done)
        self.step.begin(self.data.batch(self.done), rate)
        # What a GPU need not wait for is done while it computes.
        if self.log is not None:
            self.log.tell()
        if self.done + 1 < self.config.steps:
            self.data.prepare(self.done + 1)
        try:
            record: dict[str, Any] = self.step.finish()
        except NonFiniteError as error:
            if self.log is not None:
                self._save(self.log, last=True)
            half = amp_dtype(self.config.amp, self.team.device)
            raise InputError(
                f"{self.folder.path}: step {self.done + 1} is not finite ({error}); samples "
                f"{', '.join(self.data.batch_ids(self.done))}; the state before it is "
                f"{self.folder.checkpoint(self.done)}; begin a new run with --init from it and "
                f"a lower --lr{', or with --amp off' if half else ''}"
            ) from None
        self.done += 1
        if self.done == 1 and self.team.is_first and learns_nothing(self.network):
            print(STILLBORN, file=sys.stderr)
        if self.average is not None:
            follow(self.average, self.network, done=self.done, most=self.config.ema_decay)
        return {"step": self.done, "lr": rate, **record, "seconds": round(time.perf_counter() - start, 4)}

    def _watch(self, log: TrainingLog) -> dict[str, float]:
        """Validate and draw where it is time; keep the best weights."""
        record: dict[str, float] = {}
        validating, drawing = map(self._due, (self.config.validate_every, self.config.picture_every))
        if not (self.data.num_validation and (validating or drawing)):
            return record
        self.folder.check_in_use()
        if validating:
            losses = self.step.validate(self.result, self.data.validation_batches())
            record = {f"validation_{name}": value for name, value in losses.items()}
            total = losses["total"]
            if math.isfinite(total) and (self.best is None or total < self.best):
                self.best = total
                save_weights(self.folder.best_weights, self.result, self._facts())
        if drawing:
            batch = next(self.data.validation_batches())[: self.data.num_validation]
            objective = self.step.objective
            with torch.no_grad():
                mm, dp = (
                    objective.outputs(self.result, objective.shown(batch, main), main)
                    for main in ("mm", "dp")
                )
            log.picture(self.done, batch, mm, dp)
        return record

    def _due(self, every: int) -> bool:
        return self.done % every == 0 or self.done == self.config.steps

    def _save(self, log: TrainingLog, *, last: bool) -> None:
        self.folder.check_in_use()
        log.tell()
        log.sync()  # first, so that no checkpoint knows of more
        average = {} if self.average is None else {"average": dict(self.average.state_dict())}
        save_training_state(
            self.folder.checkpoint(self.done),
            network=self.network,
            optimizer=self.step.optimizer,
            scaler=self.step.scaler,
            step=self.done,
            config=self.config.to_json(),
            data_digest=self.data.digest,
            extra={"best": self.best, **average},
        )
        self.folder.prune(self.config.keep_checkpoints)
        if last or log.curves_are_due:
            log.draw()

    def _restore(self, state: TrainingState) -> None:
        self.network.load_state_dict(state.network)
        restore_adam(self.step.optimizer, state.optimizer)
        restore_scaler(self.step.scaler, state.scaler)
        if self.average is not None:
            self.average.load_state_dict(state.extra["average"])
        self.done, self.best = state.step, state.extra["best"]
        if not isinstance(self.best, float | None):
            raise TypeError(f"its lowest validation loss is {self.best!r}")

    def _finish(self, log: TrainingLog) -> None:
        self.folder.check_in_use()
        save_weights(self.folder.weights, self.result, self._facts())
        device = self.team.device
        summary = summarise(log.draw()) | {
            "weights_digest": weights_digest(self.result),
            "data_digest": self.data.digest,
            "samples": self.data.num_samples,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "processes": self.team.size,
        }
        write_json(self.folder.summary, summary)

    @property
    def network(self) -> GIFNet:
        """The network that learns."""
        return self.step.network

    @property
    def result(self) -> GIFNet:
        """The network that is validated and written: the average where one is kept."""
        return self.network if self.average is None else self.average

    def _facts(self) -> dict[str, Any]:
        return {"step": self.done, "config": self.config.to_json(), "data_digest": self.data.digest}
