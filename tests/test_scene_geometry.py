"""Geometry of scenes with a closed form: planes, solids, what hides what, inverse depth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scenes.tracing.geometry import Camera, inverse_depth, perspective_view, trace
from pipeline.scenes.tracing.points import gather_points, view_rays
from pipeline.scenes.tracing.solids import Solid

SIZE = (96, 128)
GROUND = Solid(kind="ground", centre=np.zeros(3), axes=np.eye(3), surfaces=(0,))


def solid(
    kind: str, centre: tuple[float, float, float], half: tuple[float, float, float], **more: object
) -> Solid:
    return Solid(
        kind=kind, centre=np.array(centre, float), axes=np.diag(half).astype(float), surfaces=(0,), **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.3, 0.0), (-0.2, 0.0), (0.15, 0.2)])
def test_inverse_depth_of_the_ground_is_linear_in_the_picture(pitch: float, roll: float) -> None:
    camera = Camera(position=(3.0, 1.7, -5.0), yaw=0.6, pitch=pitch, roll=roll, horizontal_fov=1.0)
    depth = trace(perspective_view(camera, (120, 160)), [GROUND]).depth
    # With rows v and columns u from the centre, 1 / z = (sin p + cos p (v cos r - u sin r) / f) / height.
    focal = 80 / np.tan(0.5)
    v, u = np.mgrid[:120, :160] + 0.5 - np.array([60, 80])[:, None, None]
    expected = (np.sin(pitch) + np.cos(pitch) * (v * np.cos(roll) - u * np.sin(roll)) / focal) / 1.7
    np.testing.assert_allclose(1 / depth, np.maximum(expected, 0), rtol=1e-4, atol=1e-6)


def test_nearest_points_of_simple_solids_lie_where_they_must() -> None:
    view = perspective_view(Camera(position=(0.0, 0.0, 0.0), horizontal_fov=0.2), (65, 65))
    for shape, front in [
        (solid("ellipsoid", (0, 0, 10), (1, 1, 2)), 8.0),
        (solid("convex", (0, 0, 10), (1, 1, 2)), 8.0),
        (solid("cone", (0, 0, 10), (2, 3, 2), taper=0.5), 8.5),  # radius 1.5 at half height
    ]:
        assert trace(view, [shape]).depth[32, 32] == pytest.approx(front, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["ellipsoid", "convex", "cone"]),
    taper=st.floats(0.0, 1.0),
    half=st.tuples(*[st.floats(0.6, 3.0)] * 3),
    turn=st.tuples(st.floats(-3, 3), st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
    place=st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(5, 15)),
)
def test_every_hit_lies_on_the_surface_of_its_solid(
    kind: str,
    taper: float,
    half: tuple[float, float, float],
    turn: tuple[float, float, float],
    place: tuple[float, float, float],
) -> None:
    rotation, _ = cv2.Rodrigues(np.array(turn))
    shape = Solid(
        kind=kind, centre=np.array(place), axes=rotation * np.array(half), surfaces=(0,), taper=taper
    )  # type: ignore[arg-type]
    view = perspective_view(Camera(position=(0.0, 0.0, 0.0), horizontal_fov=0.9), (48, 64))
    hits = trace(view, [shape])
    points = gather_points(view, hits, [shape], view_rays(view))
    x, y, z = np.linalg.inv(shape.axes) @ (points.position - shape.centre[:, None])
    if kind == "ellipsoid":
        off = np.sqrt(x * x + y * y + z * z) - 1
    elif kind == "convex":
        off = np.max(np.abs([x, y, z]), axis=0) - 1
    else:
        off = np.maximum(np.hypot(x, z) - ((1 + taper) / 2 + (taper - 1) / 2 * y), np.abs(y) - 1)
    assert np.abs(off).max(initial=0) < 2e-3
    # The centre is seen where it projects to, as nothing is in front of the solid.
    u, v, _ = view.project(shape.centre)
    if 1 < u < 62 and 1 < v < 46:
        assert hits.solid[round(float(v)), round(float(u))] == 0
    # The side towards the viewer is the one that is seen.
    assert (np.sum(points.normal * points.ray, axis=0) <= 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(points.normal, axis=0), 1, atol=1e-4)


def test_nearer_solids_hide_farther_ones_in_any_order() -> None:
    near, far = solid("convex", (0, 0, 5), (0.5, 0.5, 0.5)), solid("ellipsoid", (0, 0, 12), (4, 4, 1))
    view = perspective_view(Camera(position=(0.0, 0.0, 0.0), horizontal_fov=0.8), SIZE)
    for order in ([near, far], [far, near]):
        hits = trace(view, order)
        front = hits.solid == order.index(near)
        assert front[48, 64] and (hits.depth[front] < 5).all()
        assert (hits.solid == order.index(far)).sum() > front.sum()


def test_one_sees_through_a_railing_and_out_of_a_room() -> None:
    railing = solid("convex", (0, 0, 4), (2, 1, 0.02), cutout="rails")
    room = solid("convex", (0, 0, 0), (6, 5, 20))
    depth = trace(
        perspective_view(Camera(position=(0.0, 0.0, 0.0), horizontal_fov=0.5), SIZE), [railing, room]
    ).depth
    bars, wall = np.isclose(depth, 3.98, atol=0.05), np.isclose(depth, 20, rtol=1e-4)
    assert 0.1 < bars.mean() < 0.6 and wall.mean() > 0.3 and (bars | wall).all()


def test_inverse_depth_is_one_at_the_nearest_point_and_zero_in_the_sky() -> None:
    depth = np.array([[2.0, 8.0], [np.inf, 4.0]], np.float32)
    np.testing.assert_array_equal(inverse_depth(depth), np.array([[1, 0.25], [0, 0.5]], np.float32))
    np.testing.assert_array_equal(inverse_depth(np.full((2, 2), np.inf, np.float32)), np.zeros((2, 2)))
