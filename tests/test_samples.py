"""Samples of every mode: what chance decided lies beside the pixels that it decided."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from response_tables import write_gamma
from tiny_source import FRAMES, make_config, run

from pipeline.depth import load_depth_estimator
from pipeline.depth.files import FileDepth
from pipeline.exposure import ExposureConfig
from pipeline.exposure.camera_response import CameraConfig
from pipeline.exposure.probe import load_probe
from pipeline.files import InputError
from pipeline.focus import FocusConfig, FocusDraw, LensDraw, focus_pair
from pipeline.focus.thin_lens import ThinLens
from pipeline.images import read_grey, read_image, read_rgb
from pipeline.shards.dataset import read_index, verify
from pipeline.shards.inspection import describe_draws, iterate_samples, preview
from pipeline.sources.listing import SourceSample
from pipeline.synthesis import samples
from pipeline.synthesis.plan import SynthesisConfig
from pipeline.synthesis.samples import Models, make_samples


def test_the_number_of_frames_held_at_a_time_does_not_show(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples and reasons keep their order, and a sample keeps no frame in memory."""
    (tmp_path / "frames").mkdir()
    for folder in ("visible", "infrared", "depth"):
        shutil.copytree(source.parent / folder, tmp_path / "frames" / folder)
    (tmp_path / "frames/depth/1.png").unlink()
    (tmp_path / "frames/visible/2.png").write_text("no picture")
    (tmp_path / "frames/visible/5.png").write_text("no picture")
    frames = [
        SourceSample(
            id=str(number),
            paths={role: tmp_path / "frames" / role / f"{number}.png" for role in ("visible", "infrared")},
        )
        for number in range(FRAMES)
    ]
    config = replace(make_config(source), depth=f"files:{tmp_path / 'frames/depth'}")
    models = Models(depth=load_depth_estimator(config.depth), probe=load_probe())
    contents = []
    for at_once in (1, 3, 8):
        monkeypatch.setattr(samples, "FRAMES_AT_ONCE", at_once)
        contents.append(make_samples(frames, config, models))
    for content in contents:
        assert [failure["id"] for failure in content.failures] == ["1#0", "1#1", "2#0", "2#1", "5#0", "5#1"]
        assert [one["id"] for one in content.samples] == [
            f"{n}#{tile}" for n in (0, 3, 4, 6) for tile in "01"
        ]
        for one, first in zip(content.samples, contents[0].samples, strict=True):
            for name, value in one.items():
                np.testing.assert_array_equal(value, first[name])
                if isinstance(value, np.ndarray) and value.base is not None:
                    assert value.base.nbytes < 20_000, name


@pytest.mark.parametrize(("role", "shown"), [("infrared", True), ("over", False)])
def test_depth_is_shown_the_frame_in_the_infrareds_place_if_it_is_one(
    source: Path, role: str, shown: bool
) -> None:
    class Recorder(FileDepth):
        infrared: Sequence[np.ndarray] | None = None

        def estimate(
            self,
            frames: Sequence[np.ndarray],
            ids: Sequence[str],
            infrared: Sequence[np.ndarray] | None = None,
        ) -> list[np.ndarray]:
            self.infrared = infrared
            return super().estimate(frames, ids)

    paths = {name: source.parent / name / "0.png" for name in ("visible", "infrared")}
    depth = Recorder(source.parent / "depth")
    config = replace(make_config(source), roles=(role, "visible"))
    content = make_samples(
        [SourceSample(id="0", paths=paths)], config, Models(depth=depth, probe=load_probe())
    )
    assert not content.failures and (depth.infrared is not None) == shown
    if depth.infrared is not None:
        np.testing.assert_array_equal(depth.infrared[0], read_grey(paths["infrared"]))


