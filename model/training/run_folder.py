"""The folder of a training run, and what makes going on with it safe.

config.json          settings, digest of the data, versions
metrics.jsonl        one line per step; metrics.jsonl.damaged a copy from before damaged lines were left out
checkpoints/         step-00000500.pt ...: the last few training states
weights.safetensors  the result; best.safetensors the weights with the lowest validation loss
summary.json, curves.png, pictures/, tensorboard/
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.checkpoint import read_metadata
from model.checkpoint.file_checks import NotOurs
from model.checkpoint.training_state import TrainingState, load_training_state
from model.training.train_config import FREE_KEYS, SHAPE, TrainConfig
from pipeline.files import InputError, make_folder, read_json, sha256_file, write_json
from pipeline.runtime.leases import holds, lease
from pipeline.runtime.versions import installed_versions

#: What a run was made with, beside Python.
_PACKAGES = ("gifnet", "torch", "timm", "numpy")


class RunFolder:
    """Paths and checkpoints of one run; see the module's table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "weights.safetensors"
        self.best_weights = path / "best.safetensors"
        self.summary = path / "summary.json"
        self.curves = path / "curves.png"
        self.pictures = path / "pictures"
        self.tensorboard = path / "tensorboard"
        self._checkpoints = path / "checkpoints"
        self._lease, self._token = path / ".in-use", ""
        self._best_is_of_later = False
        self._init_sha256: str | None = None  # of the weights that the run started from

    def checkpoint(self, step: int) -> Path:
        """File of the training state after ``step`` steps."""
        return self._checkpoints / f"step-{step:08d}.pt"

    def checkpoints(self) -> list[Path]:
        """Existing checkpoints, oldest first."""
        return sorted(
            path
            for path in self._checkpoints.glob("step-*.pt")
            if re.fullmatch(r"step-\d{8,}\.pt", path.name)
        )

    def prune(self, keep: int) -> None:
        """Delete all but the latest checkpoints."""
        for path in self.checkpoints()[:-keep]:
            path.unlink(missing_ok=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within the block no other process may train here, on whatever machine.

        Raises:
            InputError: another one does.
        """
        was_there = self.path.exists()
        make_folder(self.path)
        try:
            with lease(self._lease) as token:
                if token is None:
                    raise InputError(f"{self.path}: another process trains here; wait, or choose another -o")
                self._token = token
                yield
        finally:
            if not was_there:
                with suppress(OSError):  # unless something came of it
                    self.path.rmdir()

    def check_in_use(self) -> None:
        """Within :meth:`in_use`, before anything is written: make sure that the folder is still ours.

        Raises:
            InputError: this process was paused for so long that another one has taken over.
        """
        if not holds(self._lease, self._token):
            raise InputError(
                f"{self.path}: this process stood still for a minute or more and another one trains here now;"
                " that one goes on"
            )

    def forget_after(self, step: int, steps: int) -> None:
        """Delete what belongs to no run of ``steps`` that goes on after ``step``.

        These are checkpoints, pictures and best weights of later steps, after which a run was killed or which
        are damaged, summary and weights of a shorter run, and files that a kill left half written.
        """
        if self._best_is_of_later:
            self.best_weights.unlink(missing_ok=True)
        for path in [*self.checkpoints(), *self.pictures.glob("step-*.png")]:
            if path.name > f"step-{step:08d}{path.suffix}":
                path.unlink(missing_ok=True)
        self.summary.unlink(missing_ok=True)
        if step < steps:
            self.weights.unlink(missing_ok=True)
        for folder in (self.path, self._checkpoints, self.pictures):
            for path in folder.glob(".*.tmp-*"):
                path.unlink(missing_ok=True)

    def begin(self, config: TrainConfig, data_digest: str, *, resume: bool) -> TrainingState | None:
        """Check that a run may start or go on here; return the state it goes on from, if any, or say so.

        A damaged checkpoint is passed over, with a word, for the one before it. Where the best weights are
        lost or damaged, their validation is forgotten, with a word.

        Raises:
            InputError: there is something else, or a run and ``resume`` is off; settings or data are not
                those of the run, or it is longer already; its checkpoints are all damaged, or there are
                weights and they are gone.
        """
        if not self.config.is_file():
            # What a kill left of the first file begins with a dot.
            if self.path.is_dir() and any(not path.name.startswith(".") for path in self.path.iterdir()):
                raise InputError(f"{self.path}: not empty and not a training run; choose another -o")
            if resume:  # as a script does each time; or the name of the folder is mistyped
                print(f"{self.path}: no run to go on with; a new one begins", file=sys.stderr)
            return None
        earlier = read_json(self.config)
        known = earlier if isinstance(earlier, dict) else {}
        if not (isinstance(known.get("config"), dict) and isinstance(known.get("data_digest"), str)):
            raise InputError(f"{self.config}: not of a training run; choose another -o")
        if not resume:
            raise InputError(f"{self.path}: holds a run already; add --resume to go on or choose another -o")
        state = self._latest()
        if state is not None:
            self._init_sha256 = earlier.get("init_sha256")
            earlier = {"config": state.config, "data_digest": state.data_digest}
        elif self.weights.is_file():
            step, steps = _step_of(self.weights), earlier["config"].get("steps")
            weights = "" if step is None else f" and --init {self.weights}, of step {step} of {steps}"
            raise InputError(
                f"{self.path}: its checkpoints are gone; restore them, or begin anew with another -o{weights}"
            )
        changes = settings_changed(
            config, earlier["config"], begun=state is not None, init_sha256=self._init_sha256
        )
        if data_digest != earlier["data_digest"]:
            changes.append(f"data: {earlier['data_digest'][:12]} -> {data_digest[:12]}")
        if changes:
            raise InputError(
                f"{self.path}: cannot go on, the run was begun with other settings ({'; '.join(changes)});"
                " restore them or choose another -o"
            )
        if state is not None and state.step > config.steps:
            raise InputError(
                f"{self.path}: {state.step} steps are done already, not {config.steps}; give --steps"
                f" {state.step} or more, or choose another -o"
            )
        return state and self._check_best(state, config.steps)

    def write_config(self, config: TrainConfig, data_digest: str) -> None:
        """Write ``config.json``. Until it is there, the folder holds no run."""
        if self._init_sha256 is None and config.init and Path(config.init).is_file():
            self._init_sha256 = sha256_file(config.init)
        value = {
            "config": config.to_json(),
            "data_digest": data_digest,
            "init_sha256": self._init_sha256,
            "versions": {"python": platform.python_version(), **installed_versions(_PACKAGES)},
        }
        write_json(self.config, value)

    def _check_best(self, state: TrainingState, steps: int) -> TrainingState:
        best = _step_of(self.best_weights) if self.best_weights.is_file() else None
        if isinstance(best, int) and best > steps:
            raise InputError(
                f"{self.best_weights}: of step {best}, which {steps} steps do not reach; give --steps {best}"
                " or more, or choose another -o"
            )
        self._best_is_of_later = isinstance(best, int) and best > state.step
        if (best is None or self._best_is_of_later) and state.extra.get("best") is not None:
            why = "lost" if best is None else "of a step that is done again"
            print(f"{self.best_weights}: {why}; the next validation writes it anew", file=sys.stderr)
            return replace(state, extra={**state.extra, "best": None})
        return state

    def _latest(self) -> TrainingState | None:
        paths = self.checkpoints()
        for path in reversed(paths):
            try:
                return load_training_state(path)
            except NotOurs:
                raise  # whole, for all we know: going on before it would delete it
            except InputError as error:
                print(f"passed over: {error}", file=sys.stderr)
        if not paths:
            return None
        raise InputError(
            f"{self.path}: no checkpoint of this run can be read; delete it or choose another -o"
        )


def _step_of(weights: Path) -> int | None:
    """The step of a run's weights; None, with a word, where they cannot be read."""
    try:
        return read_metadata(weights).get("step")
    except InputError as error:
        print(f"passed over: {error}", file=sys.stderr)
        return None


def settings_changed(
    config: TrainConfig, earlier: dict[str, Any], *, begun: bool, init_sha256: str | None = None
) -> list[str]:
    """What keeps a run with ``earlier`` settings from going on with these: ``"lr: 0.001 -> 0.01"``.

    Under a constant learning rate a run may be made longer, since no step before depends on the number.
    Focus pairs may have moved: the digest of the data tells what they are. One file has many names.

    Args:
        begun: whether there is a network of the run to go on with. Weights to start from may have moved or be
            left out then, and a shape that is left out is that of the network.
        init_sha256: of the file of weights that the run started from, where it is known.
    """
    mine = config.to_json()
    free = FREE_KEYS | ({"steps"} if config.schedule == "constant" else set())
    if begun or config.init:
        free |= {key for key in SHAPE if mine[key] is None}
    mine |= config.fresh_shape()
    if begun and isinstance(init := earlier.get("init"), str) and _may_be(config.init, init, init_sha256):
        free |= {"init"}
    if config.dp_folder and earlier.get("dp_folder"):
        free |= {"dp_folder"}
    if _one_file(config.information_weights, str(earlier.get("information_weights", ""))):
        free |= {"information_weights"}
    absent = "(absent)"
    return [
        f"{key}: {earlier.get(key, absent)} -> {mine.get(key, absent)}"
        for key in sorted(mine.keys() | earlier.keys())
        if key not in free and earlier.get(key, absent) != mine.get(key, absent)
    ]


def _may_be(init: str, earlier: str, sha256: str | None) -> bool:
    """Whether weights are left out, or those that a run started from."""
    if not init or _one_file(init, earlier):
        return True
    return sha256 is not None and Path(init).is_file() and sha256_file(init) == sha256  # moved


def _one_file(*names: str) -> bool:
    return all(names) and len({Path(name).resolve() for name in names}) == 1
