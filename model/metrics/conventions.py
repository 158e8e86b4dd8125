"""What published evaluation codes print where they differ from the standard convention.

A convention holds exactly the metrics that its code prints, so that a table never mixes two conventions.
``CONVENTIONS.md`` has the same as tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model.metrics import (
    GROUND_TRUTH_METRICS,
    METRICS,
    Metric,
    feature_information,
    fidelity,
    gradient,
    information,
    perceptual,
    similarity,
)
from pipeline.files import InputError


@dataclass(frozen=True)
class Difference:
    """How one metric of a convention differs from the standard."""

    note: str  # what the code does, in one sentence
    function: Callable[..., float]
    joined: bool = False  # see Metric
    unit: str | None = None  # None: that of the standard
    min_side_px: int | None = None  # likewise


@dataclass(frozen=True)
class Convention:
    """The metrics that one published code prints."""

    source: str  # where the code is
    same: tuple[str, ...]  # metrics that agree with the standard
    differs: dict[str, Difference]
    remark: str = ""  # what else a reader of its figures has to know


_EQUAL_EDGES = "Of two equal edge strengths its Qabf takes the strength for the ratio, which is 1 here"

CONVENTIONS: dict[str, Convention] = {
    "standard": Convention("the definitions of this program", tuple(METRICS), {}),
    "matlab-toolbox": Convention(
        "github.com/Linfeng-Tang/Image-Fusion at 53f5542, General Evaluation Metric",
        ("EN", "AG", "SCD", "CC", "Qabf"),
        {
            "SF": Difference("of the image in [0, 1]: 1/255", gradient.spatial_frequency_unit_range, unit=""),
            "SD": Difference(
                "8-bit saturating arithmetic: pixels below the mean count 0, squares stop at 255",
                similarity.standard_deviation_saturated,
            ),
            "MSE": Difference("of images in [0, 1]: 1/65025", similarity.mean_squared_error_unit_range),
            "PSNR": Difference(
                "of images in [0, 1] while the peak stays 255: 48.1 dB more",
                similarity.peak_signal_to_noise_unit_range,
            ),
            "MI": Difference(
                "the joint histogram takes level 255 for 254 (8-bit saturation)",
                information.mutual_information_saturated,
            ),
            "VIF": Difference(
                "squares of the finest scale stop at 255 (8-bit saturation): it hardly counts",
                fidelity.information_fidelity_saturated,
            ),
            "Nabf": Difference(
                "on [0, 1] no edge reaches the threshold of 2: every pixel weighs the same",
                gradient.edge_artefacts_unit_range,
            ),
            "SSIM": Difference(
                "is MEF-SSIM of the finest scale", perceptual.exposure_fusion_similarity_fine, min_side_px=11
            ),
            "MS-SSIM": Difference("is MEF-SSIM", perceptual.exposure_fusion_similarity, min_side_px=44),
            "FMI_pixel": Difference(
                "only here: FMI of edge maps, not of pixels (Sobel, automatic threshold, thinned)",
                feature_information.edge_feature_information,
            ),
            "FMI_dct": Difference(
                "only here: FMI of the DCT of the whole image", feature_information.cosine_feature_information
            ),
            "FMI_w": Difference(
                "only here: FMI of one level of the discrete Meyer wavelet transform",
                feature_information.wavelet_feature_information,
            ),
        },
        remark=f"{_EQUAL_EDGES}; eight values that were published are 0.0001 to 0.0005 lower.",
    ),
    "cddfuse": Convention(
        "github.com/Zhaozixiang1228/MMIF-CDDFuse at 40de058, utils/Evaluator.py",
        ("EN", "SD", "SF", "MSE", "CC", "SCD", "VIF", "Qabf"),
        {
            "AG": Difference("divided by H W, not (H - 1)(W - 1)", gradient.average_gradient_mean),
            "MI": Difference("in nats: bits x 0.693", information.mutual_information_nats, unit="nat"),
            "PSNR": Difference(
                "the peak is the fused image's maximum, not 255", similarity.peak_signal_to_noise_by_maximum
            ),
            "SSIM": Difference(
                "sum, not mean; 7x7 uniform window; data range 2 (old scikit-image's default for float)",
                similarity.structural_similarity_range_two,
                min_side_px=7,
            ),
        },
        remark=f"{_EQUAL_EDGES}: at most 0.0006 more.",
    ),
    "vifb": Convention(
        "github.com/xingchenzhang/VIFB at 5d29ee7, metrics/",
        ("EN", "EI", "AG", "SD", "Qabf"),
        {
            "SF": Difference(
                "sums divided by H W each; of a colour image's channels side by side",
                gradient.spatial_frequency_per_pixel,
                joined=True,
            ),
            "MI": Difference(
                "in nats, after every image is stretched to 0-255",
                information.mutual_information_stretched,
                unit="nat",
            ),
            "SSIM": Difference("sum, not mean", similarity.structural_similarity_sum),
            "PSNR": Difference(
                "the error is the norm of F - A over H W: the root is taken before the division",
                similarity.peak_signal_to_frobenius,
            ),
            "RMSE": Difference("norm of F - A over H W, mean over the sources", similarity.frobenius_error),
            "CE": Difference("only here: relative entropy of the histograms", information.cross_entropy),
            "Qcb": Difference("images stretched to 0-255 first; zero border", perceptual.chen_blum_stretched),
            "Qcv": Difference(
                "images stretched to 0-255 first; zero border, which becomes the most salient region",
                perceptual.chen_varshney_stretched,
            ),
        },
        remark="It scores R, G and B and takes the mean: pass --colour channels for colour images. "
        f"{_EQUAL_EDGES}: at most 0.0006 more.",
    ),
}

#: Metrics that only a convention prints.
_EXTRA = {
    "RMSE": Metric("root mean squared error", similarity.frobenius_error, higher_is_better=False),
    "CE": Metric("cross-entropy", information.cross_entropy, unit="bit", higher_is_better=False),
    "FMI_pixel": Metric(
        "feature mutual information of edges", feature_information.edge_feature_information, min_side_px=3
    ),
    "FMI_dct": Metric(
        "feature mutual information of the cosine transform",
        feature_information.cosine_feature_information,
        min_side_px=3,
    ),
    "FMI_w": Metric(
        "feature mutual information of the wavelet transform",
        feature_information.wavelet_feature_information,
        min_side_px=3,
    ),
}


def metrics_of(convention: str = "standard", names: Sequence[str] = ()) -> dict[str, Metric]:
    """Return the metrics of a convention, all or those named, in the order of the standard table.

    Those of a ground truth may be named, but are not returned: they are added wherever there is one.

    Raises:
        InputError: the convention is unknown, or does not print one of ``names``.
    """
    if convention not in CONVENTIONS:
        raise InputError(f"--convention {convention}: unknown; use one of {', '.join(CONVENTIONS)}")
    chosen = CONVENTIONS[convention]
    every = {**METRICS, **_EXTRA}
    available = {
        name: _variant(metric, chosen.differs.get(name))
        for name, metric in every.items()
        if name in chosen.same or name in chosen.differs
    }
    unknown = [name for name in names if name not in available and name not in GROUND_TRUTH_METRICS]
    if unknown:
        raise InputError(
            f"{', '.join(unknown)}: no metric of convention {convention}; it has {', '.join(available)}"
        )
    return {name: metric for name, metric in available.items() if not names or name in names}


def _variant(metric: Metric, difference: Difference | None) -> Metric:
    if difference is None:
        return metric
    side = metric.min_side_px if difference.min_side_px is None else difference.min_side_px
    unit = metric.unit if difference.unit is None else difference.unit
    return replace(
        metric, function=difference.function, unit=unit, min_side_px=side, joined=difference.joined
    )