def test_what_chance_decides_for_a_sample_depends_on_its_id_alone(source: Path) -> None:
    config = replace(make_config(source), exposure=ExposureConfig(mode="camera-response"))
    models = Models(depth=FileDepth(source.parent / "depth"), probe=load_probe())
    frames = [
        SourceSample(id=id_, paths={name: source.parent / name / f"{id_}.png" for name in config.roles})
        for id_ in "01"
    ]
    both, alone = (make_samples(some, config, models).samples for some in (frames, frames[1:]))
    assert alone
    for one, other in zip(both[-len(alone) :], alone, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_thin_lens_pairs_can_be_computed_from_what_is_stored(source: Path, tmp_path: Path) -> None:
    """Lens, focus distances and exposure steps lie beside each sample; the lens's give back its pixels."""
    camera = CameraConfig(over_ev=(1.0, 1.5), under_ev=(-2.0, -1.5), full_well_e=0, read_noise_e=0)
    # Blur in pixels asks for a wide aperture where the sensor has only 96 of them.
    focus = FocusConfig(mode="thin-lens", lens=ThinLens(f_number_min=0.05))
    exposure = ExposureConfig(mode="camera-response", camera=camera)
    assert (
        run(source, tmp_path, replace(make_config(source), focus=focus, exposure=exposure)).written > FRAMES
    )
    assert verify(tmp_path) == []
    for sample in iterate_samples(tmp_path):
        name = f"{sample['id'].split('#')[0]}.png"
        frame = read_rgb(source.parent / "visible" / name)
        depth = read_image(source.parent / "depth" / name).astype(np.float32) / 65535
        depth = depth.astype(np.float16).astype(np.float32)
        lens = LensDraw(
            lens=replace(focus.lens, focal_length_mm=float(sample["focal_length_mm"])),
            f_number=float(sample["f_number"]),
            near_focus_m=float(sample["near_focus_m"]),
            far_focus_m=float(sample["far_focus_m"]),
        )
        draw = FocusDraw(
            threshold=float(sample["focus_threshold"]),
            blur_sigma_px=float(sample["blur_sigma_px"]),
            row=int(sample["tile_row"]),
            col=int(sample["tile_col"]),
            lens=lens,
        )
        near, far = focus_pair(frame, depth, draw, tile=32)
        np.testing.assert_array_equal(sample["visible_focus_near"], near)
        np.testing.assert_array_equal(sample["visible_focus_far"], far)
        assert 1 <= sample["over_ev"] <= 1.5 and -2 <= sample["under_ev"] <= -1.5
        assert sample["response_curve"].startswith("sigmoid")
    told = describe_draws(tmp_path)
    for field in ("f_number", "near_focus_m", "far_focus_m", "over_ev", "under_ev"):
        assert f"  {field} = " in told
    assert read_rgb(preview(tmp_path, tmp_path / "sheet.png", num_samples=2)).std() > 5


def test_a_plan_knows_the_response_curves_by_their_content(source: Path, tmp_path: Path) -> None:
    def config(path: Path) -> SynthesisConfig:
        exposure = ExposureConfig(mode="camera-response", camera=CameraConfig(curves=str(path)))
        return replace(make_config(source), exposure=exposure)

    out, table = tmp_path / "out", write_gamma(tmp_path / "dorf.txt", 0.5)
    run(source, out, config(table))
    digest = read_index(out)["digest"]
    same = write_gamma(tmp_path / "elsewhere" / "cameras.txt", 0.5)
    run(source, out, config(same))
    assert read_index(out)["digest"] == digest
    assert {sample["response_curve"] for sample in iterate_samples(out)} == {"camera"}

    write_gamma(table, 0.7)
    with pytest.raises(InputError, match=r"exposure\.camera\.curves: sha256:\w{64} then, sha256:\w{64} now"):
        run(source, out, config(table))
    with pytest.raises(InputError, match=r"absent\.txt: response curves cannot be read"):
        run(source, tmp_path / "none", config(tmp_path / "absent.txt"))
    assert not (tmp_path / "none").exists()
