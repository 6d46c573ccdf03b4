"""Pictures of a planned video, frame by frame, from its script. Also straight to arrays, without any codec."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.datasets.world import draw
from pipeline.datasets.world.actions import CHEST_FLOOR
from pipeline.datasets.world.body import HIP, SIT_DROP
from pipeline.datasets.world.camera import Camera, make_camera
from pipeline.datasets.world.direct import make_script
from pipeline.datasets.world.motion import Tracks, make_tracks
from pipeline.datasets.world.places import SPAN_X, SPAN_Y, dapple, panorama
from pipeline.datasets.world.plan import PlannedVideo
from pipeline.datasets.world.script import Script, Shot
from pipeline.datasets.world.truth import Truth, make_truth

_NOISE_LEVEL = 64


@dataclass(frozen=True)
class World:
    """A planned video worked out, ready to be looked at: script, tracks, camera."""

    plan: PlannedVideo
    script: Script
    tracks: Tracks
    camera: Camera

    @staticmethod
    def of(plan: PlannedVideo) -> "World":
        """Work out a plan."""
        script = make_script(plan)
        return World(plan, script, make_tracks(script), make_camera(script))

    def truth(self, frames: np.ndarray | None = None, height: int | None = None) -> Truth:
        """Ground truth of some frames (all by default), boxes in pixels of a picture of that height."""
        return make_truth(self.script, self.tracks, self.camera, frames, height)


def render_video(plan: PlannedVideo) -> tuple[Iterator[np.ndarray], Truth]:
    """All frames of a video, lazily, uint8 [H, W, 3] RGB each, and its ground truth."""
    world = World.of(plan)
    return render_frames(world, np.arange(plan.n_frames)), world.truth()


def render_arrays(
    plan: PlannedVideo, fps: float | None = None, short_side: int | None = None
) -> tuple[np.ndarray, Truth]:
    """A video as an array, without a codec: uint8 [T, H, W, 3] RGB, and its ground truth at these frames.

    ``fps``: frames per second to keep (the nearest source frame stands for each instant); by default all.
    ``short_side``: height of the pictures in pixels, at which they are drawn; by default the video's own.

    Raises:
        ValueError: ``fps`` is above the video's rate or not positive.
    """
    world = World.of(plan)
    frames = np.arange(plan.n_frames)
    if fps is not None:
        if not 0 < fps <= plan.fps:
            raise ValueError(f"fps is {fps!r}; allowed are numbers above 0, up to the video's {plan.fps}")
        frames = np.rint(np.arange(0, plan.n_frames - 0.5, plan.fps / fps)).astype(np.int64)
    pictures = np.stack(list(render_frames(world, frames, short_side)))
    return pictures, world.truth(frames, short_side)


def picture_size(plan: PlannedVideo, height: int | None = None) -> tuple[int, int]:
    """Width and height in pixels of pictures of that height (the video's own by default); the width is even."""
    if height is None:
        return plan.width, plan.height
    return 2 * round(plan.width * height / plan.height / 2), height


def render_frames(
    world: World, frames: np.ndarray, height: int | None = None, people: bool = True
) -> Iterator[np.ndarray]:
    """Some frames of a video, in any order: uint8 [H, W, 3] RGB each. Without ``people``: the place and its stools."""
    plan = world.plan
    width, high = picture_size(plan, height)
    looks = [draw.Look.of(p.look) for p in world.script.people]
    extra_looks = [draw.Look.of(p.look) for p in world.script.extras]
    order = np.argsort([p.lane for p in world.script.people])
    noise = _noise(plan, high, width)
    scenes: dict[int, _Scene] = {}
    starts = np.array([shot.start for shot in world.script.shots])
    for f in frames:
        shot = world.script.shots[int(np.searchsorted(starts, f, side="right")) - 1]
        if shot.scene not in scenes:
            scenes[shot.scene] = _Scene.of(shot, high, plan)
        view = _View.of(world.camera, int(f), high, width)
        picture = scenes[shot.scene].backdrop(view, f / plan.fps, width, high)
        if people and shot.cutaway:
            for p in np.argsort([e.lane for e in world.script.extras]):
                _person(picture, world.tracks.extras[p, f], world.script.extras[p].height, extra_looks[p], view)
        if not shot.cutaway:
            _stools(picture, world.script, view)
        if people and not shot.cutaway:
            _stage(picture, world, int(f), view, looks, order)
        dx, dy = np.random.default_rng([plan.seed, int(f)]).integers(0, high, 2)
        grain = noise[dy : dy + high, dx : dx + width]
        out: np.ndarray = cv2.addWeighted(picture, float(world.camera.gain[f]), grain, 1.0, -_NOISE_LEVEL)
        yield out


@dataclass(frozen=True)
class _View:
    """One frame's camera in pixels: ``scale`` pixels per picture height, offsets of the world's origin."""

    scale: float
    left: float
    top: float
    backdrop: float

    @staticmethod
    def of(camera: Camera, f: int, high: int, width: int) -> "_View":
        scale = float(camera.zoom[f]) * high
        return _View(
            scale, width / 2 - float(camera.x[f]) * scale, high / 2 - float(camera.y[f]) * scale,
            float(camera.backdrop[f]),
        )  # fmt: skip

    def at(self, points: np.ndarray) -> np.ndarray:
        out: np.ndarray = points * self.scale + (self.left, self.top)
        return out


@dataclass(frozen=True)
class _Scene:
    """The painted backdrop of a shot, and what moves over it."""

    place: str
    picture: np.ndarray
    light: np.ndarray
    speed: tuple[float, float]
    passers: np.ndarray
    motion: float

    @staticmethod
    def of(shot: Shot, high: int, plan: PlannedVideo) -> "_Scene":
        rng = np.random.default_rng([shot.scene])
        motion = plan.difficulty.background_motion
        picture = panorama(shot.place, rng, high, plan.difficulty.clutter)
        light = dapple(rng, high, 0.6 * motion)
        speed = (float(rng.uniform(-0.14, 0.14)), float(rng.uniform(-0.06, 0.06)))
        return _Scene(shot.place, picture, light, speed, rng.random((4, 4)), motion)

    def backdrop(self, view: _View, t: float, width: int, high: int) -> np.ndarray:
        s = view.scale / high
        x0 = view.left + (SPAN_X[0] + view.backdrop) * view.scale
        y0 = view.top + SPAN_Y[0] * view.scale
        matrix = np.array([[s, 0, x0], [0, s, y0]])
        picture = cv2.warpAffine(self.picture, matrix, (width, high), borderMode=cv2.BORDER_REPLICATE)
        if self.motion > 0:
            self._pass_by(picture, view, t)
            room = np.array([self.light.shape[0] - high, self.light.shape[1] - width])
            way = np.array([self.speed[1], self.speed[0]]) * t * high + 0.5 * room
            y, x = np.abs((way % (2 * room)) - room).astype(int)  # to and fro over the tile
            cv2.multiply(picture, self.light[y : y + high, x : x + width], picture, scale=1 / 128)
        return picture

    def _pass_by(self, picture: np.ndarray, view: _View, t: float) -> None:
        """Birds, cars, sails or a swinging lamp, behind the people."""
        for n in range(round(1 + 3 * self.motion)):
            a, b, c, d = self.passers[n]
            x = SPAN_X[0] + ((a + (b - 0.5) * 0.09 * t) % 1.0) * (SPAN_X[1] - SPAN_X[0])
            draw.passer(picture, self.place, view.at(np.array([x, 0.0])), view.scale, c, d, t)


def _noise(plan: PlannedVideo, high: int, width: int) -> np.ndarray:
    """A picture of sensor noise around ``_NOISE_LEVEL``, larger than a frame: every frame takes another part of it."""
    rng = plan.rng(40)
    values = rng.standard_normal((2 * high, width + high, 3), np.float32) * (9 * plan.difficulty.noise)
    out: np.ndarray = np.clip(np.rint(values + _NOISE_LEVEL), 0, 255).astype(np.uint8)
    return out


def _person(picture: np.ndarray, joints: np.ndarray, height: float, look: draw.Look, view: _View) -> None:
    draw.figure(picture, view.at(joints), height * view.scale, look)


def _stools(picture: np.ndarray, script: Script, view: _View) -> None:
    for person in script.people:
        for home in person.homes if person.stools else ():
            top = person.lane - (HIP - SIT_DROP - 0.045) * person.height
            x, y = view.at(np.array([home, top]))
            draw.stool(picture, x, y, view.at(np.array([home, person.lane]))[1], view.scale)


def _stage(picture: np.ndarray, world: World, f: int, view: _View, looks: list[draw.Look], order: np.ndarray) -> None:
    """Shadows, people from back to front with their things, chest in front."""
    script, tracks = world.script, world.tracks
    places = view.at(tracks.items[:, f])
    for p in order:
        person = script.people[p]
        floor = view.at(np.array([tracks.joints[p, f, 4:6, 0].mean(), person.lane]))
        draw.shadow(picture, floor[0], floor[1], 0.17 * person.height * view.scale)
    chest = view.at(np.array([script.chest_x, CHEST_FLOOR]))
    draw.shadow(picture, chest[0], chest[1], 0.12 * view.scale)
    draw.chest_back(picture, chest[0], chest[1], view.scale, float(tracks.lid[f]))
    for p in order:
        _person(picture, tracks.joints[p, f], script.people[p].height, looks[p], view)
        for i, thing in enumerate(script.items):
            if tracks.seen[i, f] and tracks.owner[i, f] == p:
                draw.item(picture, thing, places[i, 0], places[i, 1], thing.radius * view.scale)
    draw.chest_front(picture, chest[0], chest[1], view.scale)
