"""Fusion metrics by name: what each is, which way is better, and how to compute a row of them.

>>> compute_metrics(fused, infrared, visible)["Qabf"]

``METRICS`` is the standard convention: grey levels 0-255, information in bits, means over the two sources
except where the literature sums (MI, SCD, VIF). What published codes print instead is in
:mod:`model.metrics.conventions`. Many metrics reward an image for being noisier or sharper than it should
be: read them beside the baselines of :mod:`model.evaluation.baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model.metrics import fidelity, gradient, information, perceptual, similarity
from model.metrics.feature_information import feature_mutual_information
from model.metrics.windows import grey_levels
from pipeline.files import InputError


@dataclass(frozen=True)
class Metric:
    """One column of a results table."""

    title: str  # in words
    function: Callable[..., float]  # of (H, W) planes, uint8 or float in [0, 1]
    inputs: str = "fab"  # its arguments: f = fused, a and b = sources, t = ground truth
    unit: str = ""  # "" = a pure number
    higher_is_better: bool = True
    min_side_px: int = 2  # least height and width it is defined for
    joined: bool = False  # of three channels: that of all side by side, not the mean of theirs


#: The standard convention, in the order of the tables; keys are the literature's abbreviations.
METRICS: dict[str, Metric] = {
    "EI": Metric("edge intensity", gradient.edge_intensity, "f", "grey level"),
    "AG": Metric("average gradient", gradient.average_gradient, "f", "grey level"),
    "SF": Metric("spatial frequency", gradient.spatial_frequency, "f", "grey level"),
    "EN": Metric("entropy", information.entropy, "f", "bit"),
    "SD": Metric("standard deviation", similarity.standard_deviation, "f", "grey level"),
    "SCD": Metric("sum of correlations of differences", similarity.sum_of_difference_correlations),
    "CC": Metric("correlation coefficient", similarity.correlation_coefficient),
    "MI": Metric("mutual information", information.mutual_information, unit="bit"),
    "NMI": Metric("normalised mutual information", information.normalised_mutual_information),
    "FMI": Metric("feature mutual information", feature_mutual_information, min_side_px=3),
    "VIF": Metric("visual information fidelity", fidelity.information_fidelity, min_side_px=41),
    "VIFF": Metric(
        "visual information fidelity for fusion", fidelity.fusion_information_fidelity, min_side_px=41
    ),
    "Qabf": Metric("edges kept", gradient.edge_transfer),
    "Nabf": Metric("edges invented", gradient.edge_artefacts, higher_is_better=False),
    "SSIM": Metric("structural similarity", similarity.structural_similarity_mean, min_side_px=11),
    "MS-SSIM": Metric(
        "multi-scale structural similarity", similarity.multi_scale_similarity, min_side_px=176
    ),
    "MEF-SSIM": Metric(
        "multi-exposure structural similarity", perceptual.exposure_fusion_similarity, min_side_px=44
    ),
    "Qcb": Metric("contrast kept (Chen-Blum)", perceptual.chen_blum),
    "Qcv": Metric("visible difference (Chen-Varshney)", perceptual.chen_varshney, higher_is_better=False),
    "PSNR": Metric("peak signal-to-noise ratio", similarity.peak_signal_to_noise, unit="dB"),
    "MSE": Metric("mean squared error", similarity.mean_squared_error, higher_is_better=False),
}

#: Added to any convention when there is a ground truth.
GROUND_TRUTH_METRICS: dict[str, Metric] = {
    "PSNR-GT": Metric("PSNR against the ground truth", similarity.ground_truth_psnr, "ft", "dB"),
    "SSIM-GT": Metric("SSIM against the ground truth", similarity.ground_truth_ssim, "ft", min_side_px=11),
}


def compute_metrics(
    fused: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    *,
    ground_truth: np.ndarray | None = None,
    metrics: Mapping[str, Metric] = METRICS,
) -> dict[str, float]:
    """Score one fused image against its two sources.

    Args:
        fused, a, b: (H, W) planes of one size, uint8 or float in [0, 1]. For IVIF a is infrared.
        ground_truth: optional plane of the same size; adds PSNR-GT and, from 11 pixels a side on, SSIM-GT.
        metrics: ``METRICS``, or what :func:`model.metrics.conventions.metrics_of` returns.

    Returns:
        abbreviation -> finite value, in the order of ``metrics``.

    Raises:
        InputError: the planes are of different size or an unsuitable type, or too small for a metric.
    """
    planes = {"f": fused, "a": a, "b": b}
    if ground_truth is not None:
        planes["t"] = ground_truth
    side = min(grey_levels(*planes.values())[0].shape)
    truths = GROUND_TRUTH_METRICS if ground_truth is not None else {}
    metrics = {**metrics, **{name: metric for name, metric in truths.items() if side >= metric.min_side_px}}
    for name, metric in metrics.items():
        if side < metric.min_side_px:
            raise InputError(
                f"{name} needs {metric.min_side_px} pixels a side and the image has {side}; leave {name} out"
            )
    return {
        name: metric.function(*(planes[key] for key in metric.inputs)) for name, metric in metrics.items()
    }
