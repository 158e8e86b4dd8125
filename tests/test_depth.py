"""Depth sources: scaling, edges, files of every kind, networks in any batch, faults."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.depth import DepthEstimator, load_depth_estimator
from pipeline.depth.hourglass import Hourglass
from pipeline.depth.inference import DEFAULT_WEIGHTS, fit_size
from pipeline.depth.losses import ordinal_error
from pipeline.depth.network import DepthNetwork, load_depth_network, save_depth_network
from pipeline.depth.training import FIRST_HELD_OUT
from pipeline.files import InputError, sha256_file
from pipeline.images import write_image
from pipeline.inverse_depth import FLAT_VALUE, refine_edges, unit_range
from pipeline.scenes import render_scene

CPU = torch.device("cpu")
ENCODER = "regnetx_002"


@pytest.fixture(scope="module")
def random_network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A depth source with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "depth.safetensors"
    save_depth_network(path, DepthNetwork(ENCODER), encoder=ENCODER, size_hw=(64, 96), training={})
    return f"timm:{ENCODER}:{path}"


def _frame(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _one(estimator: DepthEstimator, frame: np.ndarray, id_: str = "a") -> np.ndarray:
    (result,) = estimator.estimate([frame], [id_])
    assert result.shape == frame.shape[:2] and result.dtype == np.float32
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
    return result


# --- arithmetic -----------------------------------------------------------------------------------------


@given(hnp.arrays(np.float32, (7, 9), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
@settings(max_examples=60, deadline=None)
def test_unit_range_keeps_order_and_range(values: np.ndarray) -> None:
    scaled = unit_range(values)
    assert np.isfinite(scaled).all() and scaled.min() >= 0 and scaled.max() <= 1
    order = np.argsort(values, axis=None)
    assert (np.diff(scaled.ravel()[order]) >= 0).all()
    if scaled.min() != scaled.max():
        assert scaled.min() == 0 and scaled.max() == 1


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e30, 1e-30])
def test_a_flat_map_becomes_a_constant(value: float) -> None:
    assert (unit_range(np.full((4, 5), value, np.float32), saturated_percent=1) == FLAT_VALUE).all()


def test_a_map_that_spans_the_unit_range_is_kept() -> None:
    values = np.random.default_rng(0).random((8, 9), np.float32)
    values[0, 0], values[1, 1] = 0, 1
    np.testing.assert_array_equal(unit_range(values), values)


def test_refined_edges_lie_on_the_frames_edges() -> None:
    truth = np.zeros((120, 160), np.float32)
    truth[30:90, 40:110] = 1
    frame = np.where(truth[..., None] > 0, np.uint8(200), np.uint8(60)).repeat(3, axis=2)
    soft = cv2.GaussianBlur(truth, (0, 0), 4)
    refined = refine_edges(soft, frame, radius_px=16, epsilon=1e-4)
    # The map jumps where the frame does (between columns 39 and 40), and less on either side.
    assert refined[60, 40] - refined[60, 39] > 5 * (soft[60, 40] - soft[60, 39])
    assert np.diff(refined[60, 30:50]).argmax() == 39 - 30
    assert ((refined > 0.5) == (truth > 0.5)).all()


@pytest.mark.parametrize("subsampling", [1, 3])
def test_refining_a_constant_or_over_a_flat_frame_changes_nothing_but_blur(subsampling: int) -> None:
    frame = _frame(60, 80)
    constant = np.full((60, 80), 0.3, np.float32)
    refined = refine_edges(constant, frame, radius_px=6, epsilon=1e-4, subsampling=subsampling)
    np.testing.assert_allclose(refined, constant, atol=1e-5)
    ramp = np.tile(np.linspace(0, 1, 80, dtype=np.float32), (60, 1))
    over_grey = refine_edges(
        ramp, np.full_like(frame, 128), radius_px=2, epsilon=1e-4, subsampling=subsampling
    )
    np.testing.assert_allclose(over_grey[:, 8:-8], ramp[:, 8:-8], atol=0.02)


# --- files ----------------------------------------------------------------------------------------------


def _write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["depth"] = values
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        write_image(path, values)


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".png", lambda unit: np.rint(unit * 255).astype(np.uint8)),
        (".png", lambda unit: np.rint(unit * 65535).astype(np.uint16)),
        (".npy", lambda unit: unit),
        (".npy", lambda unit: unit.astype(np.float64) * 30 - 7),
        (".npy", lambda unit: np.rint(unit * 255).astype(np.uint8)),
    ],
)
def test_inverse_depth_files_keep_their_relief(tmp_path: Path, suffix: str, make: object) -> None:
    unit = unit_range(np.random.default_rng(1).random((20, 30), np.float32))
    _write(tmp_path / f"train/010001{suffix}", make(unit))  # type: ignore[operator]
    result = _one(load_depth_estimator(f"files:{tmp_path}"), _frame(20, 30), "train/010001")
    np.testing.assert_allclose(result, unit, atol=0.5 / 255)


def test_megadepth_depth_files_are_inverted_and_filled(tmp_path: Path) -> None:
    depth = np.full((40, 60), 20.0, np.float32)
    depth[:, 30:] = 2.0
    depth[10:14, 40:44] = 0  # no depth known, amid the near half
    _write(tmp_path / "a.h5", depth)
    estimator = load_depth_estimator(f"files:{tmp_path}")
    result = _one(estimator, _frame(40, 60))
    assert (result[:, :30] == 0).all() and (result[:, 30:] == 1).all()
    assert estimator.digest == "" and estimator.name == f"files:{tmp_path}"


@pytest.mark.parametrize("suffix", [".png", ".npy", ".h5"])
def test_a_flat_file_gives_a_constant(tmp_path: Path, suffix: str) -> None:
    _write(tmp_path / f"a{suffix}", np.full((8, 9), 7, np.uint8))
    result = _one(load_depth_estimator(f"files:{tmp_path}"), _frame(8, 9))
    assert (result == FLAT_VALUE).all()


def test_ids_with_dots_and_ids_that_leave_the_folder(tmp_path: Path) -> None:
    _write(tmp_path / "maps/frame.0001.png", np.eye(8, 9, dtype=np.uint8))
    _write(tmp_path / "secret.png", np.eye(8, 9, dtype=np.uint8))
    estimator = load_depth_estimator(f"files:{tmp_path / 'maps'}")
    assert _one(estimator, _frame(8, 9), "frame.0001").max() == 1
    with pytest.raises(InputError, match="leaves the depth folder"):
        estimator.estimate([_frame(8, 9)], ["../secret"])


@pytest.mark.parametrize(
    ("suffix", "values", "message"),
    [
        (".png", np.zeros((8, 10), np.uint8), r"a\.png: the map is 10x8, its frame 9x8"),
        (".png", np.zeros((8, 9, 3), np.uint8), r"a\.png: .*one value per pixel"),
        (".npy", np.full((8, 9), np.nan), r"a\.npy: holds NaN"),
        (".npy", np.full((8, 9), np.inf), r"a\.npy: holds NaN or inf"),
        (".npy", np.zeros((8, 9), complex), r"a\.npy: complex128"),
        (".npy", np.zeros((8, 9, 1)), r"a\.npy: 3 dimensions"),
        (".h5", np.zeros((8, 9)), r"a\.h5: holds no depth at all"),
        (".h5", np.full((8, 9), -1.0), r"a\.h5: .*negative"),
        (".h5", np.full((8, 9), np.nan), r"a\.h5: holds NaN"),
        (".h5", np.zeros((8, 10)), r"a\.h5: the map is 10x8"),
    ],
)
def test_unusable_maps_are_named(tmp_path: Path, suffix: str, values: np.ndarray, message: str) -> None:
    _write(tmp_path / f"a{suffix}", values)
    with pytest.raises(InputError, match=message):
        load_depth_estimator(f"files:{tmp_path}").estimate([_frame(8, 9)], ["a"])


@pytest.mark.parametrize("suffix", [".png", ".npy", ".h5"])
@pytest.mark.parametrize("content", [b"", b"text, not a map", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\{suffix}"):
        load_depth_estimator(f"files:{tmp_path}").estimate([_frame(8, 9)], ["a"])


def test_missing_and_ambiguous_maps(tmp_path: Path) -> None:
    estimator = load_depth_estimator(f"files:{tmp_path}")
    with pytest.raises(InputError, match="no depth map for b"):
        estimator.estimate([_frame(8, 9)], ["b"])
    for suffix in (".png", ".npy"):
        _write(tmp_path / f"b{suffix}", np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match=r"b\.png: there is also b\.npy"):
        estimator.estimate([_frame(8, 9)], ["b"])


def test_no_pickles_and_no_other_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    _write(tmp_path / "target.h5", np.ones((8, 9)))
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["depth"] = h5py.ExternalLink("target.h5", "depth")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["disparity"] = np.ones((8, 9))
    estimator = load_depth_estimator(f"files:{tmp_path}")
    with pytest.raises(InputError, match=r"pickled\.npy"):
        estimator.estimate([_frame(1, 1)], ["pickled"])
    for name in ("linked", "other"):
        with pytest.raises(InputError, match=f"{name}.h5: has no dataset 'depth'"):
            estimator.estimate([_frame(8, 9)], [name])


# --- networks -------------------------------------------------------------------------------------------


def test_the_same_frame_gives_the_same_bits_in_any_batch(random_network: str) -> None:
    estimator = load_depth_estimator(random_network, device=CPU)
    frames = [_frame(90, 120, 1), _frame(70, 130, 2), _frame(90, 120, 3), _frame(33, 20, 4)]
    together = estimator.estimate(frames, ["a", "b", "c", "d"])
    backwards = estimator.estimate(frames[::-1], ["d", "c", "b", "a"])[::-1]
    for frame, first, second in zip(frames, together, backwards, strict=True):
        np.testing.assert_array_equal(first, _one(estimator, frame))
        np.testing.assert_array_equal(first, second)


def test_the_number_of_threads_changes_no_bit(random_network: str) -> None:
    estimator = load_depth_estimator(random_network, device=CPU)
    frame, threads, results = _frame(90, 120), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(_one(estimator, frame))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_flat_frame_gives_no_nan(random_network: str, grey: int, refine: bool) -> None:
    estimator = load_depth_estimator(random_network, device=CPU, refine=refine)
    _one(estimator, np.full((50, 70, 3), grey, np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (90, 7), (64, 96)])
def test_frames_of_any_size(random_network: str, size: tuple[int, int]) -> None:
    _one(load_depth_estimator(random_network, device=CPU), _frame(*size))


@given(st.integers(1, 5000), st.integers(1, 5000))
@settings(max_examples=100, deadline=None)
def test_network_size_fits_strides_area_and_aspect(height: int, width: int) -> None:
    rows, columns = fit_size((height, width), (192, 256), 32)
    assert rows % 32 == 0 and columns % 32 == 0
    if 0.5 < height / width < 2:
        assert 0.75 < rows * columns / (192 * 256) < 1.34
        assert 0.75 < (rows / columns) / (height / width) < 1.34


def test_digest_and_name(random_network: str) -> None:
    estimator = load_depth_estimator(random_network, device=CPU)
    assert estimator.name == random_network
    assert estimator.digest == sha256_file(random_network.split(":", 2)[2])


def test_megadepth_inverts_log_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.depth.hourglass.INPUT_SIZE_HW", (64, 96))
    torch.manual_seed(0)
    network = Hourglass()
    path = tmp_path / "net_G.pth"
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    estimator = load_depth_estimator(f"megadepth:{path}", device=CPU, refine=False)
    frame = _frame(64, 96)
    result = _one(estimator, frame)
    with torch.inference_mode():
        log_depth = network.eval()(torch.from_numpy(frame).permute(2, 0, 1)[None] / 255)[0, 0].numpy()
    correlation = np.corrcoef(result.ravel(), np.exp(-log_depth).ravel())[0, 1]
    assert correlation > 0.98  # all but the saturated hundredth is linear


def test_saved_weights_come_back(random_network: str) -> None:
    path = random_network.split(":", 2)[2]
    network, description = load_depth_network(path)
    assert description["encoder"] == ENCODER and description["size_hw"] == [64, 96]
    assert not network.training


@pytest.mark.parametrize(
    "source",
    [
        *("", "nothing", "files", "files:", "default:x", "megadepth", "timm:regnetx_002", "hf:", "Default"),
        *("files:/nonexistent", "megadepth:/nonexistent", "timm:regnetx_002:/nonexistent"),
    ],
)
def test_unknown_or_missing_sources(source: str) -> None:
    with pytest.raises(InputError):
        load_depth_estimator(source, device=CPU)


def test_weights_of_another_kind_are_refused(tmp_path: Path, random_network: str) -> None:
    path = Path(random_network.split(":", 2)[2])
    with pytest.raises(InputError, match=f"weights of encoder {ENCODER}, not resnet18"):
        load_depth_estimator(f"timm:resnet18:{path}", device=CPU)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_depth_estimator(f"timm:{ENCODER}:{damaged}", device=CPU)
    with pytest.raises(InputError, match=r"not the MegaDepth hourglass|not a PyTorch weights file"):
        load_depth_estimator(f"megadepth:{path}", device=CPU)


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    network = DepthNetwork(ENCODER)
    with torch.no_grad():
        network.head.weight[0, 0] = float("nan")
    path = tmp_path / "nan.safetensors"
    save_depth_network(path, network, encoder=ENCODER, size_hw=(64, 96), training={})
    with pytest.raises(InputError, match=r"head\.weight holds NaN"):
        load_depth_network(path)


def test_transformers_model_from_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    sizes = {"reassemble_hidden_size": 16, "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}
    config = transformers.DepthAnythingConfig(backbone_config=backbone, head_hidden_size=8, **sizes)
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path)
    transformers.DPTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(tmp_path)
    estimator = load_depth_estimator(f"hf:{tmp_path}", device=CPU)
    assert len(estimator.digest) == 64
    frame = _frame(48, 70)
    np.testing.assert_array_equal(_one(estimator, frame), _one(estimator, frame))
    config.depth_estimation_type, config.max_depth = "metric", 20
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path)
    _one(load_depth_estimator(f"hf:{tmp_path}", device=CPU), frame)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_depth_estimator(f"hf:{tmp_path / 'nothing'}", device=CPU)


def test_transformers_that_is_not_installed_is_one_line() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"gifnet\[hf\]"):
            load_depth_estimator("hf:some/model", device=CPU)
    else:
        pytest.skip("transformers is installed")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_gpu_agrees_with_cpu_and_with_itself(random_network: str) -> None:
    gpu = load_depth_estimator(random_network, device=torch.device("cuda"))
    frames = [_frame(90, 120, seed) for seed in range(11)]
    ids = [str(index) for index in range(11)]
    together = gpu.estimate(frames, ids)
    for frame, result in zip(frames, together, strict=True):
        np.testing.assert_array_equal(result, _one(gpu, frame))
    on_cpu = load_depth_estimator(random_network, device=CPU).estimate(frames, ids)
    assert max(np.abs(a - b).mean() for a, b in zip(together, on_cpu, strict=True)) < 0.01


# --- the shipped weights --------------------------------------------------------------------------------


@pytest.mark.skipif(not DEFAULT_WEIGHTS.exists(), reason="no default weights yet")
def test_default_weights_see_near_and_far() -> None:
    estimator = load_depth_estimator("default", device=CPU)
    random = np.random.default_rng(0)
    errors = []
    for index in range(8):
        scene = render_scene(seed=0, index=FIRST_HELD_OUT + index, size_hw=(192, 256))
        errors.append(ordinal_error(_one(estimator, scene.visible), scene.inverse_depth, random))
    assert np.mean(errors) < 0.25  # half the error of a guess; tests/benchmarks/depth.py has the real measure
    assert DEFAULT_WEIGHTS.stat().st_size < 20e6
