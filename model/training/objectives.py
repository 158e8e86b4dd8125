"""What a run teaches: for one task on one batch, which planes go in, what comes out, and its losses.

``published``  Both streams at once, as in the paper: the main one takes its own pair, the other one helps.
``fidelity``   The network as it is used: both streams take the same pair, with either task as the main one.
               The fused image is scored by its distance from the truth where there is one, and elsewhere by
               what it keeps of both sources (:mod:`model.training.fidelity`). The default weights are
               trained so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.blocks.pyramid import stronger_detail
from model.blocks.transformer import Task
from model.training import fidelity
from model.training.feed import Batch
from model.training.losses import dp_loss, mean_squared_error, mm_loss, public_loss
from model.training.padded import Form
from model.training.train_config import TrainConfig

#: With ``fidelity`` the MM update takes this part of the batch.
FIDELITY_MM_PART = 4


@dataclass(frozen=True, kw_only=True)
class TaskLosses:
    """Losses of one task on one batch, scalars."""

    task: Tensor  # of the fused image
    public: Tensor  # of the reconstruction
    total: Tensor  # their weighted sum


class PublishedObjective:
    """The joint training of the paper."""

    def mm_samples(self, batch_size: int) -> int:
        """How many samples of the global batch the MM update sees."""
        return batch_size

    def select(self, batch: Batch, main: Task, *, whole: bool = False) -> Batch:
        """What the update of a task sees of the global batch: all of it."""
        return batch

    def shown(self, batch: Batch, main: Task) -> Batch:
        """The batch with which :meth:`outputs` fuses the task's own pair."""
        return batch

    def outputs(
        self, network: Form, batch: Batch, main: Task, *, weights: tuple[float, float] = (1.0, 1.0)
    ) -> Tensor:
        """Fused image and reconstruction of the main task, float32 (B, 2, H, W).

        The other task's encoder features carry no gradient, and neither does what weighs nothing.

        Args:
            weights: of the losses of both, :func:`loss_weights`.
        """
        mm_planes, dp_planes = (batch.infrared, batch.visible), (batch.dp_a, batch.dp_b)
        # Features with gradient come first: autocast caches the cast weights, and weights that it first cast
        # without gradient would stay without it.
        if main == "mm":
            mm = own = network.encode(*mm_planes)
            with torch.no_grad():
                dp = network.encode(*dp_planes)
        else:
            dp = own = network.encode(*dp_planes)
            with torch.no_grad():
                mm = network.encode(*mm_planes)
        fused = network.fuse_features(mm, dp, main=main)
        return _joined(fused.float(), network.reconstruct(own).float(), weights)

    def losses(
        self,
        outputs: Tensor,
        batch: Batch,
        main: Task,
        information: tuple[Tensor, Tensor],
        config: TrainConfig,
    ) -> TaskLosses:
        """Losses of one task.

        MM: the squared errors to both sources, weighted by their information, and the public loss to the
        visible image. DP: the squared error and the public loss to the image that both sources were made
        from. With DP pairs of other scenes the truth of each task is its own (supplement, Eq. 4).

        Args:
            outputs: of :meth:`outputs`.
            information: (w_ir, w_vis), each (B,); used by MM alone.
        """
        fused, reconstruction = outputs[:, :1], outputs[:, 1:]
        if main == "mm":
            truth = batch.visible
            task = mm_loss(fused, batch.infrared, batch.visible, *information)
        else:
            truth = batch.dp_truth
            task = dp_loss(fused, truth)
        return _weighted(task, _public(reconstruction, truth, config), main, config)


