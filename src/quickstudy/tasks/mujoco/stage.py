"""Where a robot is drawn: off-screen, by MuJoCo's own renderer, the camera following it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from ctypes.util import find_library
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from quickstudy.errors import UsageError
from quickstudy.scene import YELLOW
from quickstudy.tasks.mujoco.bodies import Body, simulator
from quickstudy.tasks.mujoco.family import Mark

WIDTH, HEIGHT = 480, 400
VIEWS = {"track": (90.0, -10.0, 4.2), "plane": (115.0, -30.0, 6.5), "goal": (90.0, -50.0, 11.0)}
"""Azimuth and elevation in degrees and distance in metres: of robots on a track, in the plane, and with a goal there."""
TOLD = (*(int(YELLOW[start : start + 2], 16) / 255 for start in (1, 3, 5)), 1.0)
"""The colour of what the agent isn't told."""


class Stage:
    """A model in a GL context, for one state after another."""

    def __init__(self, body: Body):
        mujoco = simulator()
        self._mujoco, self._model = mujoco, staged(body)
        self._data = mujoco.MjData(self._model)
        self._context, self._renderer = renderer(self._model)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._scene, self._options = mujoco.MjvScene(self._model, maxgeom=200), mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._view = "track" if body.axes == 1 else "plane"
        # seen along the ground, a shadow comes out in pieces as far as the horizon
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = body.axes > 1

    def picture(self, state: Float[np.ndarray, " state"], marks: Sequence[Mark]) -> UInt8[np.ndarray, "height width 3"]:
        """A state, as the simulator's full physics, with marks of its task."""
        mujoco = self._mujoco
        mujoco.mj_setState(self._model, self._data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        mujoco.mj_forward(self._model, self._data)
        view = "goal" if any(mark.kind == "goal" for mark in marks) else self._view
        self._camera.azimuth, self._camera.elevation, self._camera.distance = VIEWS[view]
        # the simulator's own tracking camera lags behind by as much as it was called, so that a state has no one picture
        self._camera.lookat = self._data.subtree_com[1]
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, self._data, self._options, None, self._camera, everything, self._scene)
        for mark in marks:
            self._add(mark)
        self._context.make_current()
        whole, image = mujoco.MjrRect(0, 0, WIDTH, HEIGHT), np.empty((HEIGHT, WIDTH, 3), np.uint8)
        mujoco.mjr_render(whole, self._scene, self._renderer)
        mujoco.mjr_readPixels(image, None, whole, self._renderer)
        return image[::-1].copy()

    def _add(self, mark: Mark) -> None:
        """Puts a mark into the scene."""
        mujoco, (x, y) = self._mujoco, mark.where
        geom = self._scene.geoms[self._scene.ngeom]
        self._scene.ngeom += 1
        kind, size, place = {
            "goal": (mujoco.mjtGeom.mjGEOM_CYLINDER, [0.5, 0.01, 0.0], [x, y, 0.01]),
            "pacer": (mujoco.mjtGeom.mjGEOM_CAPSULE, [0.035, 0.5, 0.0], [x, y + 0.6, 0.5]),
            "direction": (mujoco.mjtGeom.mjGEOM_ARROW, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
            "joint": (mujoco.mjtGeom.mjGEOM_SPHERE, [0.075, 0.0, 0.0], [0.0, 0.0, 0.0]),
        }[mark.kind]
        if mark.kind == "joint":
            place = self._data.xanchor[self._model.actuator_trnid[int(x), 0]]
        mujoco.mjv_initGeom(geom, kind, np.array(size), np.array(place), np.eye(3).ravel(), np.array(TOLD))
        geom.emission = 0.25  # seen in the shade too
        if mark.kind == "direction":
            # as large as the view is wide
            unit, along = 0.2 * self._camera.distance, np.array([x, y, 0.0])
            start = np.array([*self._data.xpos[1][:2], 0.06]) + unit * along
            mujoco.mjv_connector(geom, kind, 0.1 * unit, start, start + unit * along)

    def close(self) -> None:
        """Frees the GL context."""
        self._renderer.free()
        self._context.free()


def staged(body: Body) -> Any:
    """The body's model with a quieter floor and sky than those of its file."""
    mujoco, spec = simulator(), body.read()
    for texture in spec.textures:
        if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            texture.rgb1, texture.rgb2 = [1.0, 1.0, 1.0], [0.85, 0.9, 0.93]
        elif texture.builtin == mujoco.mjtBuiltin.mjBUILTIN_CHECKER:
            texture.rgb1, texture.rgb2 = [0.72, 0.79, 0.83], [0.88, 0.92, 0.94]
    for material in spec.materials:
        material.reflectance = 0.0
    for geom in spec.worldbody.geoms:
        geom.rgba = [0.8, 0.8, 0.8, 1.0]
    spec.visual.global_.offwidth, spec.visual.global_.offheight = WIDTH, HEIGHT
    spec.visual.quality.offsamples = 4
    return spec.compile()


def without_display() -> str | None:
    """The first way to GL without a display whose library is there, as MUJOCO_GL names it."""
    return next((name for name, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if find_library(library)), None)


def renderer(model: Any) -> tuple[Any, Any]:
    """A current GL context that needs no display, and MuJoCo's renderer in it; UsageError where none can be had.

    MUJOCO_GL names the way, `egl`, `osmesa` or `glfw`; by default it is the first of the first two whose library is there.
    """
    mujoco, asked = simulator(), os.environ.get("MUJOCO_GL", "").lower()
    way = asked or without_display() or ("glfw" if sys.platform != "linux" else "")
    if way not in ("egl", "osmesa", "glfw"):
        why = f"MUJOCO_GL is {way!r}, not egl, osmesa or glfw" if way else "neither libEGL nor libOSMesa is there"
    else:
        try:
            with warnings.catch_warnings(action="ignore"):
                context = import_module(f"mujoco.{way}").GLContext(WIDTH, HEIGHT)
                context.make_current()
                return context, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:
            # whatever a driver, a missing library or PyOpenGL raises, whose texts run over several lines
            why = f"{way} fails ({' '.join(f'{type(error).__name__}: {error}'.split())[:120]})"
    raise UsageError(f"robots can't be drawn here: {why}; install libegl1 or libosmesa6 and set MUJOCO_GL to egl or osmesa")
