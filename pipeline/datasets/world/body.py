"""The articulated figure: pose channels, gait and inverse kinematics; arrays over the whole video, no pictures.

A figure is seen from the front and is symmetric, so it faces nowhere: walking left is exactly walking right played
backwards, and so are the other opposites (``put_down``/``pick_up``, ``stand_up``/``sit_down``). What tells them apart
is the order of the pictures alone. Body coordinates: unit = the figure's height, x to the right, y upwards from
the floor.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.world.plan import PlannedVideo
from pipeline.datasets.world.script import Person

JOINTS: tuple[str, ...] = (
    "head", "neck", "shoulder_l", "shoulder_r", "hip_l", "hip_r", "elbow_l", "elbow_r", "hand_l", "hand_r",
    "knee_l", "knee_r", "foot_l", "foot_r",
)  # fmt: skip
"""Order of the joints; left and right as seen in the picture."""

HEAD_RADIUS = 0.082
_SIDEWAYS = 0.6  # seen from the front, knees and elbows bend partly towards the camera
STRIDE = 0.42
"""Way of two steps, in body heights."""
HIP, _TORSO, _SHOULDER, _HIP_HALF = 0.49, 0.31, 0.105, 0.055
_UPPER, _FORE, _THIGH, _SHIN = 0.165, 0.165, 0.25, 0.25
_HANG, _CARRY, SIT_DROP = (0.15, 0.46), (0.0, 0.60), 0.21


@dataclass
class Body:
    """Pose channels of one person over the frames; see :func:`_joints`."""

    x: np.ndarray
    lift: np.ndarray
    drop: np.ndarray
    lean: np.ndarray
    hands: np.ndarray
    carry: np.ndarray


def smooth(u: np.ndarray) -> np.ndarray:
    """Smoothstep: 0 for u <= 0, 1 for u >= 1, flat at both ends, and symmetric under time reversal."""
    u = np.clip(u, 0.0, 1.0)
    out: np.ndarray = u * u * (3.0 - 2.0 * u)
    return out


def ramp(u: np.ndarray, share: float) -> np.ndarray:
    """0 → 1 over the first ``share`` of the action and back over the last: how much of the pose is the action's."""
    out: np.ndarray = smooth(u / share) * smooth((1.0 - u) / share)
    return out


def standing(plan: PlannedVideo, person: Person, home: float, t: np.ndarray) -> Body:
    """Standing at ease at ``home``: breathing, shifting weight, a little restless. ``t``: [T] seconds."""
    rng = plan.rng(20, person.track)
    a, b, c = rng.uniform(0, 2 * np.pi, 3)
    f, g = rng.uniform(0.12, 0.3, 2)
    restless = 0.4 + plan.difficulty.distractors
    sway = restless * np.sin(2 * np.pi * f * t + a)
    hands = np.empty((len(t), 2, 2))
    hands[:, 0] = (-_HANG[0], _HANG[1])
    hands[:, 1] = _HANG
    hands[..., 1] += 0.012 * restless * np.sin(2 * np.pi * g * t + b)[:, None]
    carry = np.tile(np.array(_CARRY), (len(t), 1))
    carry[:, 1] += 0.01 * np.sin(2 * np.pi * g * t + c)
    drop = 0.008 * restless * (1 + np.sin(2 * np.pi * g * t + c))
    return Body(home + 0.008 * sway, np.zeros_like(t), drop, 0.03 * sway, hands, carry)


def seat(body: Body, weight: np.ndarray) -> None:
    """Sit down as far as ``weight`` [T] (0..1) says, hands on the knees."""
    body.drop[:] = body.drop * (1 - weight) + SIT_DROP * weight
    for side, x in ((0, -0.11), (1, 0.11)):
        body.hands[:, side] += weight[:, None] * (np.array([x, 0.37]) - body.hands[:, side])


def hold(body: Body, holding: np.ndarray) -> None:
    """Both hands at the carried thing in the frames of ``holding`` [T] (bool)."""
    body.hands[holding] = body.carry[holding, None] + np.array([[-0.07, 0.0], [0.07, 0.0]])


def gait(x: np.ndarray, fps: int, person: Person) -> np.ndarray:
    """Feet [T, 2, 2] from where the body is: the stride's phase follows the way, so feet do not slide.

    A swinging foot is highest as it passes the other one: the same pictures in both directions.
    """
    way = x / person.height
    speed = np.abs(np.gradient(way)) * fps
    window = np.hanning(max(3, fps // 3) + 2)[1:-1]
    weight = np.convolve(smooth(speed / 0.12), window / window.sum(), mode="same")
    phase = 2 * np.pi * (way / STRIDE + person.phase)
    feet = np.empty((len(x), 2, 2))
    feet[:, 0, 0] = -0.065 * (1 - 0.7 * weight) + 0.13 * weight * np.sin(phase)
    feet[:, 1, 0] = 0.065 * (1 - 0.7 * weight) - 0.13 * weight * np.sin(phase)
    feet[:, 0, 1] = 0.06 * weight * np.maximum(0, np.cos(phase)) ** 2
    feet[:, 1, 1] = 0.06 * weight * np.maximum(0, -np.cos(phase)) ** 2
    return feet


def joints(body: Body, feet: np.ndarray, person: Person) -> np.ndarray:
    """Joint positions [T, 14, 2] in picture heights from pose channels and feet."""
    n = len(body.x)
    out = np.zeros((n, len(JOINTS), 2))
    hip = np.stack([np.zeros(n), HIP - body.drop + body.lift], 1)
    along = np.stack([np.sin(body.lean), np.cos(body.lean)], 1)
    across = np.stack([np.cos(body.lean), -np.sin(body.lean)], 1)
    neck = hip + _TORSO * along
    out[:, 1] = neck
    out[:, 0] = neck + (HEAD_RADIUS + 0.035) * along
    lift = np.stack([np.zeros(n), body.lift], 1)
    for side, sign in ((0, -1.0), (1, 1.0)):
        shoulder = neck + sign * _SHOULDER * across - 0.03 * along
        out[:, 2 + side] = shoulder
        out[:, 4 + side] = hip + sign * np.array([_HIP_HALF, 0.0])
        hand = body.hands[:, side] + lift
        out[:, 6 + side], out[:, 8 + side] = _bend(shoulder, hand, _UPPER, _FORE, sign)
        foot = feet[:, side] + lift
        out[:, 10 + side], out[:, 12 + side] = _bend(out[:, 4 + side], foot, _THIGH, _SHIN, sign)
    out[..., 0] = body.x[:, None] + out[..., 0] * person.height
    out[..., 1] = person.lane - out[..., 1] * person.height
    return out


def _bend(
    root: np.ndarray, goal: np.ndarray, upper: float, lower: float, outward: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two-bone inverse kinematics: the middle joint (bending outwards) and the end, pulled in where out of reach."""
    way = goal - root
    length = np.linalg.norm(way, axis=1, keepdims=True).clip(1e-6)
    reach = np.clip(length, abs(upper - lower) + 1e-3, upper + lower - 1e-4)
    unit = way / length
    foot = (reach**2 + upper**2 - lower**2) / (2 * reach)
    height = np.sqrt(np.maximum(upper**2 - foot**2, 0))
    # Of the two solutions the one whose joint points away from the body.
    normal = np.stack([-unit[:, 1], unit[:, 0]], 1)
    normal *= _SIDEWAYS * np.where(normal[:, :1] * outward >= 0, 1.0, -1.0)
    return root + foot * unit + height * normal, root + reach * unit
