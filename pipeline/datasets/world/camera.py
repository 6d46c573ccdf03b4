"""Camera and light over the frames of each shot: pan, zoom, shake, exposure."""

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.world.script import Script


@dataclass(frozen=True)
class Camera:
    """Arrays [T]. Picture heights ``x``, ``y`` in the middle of the picture; ``zoom`` 1 shows one picture height.

    ``backdrop``: how far the backdrop is shifted (another angle on the same place). ``gain``: exposure.
    """

    x: np.ndarray
    y: np.ndarray
    zoom: np.ndarray
    backdrop: np.ndarray
    gain: np.ndarray


def make_camera(script: Script) -> Camera:
    """The camera of a script."""
    plan = script.plan
    n, fps, hard = plan.n_frames, plan.fps, plan.difficulty
    middle = plan.width / plan.height / 2
    out = {name: np.zeros(n) for name in ("x", "y", "zoom", "backdrop", "gain")}
    base = plan.rng(30).uniform(-0.9, 0.9)
    stops = [shot.start for shot in script.shots[1:]] + [n]
    room = 0.05 if plan.people > 2 else 0.16
    close = plan.rng(31).random() < 0.5
    for i, (shot, stop) in enumerate(zip(script.shots, stops, strict=True)):
        rng = np.random.default_rng([shot.camera])
        t = np.arange(stop - shot.start) / fps
        near = (i % 2 == 0) == close
        zoom = 1.0 + room * (rng.uniform(0.7, 1.0) if near else rng.uniform(-0.5, 0.0))
        drift = hard.camera_motion * rng.choice([-1, 1])
        out["zoom"][shot.start : stop] = zoom * (1 + 0.05 * drift * np.sin(2 * np.pi * t / rng.uniform(8, 16)))
        pan = 0.12 * hard.camera_motion * rng.uniform(0.4, 1.0)
        waver = np.sin(2 * np.pi * t / rng.uniform(9, 18) + rng.uniform(0, 6.3))
        out["x"][shot.start : stop] = middle + pan * waver + 0.008 * hard.camera_motion * _shake(rng, t)
        out["y"][shot.start : stop] = 0.53 - 0.06 * (zoom - 1) + 0.008 * hard.camera_motion * _shake(rng, t)
        # Consecutive shots look at least 0.7 picture heights beside each other.
        out["backdrop"][shot.start : stop] = (base + 0.9 + 0.75 * i) % 1.8 - 0.9
        exposure = 1 + 0.1 * rng.choice([-1, 1])
        slow = np.sin(2 * np.pi * t / rng.uniform(5, 12) + rng.uniform(0, 6.3))
        dim = rng.uniform(0, max(t[-1], 1.0))  # somewhere a cloud, or somebody at the dimmer
        shade = 1 / (1 + np.exp(-(t - dim) / 0.25))
        change = hard.lighting * (0.14 * slow + rng.choice([-1, 1]) * 0.22 * shade)
        out["gain"][shot.start : stop] = exposure * (1 + change)
    return Camera(**out)


def _shake(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Hand-held unrest, about -1..1."""
    f, a = rng.uniform(0.7, 3.0, 4), rng.uniform(0, 2 * np.pi, 4)
    out: np.ndarray = np.sin(2 * np.pi * f[:, None] * t + a[:, None]).sum(0) / 2
    return out
