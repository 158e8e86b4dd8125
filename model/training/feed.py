"""From a step's number to the tensors it trains on: :class:`TrainingData` joins sets, order and device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.training.planes import PlaneSet, cut_crops, load_joint, load_unpaired, split_validation
from model.training.sampling import Crops, SampleOrder, centre_crops
from model.training.train_config import TrainConfig
from pipeline.files import InputError, sha256_text

#: Shard fields of the pair (a, b) of each digital-photography task.
DP_ROLES = {
    "mfif": ("visible_focus_near", "visible_focus_far"),
    "meif": ("visible_over", "visible_under"),
}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one training step sees: luminance planes, float32 (B, 1, H, W) in [0, 1]."""

    infrared: Tensor
    visible: Tensor
    dp_a: Tensor  # near-focused or over-exposed
    dp_b: Tensor  # far-focused or under-exposed
    dp_truth: Tensor  # what the DP step should restore: the visible image itself in a joint data set

    def __len__(self) -> int:
        return len(self.infrared)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(**{name: plane[part] for name, plane in vars(self).items()})


class TrainingData:
    """The data of one run: batches by step, validation batches, ids and a digest.

    Args:
        config: of the run; ``dp_folder`` set means that the DP pairs are not of the same scenes.
        shards: folders of the joint data sets that are mixed.
        device: of the network.

    Raises:
        InputError: unreadable data, or tiles smaller than the crop.
    """

    def __init__(self, config: TrainConfig, shards: Sequence[Path], *, device: torch.device) -> None:
        self._config, self.device = config, device
        dp_tasks = tuple(DP_ROLES) if config.dp_task == "both" else (config.dp_task,)
        dp_roles = () if config.dp_folder else tuple(role for task in dp_tasks for role in DP_ROLES[task])
        sets = [load_joint(shards, ("infrared", "visible", *dp_roles))]
        if config.dp_folder:
            sets.append(load_unpaired(Path(config.dp_folder), sets[0].tile))
        if sets[0].tile < config.crop:
            raise InputError(
                f"{shards[0]}: tiles of {sets[0].tile} pixels, the crop has {config.crop}; use --crop"
            )
        if any(len(set(one.scenes)) < 2 for one in sets):
            # One set can hold out nothing, so nothing is validated: no other withholds samples for it.
            config = replace(config, validation_share=0)
        self._feeds = [
            CropFeed(one, config, name=name, device=device)
            for one, name in zip(sets, ("joint", "unpaired"), strict=False)
        ]
        self._ahead: tuple[int, Batch] | None = None  # a step and its batch
        self._dp_tasks, self._one_scene = dp_tasks, sets[0].one_scene
        self.too_small = sets[-1].too_small  # pictures of ``dp_folder`` that hold no tile
        self.digest = sets[0].digest if len(sets) == 1 else sha256_text("".join(one.digest for one in sets))

    @property
    def num_samples(self) -> int:
        """Samples that are trained on in one epoch."""
        return self._feeds[0].num_samples

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0; the same in every process of a distributed run."""
        if self._ahead is None or self._ahead[0] != step:
            self.prepare(step)
        assert self._ahead is not None
        batch, self._ahead = self._ahead[1], None
        return batch

    def prepare(self, step: int) -> None:
        """Have the batch of a step ready: on a GPU, while that computes the step before."""
        planes: dict[str, Tensor] = {}
        for feed in self._feeds:
            planes |= feed.batch(0 if self._config.overfit else step)
        self._ahead = step, self._assemble(planes, step)

    def batch_ids(self, step: int) -> list[str]:
        """Ids of the samples in the batch of a step, for error messages."""
        step = 0 if self._config.overfit else step
        return [sample_id for feed in self._feeds for sample_id in feed.ids(step)]

    @property
    def num_validation(self) -> int:
        """Samples that are held out."""
        return min(feed.num_validation for feed in self._feeds)

    @property
    def validates_on_trained_scene(self) -> bool:
        """Whether held-out samples are other frames of the one scene that is trained on."""
        return self._one_scene and self.num_validation > 0

    def validation_batches(self) -> Iterator[Batch]:
        """Every held-out sample once, cut in the middle, in even batches of about the batch size.

        With unpaired DP pairs the longer set is cut to the shorter one's length. ``both`` gives each batch
        for each DP task. The last of an odd number of samples comes twice with the objective ``fidelity``,
        which takes its pairs of both kinds by turns.
        """
        samples = np.arange(self.num_validation)
        if self._config.objective == "fidelity" and len(samples) % 2:
            samples = np.append(samples, samples[-1])
        size = self._config.batch_size + self._config.batch_size % 2  # objectives may alternate in a batch
        for start in range(0, len(samples), size):
            planes: dict[str, Tensor] = {}
            for feed in self._feeds:
                planes |= feed.validation(samples[start : start + size])
            for task in range(len(self._dp_tasks)):
                yield self._assemble(planes, task)

    def _assemble(self, planes: dict[str, Tensor], step: int) -> Batch:
        a, b, truth = "near", "far", "ground_truth"
        if not self._config.dp_folder:
            # `both` alternates step by step.
            a, b = DP_ROLES[self._dp_tasks[step % len(self._dp_tasks)]]
            truth = "visible"
        return Batch(
            infrared=planes["infrared"],
            visible=planes["visible"],
            dp_a=planes[a],
            dp_b=planes[b],
            dp_truth=planes[truth],
        )


class CropFeed:
    """Crops of one set on the network's device, drawn from the device's memory or else from the host's."""

    def __init__(self, planes: PlaneSet, config: TrainConfig, *, name: str, device: torch.device) -> None:
        self._set, self._crop, self._device = planes.to_device(device), config.crop, device
        self._batch_size = config.batch_size
        self._trained, self._held_out = split_validation(planes.scenes, config.validation_share)
        self._order = SampleOrder(
            len(self._trained),
            tile=planes.tile,
            crop=config.crop,
            seed=config.seed,
            flip=config.flip,
            name=name,
        )

    @property
    def num_samples(self) -> int:
        """Samples that are trained on."""
        return len(self._trained)

    @property
    def num_validation(self) -> int:
        """Samples that are held out."""
        return len(self._held_out)

    def batch(self, step: int) -> dict[str, Tensor]:
        """role -> float32 (B, 1, crop, crop) in [0, 1] on the device."""
        return self._split(self._crops(step))

    def ids(self, step: int) -> list[str]:
        """Ids of the samples of :meth:`batch`."""
        return [self._set.ids[i] for i in self._crops(step).samples]

    def validation(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """The same for some of the held-out samples, counted from 0, cut in the middle."""
        crops = centre_crops(self._held_out[numbers], tile=self._set.tile, crop=self._crop)
        return self._split(crops)

    def _crops(self, step: int) -> Crops:
        crops = self._order.batch(step, self._batch_size)
        return replace(crops, samples=self._trained[crops.samples])

    def _split(self, crops: Crops) -> dict[str, Tensor]:
        planes = cut_crops(self._set.planes, crops, self._crop)
        if planes.device.type != self._device.type:
            # uint8 travels, a quarter of the bytes, and the host does not wait for it.
            planes = planes.pin_memory().to(self._device, non_blocking=True)
        return {
            role: plane[:, None] / 255 for role, plane in zip(self._set.roles, planes.unbind(1), strict=True)
        }
