"""Depth models of transformers: from a folder, incomplete, damaged, or without the package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from depth_frames import depth_of, smooth_frame
from safetensors.torch import load_file, save_file

from pipeline.depth import load_depth_estimator, source_identity
from pipeline.depth.hf import TransformersDepth
from pipeline.files import InputError, read_json, write_json

CPU = torch.device("cpu")


def _dinov2() -> Any:
    """Configuration of a tiny encoder; skips where transformers is not installed."""
    return pytest.importorskip("transformers").Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip


def _depth_anything(folder: Path, **settings: Any) -> None:
    """A tiny random model in the files of transformers."""
    backbone, transformers = _dinov2(), pytest.importorskip("transformers")
    sizes = {
        "head_hidden_size": 8,
        "reassemble_hidden_size": 16,
        "neck_hidden_sizes": [8] * 4,
        "fusion_hidden_size": 8,
    }
    config = transformers.DepthAnythingConfig(backbone_config=backbone, **sizes, **settings)
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)


def test_transformers_model_from_a_folder(tmp_path: Path) -> None:
    _depth_anything(tmp_path)
    estimator = load_depth_estimator(f"hf:{tmp_path}", device=CPU)
    assert len(estimator.digest) == 64
    frame = smooth_frame(48, 70)
    np.testing.assert_array_equal(depth_of(estimator, frame), depth_of(estimator, frame))
    _depth_anything(tmp_path, depth_estimation_type="metric", max_depth=20)
    depth_of(load_depth_estimator(f"hf:{tmp_path}", device=CPU), frame)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_depth_estimator(f"hf:{tmp_path / 'nothing'}", device=CPU)


def test_a_model_counts_by_weights_and_settings_not_by_its_place(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    _depth_anything(first)
    shutil.copytree(first, second)

    def digest(folder: Path) -> str:
        return load_depth_estimator(f"hf:{folder}", device=CPU).digest

    before = digest(first)
    assert digest(second) == before
    assert source_identity(f"hf:{first}") == source_identity(f"hf:{first}/../second/") == "hf"
    for name, key, value in (
        ("config.json", "transformers_version", "4.0.0"),
        ("config.json", "max_depth", 7),
        ("preprocessor_config.json", "size", {"height": 112, "width": 112}),
    ):
        write_json(second / name, {**read_json(second / name), key: value})
        assert (digest(second) == before) == (key == "transformers_version")
        before = digest(second)


def test_dpt_on_dinov2_gives_metres_of_the_whole_frame(tmp_path: Path) -> None:
    backbone, transformers = _dinov2(), pytest.importorskip("transformers")
    sizes = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 256, "is_hybrid": False}
    torch.manual_seed(0)
    config = transformers.DPTConfig(backbone_config=backbone, add_projection=True, **sizes)
    transformers.DPTForDepthEstimation(config).save_pretrained(tmp_path)
    # As published: not resized, but padded to whole patches.
    transformers.DPTImageProcessor(do_resize=False, do_pad=True, size_divisor=14).save_pretrained(tmp_path)
    estimator = load_depth_estimator(f"hf:{tmp_path}", device=CPU, refine=False)
    assert isinstance(estimator, TransformersDepth) and estimator.gives_depth
    seen: list[torch.Tensor] = []
    estimator.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["pixel_values"]), with_kwargs=True
    )
    assert depth_of(estimator, smooth_frame(61, 83)).shape == (61, 83)
    assert seen[0].shape[2:] == (56, 84), "whole patches, which show all of the frame"


def test_a_frame_of_a_size_that_the_model_does_not_take_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of GLPN the image processor refuses it, of others, such as ZoeDepth, the model."""
    transformers = pytest.importorskip("transformers")
    settings = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    torch.manual_seed(0)
    config = transformers.GLPNConfig(**settings, decoder_hidden_size=8)
    transformers.GLPNForDepthEstimation(config).save_pretrained(tmp_path)
    transformers.GLPNImageProcessor().save_pretrained(tmp_path)
    estimator = load_depth_estimator(f"hf:{tmp_path}", device=CPU)
    assert isinstance(estimator, TransformersDepth)

    def refused(frame: np.ndarray, why: str) -> None:
        says = rf"--depth hf:{re.escape(str(tmp_path))}: the model does not take day/7 of {why}"
        with pytest.raises(InputError, match=says) as error:
            estimator.estimate([frame], ["day/7"])
        assert "\n" not in str(error.value)

    assert depth_of(estimator, smooth_frame(48, 70)).shape == (48, 70)
    refused(smooth_frame(20, 50), r"50x20 pixels \(.+\)$")

    def fail(error: Exception) -> None:
        def forward(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(estimator.model, "forward", forward)

    fail(RuntimeError("kernel larger than input\nand more lines"))
    refused(smooth_frame(48, 70), r"70x48 pixels \(kernel larger than input\)$")
    for defect in ("CUDA out of memory. Tried to allocate", "CUDA error: an illegal memory access"):
        fail(RuntimeError(defect))
        with pytest.raises(RuntimeError, match=defect):
            estimator.estimate([smooth_frame(48, 70)], ["day/7"])


def test_an_incomplete_or_damaged_transformers_model(tmp_path: Path) -> None:
    _depth_anything(tmp_path)
    path, source = tmp_path / "model.safetensors", f"hf:{tmp_path}"
    state = {key: tensor.clone() for key, tensor in load_file(path).items()}  # which lie in the file

    def keep_without(prefix: str) -> None:
        save_file({key: state[key] for key in state if not key.startswith(prefix)}, path, {"format": "pt"})

    keep_without("neck.fusion_stage.layers.0.residual_layer1.")
    digests = {load_depth_estimator(source, device=CPU).digest for _ in range(2)}
    assert len(digests) == 1, "what is never used may lack"
    keep_without("head.")
    with pytest.raises(InputError, match=r"lacks 6 tensors, such as head\.conv1\.bias; use a complete one"):
        load_depth_estimator(source, device=CPU)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cannot be loaded for depth estimation \(Error while"):
        load_depth_estimator(source, device=CPU)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub that nobody can reach, and the folder where transformers keeps what it fetched."""
    transformers = pytest.importorskip("transformers")
    import huggingface_hub

    def unreachable(*_: object, timeout: float) -> None:
        assert timeout <= 10
        raise ConnectionError("no route to it\nand more lines")

    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    # Before version 5 it had its own.
    monkeypatch.setattr(transformers.utils.hub, "TRANSFORMERS_CACHE", str(tmp_path / "cache"), raising=False)
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["./mistyped", "../mistyped", "/mistyped/model", "~/mistyped", "a/b/c"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(hub: Path, name: str) -> None:
    with pytest.raises(
        InputError, match=rf"--depth hf:{name}: cannot be loaded .*there is no folder {name}\)$"
    ):
        load_depth_estimator(f"hf:{name}", device=CPU)


def test_a_hub_out_of_reach_is_one_line_without_retries(
    hub: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoImageProcessor

    load, only_here = AutoImageProcessor.from_pretrained, []

    def recorded(name: str, *, local_files_only: bool) -> Any:
        only_here.append(local_files_only)
        return load(name, local_files_only=local_files_only)

    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", recorded)
    with pytest.raises(
        InputError, match=r"no folder some/model here, and the hub gave none: no route to it\)$"
    ):
        load_depth_estimator("hf:some/model", device=CPU)
    assert only_here == [True] and capfd.readouterr() == ("", "")


def test_a_model_that_was_fetched_needs_no_hub(hub: Path) -> None:
    kept = hub / "models--some--model"
    _depth_anything(kept / "snapshots" / "1")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("1")
    fetched = load_depth_estimator("hf:some/model", device=CPU)
    assert fetched.digest == load_depth_estimator(f"hf:{kept / 'snapshots' / '1'}", device=CPU).digest


def test_transformers_that_is_not_installed_is_one_line() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"gifnet\[hf\]"):
            load_depth_estimator("hf:some/model", device=CPU)
    else:
        pytest.skip("transformers is installed")