class FidelityObjective:
    """Fuse pairs of both kinds as a user does, and keep what both sources show."""

    def mm_samples(self, batch_size: int) -> int:
        """How many samples of the global batch the MM update sees: users fuse with DP as the main task."""
        return max(1, batch_size // FIDELITY_MM_PART)

    def shown(self, batch: Batch, main: Task) -> Batch:
        """The batch with which :meth:`outputs` fuses the task's own pair."""
        return batch if main == "mm" else replace(batch, infrared=batch.dp_a, visible=batch.dp_b)

    def select(self, batch: Batch, main: Task, *, whole: bool = False) -> Batch:
        """What the update of a task sees of the global batch, or with ``whole`` would see if it saw all.

        Even samples stay as they are: their infrared and visible planes are fused, and no truth is known.
        In odd samples the DP pair takes those places, in half of them in the other order, for nobody's
        folders promise one. What decides is whether the grey levels of the crop's first row have an even
        sum: as good as a coin, and a function of the sample alone.
        """
        count = len(batch) if main == "dp" or whole else self.mm_samples(len(batch))
        batch = batch[:count]
        number = torch.arange(count, device=batch.visible.device)[:, None, None, None]
        row = (255 * batch.visible[..., :1, :]).round().sum(dim=(1, 2, 3), keepdim=True)
        swapped = row % 2 == 1
        a = torch.where(swapped, batch.dp_b, batch.dp_a)
        b = torch.where(swapped, batch.dp_a, batch.dp_b)
        digital = number % 2 == 1
        return replace(
            batch,
            infrared=torch.where(digital, a, batch.infrared),
            visible=torch.where(digital, b, batch.visible),
        )

    def outputs(
        self, network: Form, batch: Batch, main: Task, *, weights: tuple[float, float] = (1.0, 1.0)
    ) -> Tensor:
        """Fused image and reconstruction, float32 (B, 2, H, W); see :meth:`PublishedObjective.outputs`.

        MM alone trains the reconstruction: where DP is trained, the fused image stands in its place.
        """
        features = network.encode(batch.infrared, batch.visible)
        fused = network.fuse_features(features, features, main=main).float()
        if main == "dp" and torch.is_grad_enabled():
            reconstruction = fused.detach()
        else:
            reconstruction = network.reconstruct(features).float()
        return _joined(fused, reconstruction, weights)

    def losses(
        self,
        outputs: Tensor,
        batch: Batch,
        main: Task,
        information: tuple[Tensor, Tensor],
        config: TrainConfig,
    ) -> TaskLosses:
        """What even samples lack of both sources, and the distance of odd ones from their truth.

        The MM update has the public loss too.
        """
        fused, reconstruction = outputs[:, :1], outputs[:, 1:]
        even, odd = slice(0, None, 2), slice(1, None, 2)
        loss = self._lacking(
            fused[even], batch[even], [weight[: len(fused)][even] for weight in information], config
        )
        if len(fused) > 1:
            distance = self._distance(fused[odd], batch.dp_truth[odd], config)
            loss = torch.cat([loss, config.truth_weight * distance])
        public = _public(reconstruction, batch.visible, config) if main == "mm" else loss.new_zeros(())
        return _weighted(loss.mean(), public, main, config)

    def _distance(self, fused: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
        """Of a fused image from its truth, (B,)."""
        error = (fused - truth).abs().mean(dim=(1, 2, 3))
        gradient_error = fidelity.gradient_error(fused, truth, truth)
        unlike = 1 - fidelity.ssim(fused, truth)
        return (
            config.truth_error_weight * error
            + config.gradient_weight * gradient_error
            + config.structure_weight * unlike
        )

    def _lacking(self, fused: Tensor, batch: Batch, information: list[Tensor], config: TrainConfig) -> Tensor:
        """What a fused image lacks of both sources, (B,); the more so below a Laplacian pyramid's scores."""
        a, b = batch.infrared, batch.visible
        squared = [mean_squared_error(fused, source, per_sample=True) for source in (a, b)]
        loss = config.intensity_weight * (information[0] * squared[0] + information[1] * squared[1])
        loss = loss + config.gradient_weight * fidelity.gradient_error(fused, a, b)
        like = fidelity.correlation(a, b).clamp_min(0)
        apart = 1 - like
        unlike = apart.square()
        distance = fidelity.base_distance(a, b)
        of_exposures = config.exposure_lead * like * distance
        of_focus = fidelity.FOCUS_AHEAD * (1 - distance)
        # In each place of a focus pair the picture to make is one of them: nothing to be steeper than.
        limit = 1 + distance * config.camera_lead * (4 * apart).clamp_max(1) + of_exposures
        limit = limit + (1 - distance) * config.focus_lead
        ahead = fidelity.STRUCTURE_AHEAD * (4 * unlike).clamp_max(1) + of_exposures
        rival = stronger_detail(torch.cat([a, b], dim=1)).clamp(0, 1)
        for score, weight, share, margin in (
            (fidelity.structure, config.structure_weight, 1.0, ahead * distance + of_focus),
            (fidelity.edges, config.edges_weight, 1.0, of_focus),
            (fidelity.visual_information, config.visual_information_weight, 1.0, 0.0),
            # Sources that are nearly alike have next to nothing to add to each other: there SCD rewards
            # contrast that is in neither.
            (fidelity.complement, config.complement_weight, unlike * distance, 0.0),
            (fidelity.mutual_information, config.mutual_information_weight, 1.0, of_focus),
        ):
            if weight:
                kept = score(fused, a, b)
                behind = (score(rival, a, b) + margin - kept).clamp_min(0)
                loss = loss + weight * share * (1 - kept + config.rival_weight * behind)
        steepness = fidelity.sharpness(fused, rival)
        loss = loss + config.sharpness_weight * (1 - steepness.clamp(max=limit).mean(dim=0))
        overshoot = (steepness - 1 - config.focus_lead).clamp_min(0).mean(dim=0)
        return loss + config.overshoot_weight * (1 - distance) * overshoot


Objective = PublishedObjective | FidelityObjective

#: By the name that the configuration knows.
OBJECTIVES: dict[str, Objective] = {"published": PublishedObjective(), "fidelity": FidelityObjective()}


def loss_weights(main: Task, config: TrainConfig) -> tuple[float, float]:
    """Weights of a task's own and of its public loss."""
    if main == "mm":
        return config.mm_task_weight, config.mm_public_weight
    return config.dp_task_weight, config.dp_public_weight


def _joined(fused: Tensor, reconstruction: Tensor, weights: tuple[float, float]) -> Tensor:
    planes = zip((fused, reconstruction), weights, strict=True)
    return torch.cat([plane if weight else plane.detach() for plane, weight in planes], dim=1)


def _public(reconstruction: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
    weights = {"ssim_weight": config.public_ssim_weight, "mse_weight": config.public_mse_weight}
    return public_loss(reconstruction, truth, **weights)


def _weighted(task: Tensor, public: Tensor, main: Task, config: TrainConfig) -> TaskLosses:
    weighted = zip(loss_weights(main, config), (task, public), strict=True)
    terms = [weight * loss for weight, loss in weighted if weight]
    return TaskLosses(task=task, public=public, total=sum(terms, task.new_zeros(())))
