"""Settings of a training run. Imports no torch, so that help texts can show the defaults."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from pipeline.files import InputError
from pipeline.networks.schedules import cosine_share

AMP_NAMES = ("auto", "fp16", "bf16", "off")
DP_TASKS = ("mfif", "meif", "both")
SCHEDULES = ("constant", "cosine")
OBJECTIVES = ("published", "fidelity")
HEADS = ("plane", "pyramid")
MEASURES = ("pyramid", "densenet121")
#: Shape of a fresh network, the published one (see model/network.py).
SHAPE: dict[str, Any] = {"feature_growth": 32, "decoder_channels": 64, "head": "plane"}
#: DenseNet-121, one of the information measures, halves five times (model/training/information.py).
MIN_CROP = 32
#: Below this side the coarsest window of VIF, which the fidelity objective rewards, has no place.
MIN_FIDELITY_CROP = 41
#: More than any memory holds, and the largest seed that all generators take.
MAX_BATCH_SIZE, MAX_SEED = 1 << 16, (1 << 63) - 1
#: Keys that one objective alone heeds.
PUBLISHED_KEYS = ("dp_public_weight",)
_FIDELITY_WEIGHTS = (
    *("intensity", "gradient", "structure", "edges", "visual_information", "complement"),
    *("mutual_information", "truth", "truth_error", "rival", "sharpness", "overshoot"),
)
FIDELITY_KEYS = (
    *(f"{name}_weight" for name in _FIDELITY_WEIGHTS),
    *("camera_lead", "exposure_lead", "focus_lead"),
)
#: Keys that change how a run is carried out or watched, but not what it learns; a resumed run may change
#: them.
FREE_KEYS = frozenset({"device", "checkpoint_every", "keep_checkpoints", "picture_every", "cuda_graphs"})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How GIFNet is trained. The defaults follow the paper where it is specific."""

    #: Batches. Each is one MM update and one DP update; the paper's two epochs are 5,000.
    steps: int = 5000
    #: Samples per batch over all processes together.
    batch_size: int = 8
    #: Side of the square crops in pixels.
    crop: int = 128
    #: Whether crops are mirrored at random along both axes. The paper does not.
    flip: bool = True
    #: Digital-photography task: mfif (near/far, as published), meif (over/under), or both in turn.
    dp_task: str = "mfif"
    #: Folder of focus pairs with ground truth of other scenes (layout of MFI-WHU), to train without the joint
    #: data set's own pairs: the supplement's ablation. Empty: the joint data set's.
    dp_folder: str = ""

    #: Learning rate of Adam.
    lr: float = 1e-3
    #: constant (as published), or cosine: falling towards 0, which it would reach one step after the last.
    schedule: str = "constant"
    #: Steps of linear warm-up, from lr / steps to lr. The paper has none, and there Adam's first steps, all
    #: of full length, can drive the decoder's tanh on dark images so far that it is flat: black for good.
    warmup_steps: int = 100
    #: Longer gradients are shortened to this norm; 0: never. The paper does not. Fidelity scores are steep on
    #: some images, and Adam would go slowly for a thousand steps after each.
    clip_norm: float = 0.0
    #: Per-step decay of the exponential moving average of the weights, such as 0.999; 0: none is kept.
    ema_decay: float = 0.0
    #: Weights to start from (any file that fuse takes); empty: a fresh network.
    init: str = ""
    #: Shape of the network; None: that of the run that goes on, of ``init``, or the published one.
    feature_growth: int | None = None
    decoder_channels: int | None = None
    head: str | None = None

    #: Information measure behind w_ir and w_vis: pyramid, or densenet121 (as published).
    information: str = "pyramid"
    #: File of ImageNet weights for densenet121; empty: timm downloads them.
    information_weights: str = ""
    #: What is taught: the paper's joint training (published), or fusing as it is used, scored by what the
    #: result keeps of its sources (fidelity); see model/training/objectives.py.
    objective: str = "published"
    #: Weights of the losses. The published sums have 1 everywhere.
    mm_task_weight: float = 1.0
    mm_public_weight: float = 1.0
    dp_task_weight: float = 1.0
    dp_public_weight: float = 1.0
    public_ssim_weight: float = 1.0
    public_mse_weight: float = 1.0
    #: Of the fidelity objective: squared error to the sources, error of the stronger gradient, SSIM, Qabf,
    #: VIF, SCD, mutual information; for pairs made from one image instead the distance from that image.
    intensity_weight: float = 1.0
    gradient_weight: float = 3.0
    structure_weight: float = 2.0
    edges_weight: float = 2.0
    visual_information_weight: float = 1.0
    complement_weight: float = 1.0
    mutual_information_weight: float = 1.0
    truth_weight: float = 2.0
    #: Within that distance, of the absolute error beside SSIM and gradients.
    truth_error_weight: float = 20.0
    #: What a score is behind that of a Laplacian pyramid counts this much more.
    rival_weight: float = 4.0
    #: Gradients that are flatter than those of that pyramid.
    sharpness_weight: float = 4.0
    #: Gradients that are steeper, where the bases of the pyramids agree, as those of a focus pair do: there
    #: the image to make is in each place one of the two.
    overshoot_weight: float = 4.0
    #: How much farther than that pyramid's gradients and structure should be, in parts of 1: of two cameras'
    #: images its gradients, of two exposures both, of a focus pair its gradients. Without a lead the means
    #: over many crops would stay behind: no crop could make up for another.
    camera_lead: float = 0.025
    exposure_lead: float = 0.01
    focus_lead: float = 0.0

    #: Share of the scenes held out for validation; 0: none.
    validation_share: float = 0.05
    #: Steps between two validations.
    validate_every: int = 500
    #: Steps between two pictures of validation samples.
    picture_every: int = 1000
    #: Steps between two checkpoints.
    checkpoint_every: int = 500
    #: Latest checkpoints that are kept.
    keep_checkpoints: int = 3
    #: Train on the first batch again and again, to see whether the network can learn at all.
    overfit: bool = False

    #: Mixed precision: fp16, bf16, off, or auto: fp16 on a CUDA GPU, off on the CPU.
    amp: str = "auto"
    #: auto, cpu, cuda or cuda:N.
    device: str = "auto"
    #: On CUDA, use only kernels that repeat exactly, so that a resumed run equals an uninterrupted one bit
    #: for bit. The CPU always does.
    deterministic: bool = True
    #: On one CUDA GPU, record the passes of a step once and launch them as a whole: the same values, and the
    #: host no longer holds the GPU up.
    cuda_graphs: bool = True
    #: Of the fresh network, the order of the samples, the crops and the flips.
    seed: int = 0

    def __post_init__(self) -> None:
        for key, known in (
            ("amp", AMP_NAMES),
            ("dp_task", DP_TASKS),
            ("schedule", SCHEDULES),
            ("objective", OBJECTIVES),
            ("head", HEADS),
            ("information", MEASURES),
        ):
            if (name := getattr(self, key)) is not None and name not in known:
                raise InputError(f"train: {key} is {name!r}; use one of {', '.join(known)}")
        # Fidelity fuses a pair of two cameras and a digital pair at least.
        crop, batch_size = (MIN_FIDELITY_CROP, 2) if self.objective == "fidelity" else (MIN_CROP, 1)
        at_least = {"batch_size": batch_size, "crop": crop, "warmup_steps": 0, "seed": 0}
        at_least |= dict.fromkeys(
            ("steps", "validate_every", "picture_every", "checkpoint_every", "keep_checkpoints"), 1
        )
        for key, least in at_least.items():
            if getattr(self, key) < least:
                raise InputError(f"train: {key} is {getattr(self, key)}; it must be at least {least}")
        for key, most in (("batch_size", MAX_BATCH_SIZE), ("seed", MAX_SEED)):
            if getattr(self, key) > most:
                raise InputError(f"train: {key} is {getattr(self, key)}; it must be at most {most}")
        for key in (
            field.name for field in dataclasses.fields(self) if field.name.endswith(("_weight", "_lead"))
        ):
            if not 0 <= getattr(self, key) < math.inf:
                raise InputError(f"train: {key} is {getattr(self, key)}; it must be 0 or more")
        idle = FIDELITY_KEYS if self.objective == "published" else PUBLISHED_KEYS
        for key in idle:
            if getattr(self, key) != getattr(type(self), key):
                raise InputError(f"train: {key} means nothing with objective {self.objective}; leave it out")
        if self.information_weights and self.information != "densenet121":
            raise InputError(
                f"train: information_weights means nothing with information {self.information}; leave it out"
            )
        if self.schedule == "cosine" and self.warmup_steps >= self.steps:
            few = f"with schedule cosine give fewer than steps, {self.steps}"
            raise InputError(f"train: warmup_steps is {self.warmup_steps}; {few}")
        if not 0 < self.lr < math.inf:
            raise InputError(f"train: lr is {self.lr}; it must be above 0")
        if not 0 <= self.clip_norm < math.inf:
            raise InputError(f"train: clip_norm is {self.clip_norm}; it must be 0 or more")
        for key in ("ema_decay", "validation_share"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(f"train: {key} is {getattr(self, key)}; it must be in [0, 1)")
        if self.dp_folder and self.dp_task != "mfif":
            raise InputError("train: dp_folder holds focus pairs; use it with dp_task mfif")
        self._check_losses()

    def _check_losses(self) -> None:
        """Refuse weights with which nothing is trained, and those of parts of a loss that does not count."""
        publics = ("mm_public_weight", *(PUBLISHED_KEYS if self.objective == "published" else ()))
        parts = ("public_ssim_weight", "public_mse_weight")
        has_public = any(getattr(self, key) for key in publics)
        for key in parts:
            if not has_public and getattr(self, key) != getattr(type(self), key):
                raise InputError(f"train: {key} means nothing with {' and '.join(publics)} 0; leave it out")
        has_public = has_public and any(getattr(self, key) for key in parts)
        if not (self.mm_task_weight or self.dp_task_weight or has_public):
            raise InputError(
                "train: mm_task_weight and dp_task_weight are 0, and no public loss counts: nothing would be"
                " trained; give one of them above 0"
            )

    def to_json(self) -> dict[str, Any]:
        """All settings by name, as written to ``config.json``."""
        return dataclasses.asdict(self)

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0: a linear rise over ``warmup_steps``, then as ``schedule`` says."""
        steps = self.steps if self.schedule == "cosine" else math.inf
        return self.lr * cosine_share(step, steps=steps, warmup=self.warmup_steps)

    def shared(self) -> dict[str, Any]:
        """What has to be equal in all processes of one run; files may lie elsewhere on each machine."""
        elsewhere = FREE_KEYS | {"init", "dp_folder", "information_weights"}
        return {key: value for key, value in self.to_json().items() if key not in elsewhere}

    def fresh_shape(self) -> dict[str, Any]:
        """Shape of a fresh network: what was asked for, else the published one."""
        asked = {key: getattr(self, key) for key in SHAPE}
        return SHAPE | {key: value for key, value in asked.items() if value is not None}
