"""Drawing figures and things with OpenCV primitives, in place, at sub-pixel positions. Colours are RGB."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.datasets.world.actions import CHEST_SIZE
from pipeline.datasets.world.body import HEAD_RADIUS
from pipeline.datasets.world.script import Item

Color = tuple[float, float, float]
_SHIFT = 4
_ONE = 1 << _SHIFT
_DARK: Color = (38, 34, 40)

_SHIRTS: tuple[Color, ...] = (
    (240, 240, 235), (250, 210, 60), (60, 160, 75), (45, 75, 160), (225, 120, 160), (40, 150, 160), (120, 125, 130),
    (150, 40, 55), (170, 210, 90), (35, 40, 50),
)  # fmt: skip
_TROUSERS: tuple[Color, ...] = (
    (45, 55, 90), (70, 60, 50), (35, 35, 40), (120, 110, 90), (90, 40, 45), (60, 85, 70), (200, 195, 185),
)  # fmt: skip
_SKINS: tuple[Color, ...] = ((244, 208, 177), (224, 172, 125), (190, 130, 88), (140, 90, 60), (98, 62, 44))
_HAIRS: tuple[Color, ...] = ((30, 24, 22), (85, 52, 28), (190, 145, 70), (120, 40, 25), (160, 160, 160))


@dataclass(frozen=True)
class Look:
    """Colours and build of a figure."""

    shirt: Color
    trousers: Color
    skin: Color
    hair: Color
    build: float
    long_hair: bool

    @staticmethod
    def of(seed: int) -> "Look":
        """The look that a seed stands for."""
        rng = np.random.default_rng([seed])

        def pick(colors: tuple[Color, ...]) -> Color:
            r, g, b = np.clip(np.array(colors[int(rng.integers(len(colors)))]) + rng.uniform(-12, 12, 3), 0, 255)
            return (float(r), float(g), float(b))

        return Look(pick(_SHIRTS), pick(_TROUSERS), pick(_SKINS), pick(_HAIRS), float(rng.uniform(0.9, 1.15)),
                    bool(rng.random() < 0.5))  # fmt: skip


def _fixed(points: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.rint(points * _ONE).astype(np.int32)
    return out


def _shade(color: Color, factor: float) -> Color:
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def _lines(img: np.ndarray, lines: list[np.ndarray], color: Color, thickness: int) -> None:
    cv2.polylines(img, lines, False, color, thickness, cv2.LINE_AA, _SHIFT)


def _disc(img: np.ndarray, at: np.ndarray, radius: float, color: Color) -> None:
    cv2.circle(img, (int(at[0]), int(at[1])), max(1, round(radius * _ONE)), color, -1, cv2.LINE_AA, _SHIFT)


def figure(img: np.ndarray, joints: np.ndarray, height: float, look: Look) -> None:
    """One figure. ``joints`` [14, 2] in pixels (:data:`body.JOINTS`), ``height`` its height in pixels."""
    p = _fixed(joints)
    unit = height * look.build
    leg, arm = max(2, round(0.085 * unit)), max(2, round(0.062 * unit))
    edge = 2 if height > 44 else 1
    legs, arms = [p[[4, 10, 12]], p[[5, 11, 13]]], [p[[2, 6, 8]], p[[3, 7, 9]]]
    wide = (p[3] - p[2]) * 0.2 * look.build
    torso = np.stack([p[2] - wide, p[1] - wide, p[1] + wide, p[3] + wide, p[5] + 0.9 * wide, p[4] - 0.9 * wide])
    torso = np.rint(torso).astype(np.int32)
    head = HEAD_RADIUS * height
    hair_back = p[0] + (p[1] - p[0]) * (0.5 if look.long_hair else 0.0)

    _lines(img, legs, _DARK, leg + edge)
    cv2.polylines(img, [torso], True, _DARK, edge + 1, cv2.LINE_AA, _SHIFT)
    _disc(img, p[0], head + 0.6 * edge, _DARK)
    if look.long_hair:
        _disc(img, hair_back, head * 1.02, look.hair)
    _lines(img, legs, look.trousers, leg)
    for foot in (p[12], p[13]):
        _disc(img, foot, 0.5 * leg + 0.5, _DARK)
    cv2.fillConvexPoly(img, torso, look.shirt, cv2.LINE_AA, _SHIFT)
    _lines(img, [p[[4, 5]]], look.trousers, max(2, round(0.09 * unit)))
    _lines(img, [p[[1, 0]]], _shade(look.skin, 0.85), arm)
    _disc(img, p[0], head, look.skin)
    _hair_and_face(img, p, head, look)
    _lines(img, arms, _DARK, arm + edge)
    _lines(img, [p[[6, 8]], p[[7, 9]]], look.skin, arm)
    _lines(img, [p[[2, 6]], p[[3, 7]]], _shade(look.shirt, 0.82), arm)
    for hand in (p[8], p[9]):
        _disc(img, hand, 0.6 * arm, look.skin)


def _hair_and_face(img: np.ndarray, p: np.ndarray, head: float, look: Look) -> None:
    up = (p[0] - p[1]).astype(np.float64)
    up /= max(1.0, float(np.hypot(*up)))
    tilt = float(np.degrees(np.arctan2(up[0], -up[1])))
    radius = round(head * _ONE)
    cv2.ellipse(img, (int(p[0][0]), int(p[0][1])), (radius, radius), tilt, 195, 345, look.hair, -1, cv2.LINE_AA, _SHIFT)
    if head > 4.5:
        across = np.array([-up[1], up[0]])
        for side in (-0.38, 0.38):
            eye = p[0] + (across * side - up * 0.12) * head * _ONE
            _disc(img, eye, max(0.6, 0.11 * head), _DARK)


def shadow(img: np.ndarray, x: float, y: float, radius: float) -> None:
    """A soft dark patch on the floor."""
    a, b = max(2, round(radius)), max(1, round(0.28 * radius))
    x0, y0 = round(x) - a, round(y) - b
    x1, y1 = max(0, x0), max(0, y0)
    part = img[y1 : max(0, y0 + 2 * b + 1), x1 : max(0, x0 + 2 * a + 1)]
    if part.size:
        spot = _spot(a, b)[y1 - y0 : y1 - y0 + part.shape[0], x1 - x0 : x1 - x0 + part.shape[1]]
        cv2.multiply(part, spot, part, scale=1 / 255)


def _spot(a: int, b: int) -> np.ndarray:
    y, x = np.ogrid[-b : b + 1, -a : a + 1]
    depth = np.clip(1.4 - 1.4 * ((x / a) ** 2 + (y / b) ** 2), 0, 1)
    return np.repeat((255 * (1 - 0.42 * depth)).astype(np.uint8)[..., None], 3, 2)


def stool(img: np.ndarray, x: float, top: float, floor: float, unit: float) -> None:
    """A stool whose seat is at ``top``; ``unit``: pixels per picture height."""
    half, thick = 0.085 * unit, max(2, round(0.028 * unit))
    legs = [_fixed(np.array([[x + dx * half, top], [x + 1.1 * dx * half, floor]])) for dx in (-0.75, 0.75)]
    _lines(img, legs, (92, 64, 38), max(2, thick - 1))
    board = [_fixed(np.array([[x - half, top], [x + half, top]]))]
    _lines(img, board, _DARK, thick + 2)
    _lines(img, board, (176, 132, 84), thick)


def item(img: np.ndarray, thing: Item, x: float, y: float, radius: float) -> None:
    """A ball, box or bag. ``radius`` in pixels."""
    jitter = np.random.default_rng([thing.look]).uniform(-14, 14, 3)
    _ITEMS[thing.kind](img, x, y, radius, jitter)


def _tint(jitter: np.ndarray, r: float, g: float, b: float) -> Color:
    red, green, blue = np.clip(jitter + np.array((r, g, b)), 0, 255)
    return (float(red), float(green), float(blue))


def _ball(img: np.ndarray, x: float, y: float, r: float, jitter: np.ndarray) -> None:
    at = _fixed(np.array([x, y]))
    _disc(img, at, r + 0.8, _DARK)
    _disc(img, at, r - 0.2, _tint(jitter, 238, 92, 30))
    cv2.ellipse(img, (int(at[0]), int(at[1])), (round(r * _ONE * 0.95), round(r * _ONE * 0.3)), -20, 0, 360,
                (250, 238, 225), -1, cv2.LINE_AA, _SHIFT)  # fmt: skip


def _box(img: np.ndarray, x: float, y: float, r: float, jitter: np.ndarray) -> None:
    corners = np.array([[-1, -0.85], [1, -0.85], [1, 0.95], [-1, 0.95]]) * r + (x, y)
    cv2.fillConvexPoly(img, _fixed(corners), _tint(jitter, 40, 130, 235), cv2.LINE_AA, _SHIFT)
    lid = np.array([[-1, -0.85], [1, -0.85], [1, -0.4], [-1, -0.4]]) * r + (x, y)
    cv2.fillConvexPoly(img, _fixed(lid), _tint(jitter, 85, 185, 250), cv2.LINE_AA, _SHIFT)
    band = np.array([[0, -0.85], [0, 0.95]]) * r + (x, y)
    _lines(img, [_fixed(band)], (250, 225, 80), max(1, round(0.36 * r)))
    cv2.polylines(img, [_fixed(corners)], True, _DARK, 1, cv2.LINE_AA, _SHIFT)


def _bag(img: np.ndarray, x: float, y: float, r: float, jitter: np.ndarray) -> None:
    at = _fixed(np.array([x, y - 0.45 * r]))
    cv2.ellipse(img, (int(at[0]), int(at[1])), (round(0.5 * r * _ONE), round(0.6 * r * _ONE)), 0, 180, 360,
                _DARK, max(1, round(0.2 * r)), cv2.LINE_AA, _SHIFT)  # fmt: skip
    corners = np.array([[-0.75, -0.45], [0.75, -0.45], [1.1, 1.0], [-1.1, 1.0]]) * r + (x, y)
    cv2.fillConvexPoly(img, _fixed(corners), _tint(jitter, 150, 45, 165), cv2.LINE_AA, _SHIFT)
    cv2.polylines(img, [_fixed(corners)], True, _DARK, 1, cv2.LINE_AA, _SHIFT)
    patch = np.array([[-0.4, 0.1], [0.4, 0.1], [0.4, 0.6], [-0.4, 0.6]]) * r + (x, y)
    cv2.fillConvexPoly(img, _fixed(patch), _tint(jitter, 225, 160, 230), cv2.LINE_AA, _SHIFT)


_ITEMS: dict[str, Callable[[np.ndarray, float, float, float, np.ndarray], None]] = {
    "ball": _ball,
    "box": _box,
    "bag": _bag,
}


def chest_back(img: np.ndarray, x: float, floor: float, unit: float, lid: float) -> None:
    """The chest behind hands: its dark inside and its lid, closed (0) to upright (1)."""
    w, h = 0.5 * CHEST_SIZE[0] * unit, CHEST_SIZE[1] * unit
    top = floor - 0.72 * h
    rise = (0.28 + 0.55 * lid) * h
    cover = np.array([[x - w, top], [x - 0.92 * w, top - rise], [x + 0.92 * w, top - rise], [x + w, top]])
    cv2.fillConvexPoly(img, _fixed(cover), (150, 98, 48) if lid < 0.5 else (96, 62, 32), cv2.LINE_AA, _SHIFT)
    cv2.polylines(img, [_fixed(cover)], True, _DARK, 1, cv2.LINE_AA, _SHIFT)
    if lid > 0.02:
        back = top - 0.3 * h * lid
        inside = np.array([[x - w, top], [x - 0.9 * w, back], [x + 0.9 * w, back], [x + w, top]])
        cv2.fillConvexPoly(img, _fixed(inside), (30, 20, 14), cv2.LINE_AA, _SHIFT)


def chest_front(img: np.ndarray, x: float, floor: float, unit: float) -> None:
    """The front of the chest, which hides what is in it."""
    w, h = 0.5 * CHEST_SIZE[0] * unit, CHEST_SIZE[1] * unit
    top = floor - 0.72 * h
    front = np.array([[x - w, top], [x + w, top], [x + w, floor], [x - w, floor]])
    cv2.fillConvexPoly(img, _fixed(front), (132, 84, 40), cv2.LINE_AA, _SHIFT)
    for dx in (-0.6, 0.6):
        _lines(img, [_fixed(np.array([[x + dx * w, top], [x + dx * w, floor]]))], (92, 88, 84), max(1, round(0.14 * w)))
    cv2.polylines(img, [_fixed(front)], True, _DARK, 1, cv2.LINE_AA, _SHIFT)
    lock = np.array([[-0.13, 0.05], [0.13, 0.05], [0.13, 0.4], [-0.13, 0.4]]) * (w, h) + (x, top)
    cv2.fillConvexPoly(img, _fixed(lock), (240, 205, 80), cv2.LINE_AA, _SHIFT)


def passer(img: np.ndarray, place: str, at: np.ndarray, unit: float, size: float, tone: float, t: float) -> None:
    """Something that moves behind the people: bird, car, sail or lamp. ``at``: pixels of (x, top of the world)."""
    x, top = float(at[0]), float(at[1])
    if place == "meadow":
        y, span = top + (0.08 + 0.3 * tone) * unit, (0.02 + 0.02 * size) * unit
        flap = 0.7 * span * np.sin(2 * np.pi * (1.2 * t + size))
        bird = np.array([[x - span, y - flap], [x, y], [x + span, y - flap]])
        _lines(img, [_fixed(bird)], (50, 50, 60), max(1, round(0.012 * unit)))
    elif place == "street":
        w, y = (0.13 + 0.05 * size) * unit, top + 0.69 * unit
        color: Color = (60 + 150 * tone, 90.0, 200 - 150 * tone)
        body = np.array([[-1, -0.1], [-0.9, -0.45], [-0.5, -0.8], [0.5, -0.8], [0.9, -0.45], [1, -0.1]]) * w + (x, y)
        cv2.fillConvexPoly(img, _fixed(body), color, cv2.LINE_AA, _SHIFT)
        for dx in (-0.55, 0.55):
            _disc(img, _fixed(np.array([x + dx * w, y - 0.08 * w])), 0.2 * w, _DARK)
    elif place == "beach":
        h, y = (0.1 + 0.06 * size) * unit, top + 0.49 * unit
        sail = np.array([[0, -1.0], [0.55, -0.15], [-0.15, -0.15]]) * h + (x, y)
        cv2.fillConvexPoly(img, _fixed(sail), (245, 240, 235 - 80 * tone), cv2.LINE_AA, _SHIFT)
        hull = np.array([[-0.35, -0.1], [0.6, -0.1], [0.45, 0.08], [-0.25, 0.08]]) * h + (x, y)
        cv2.fillConvexPoly(img, _fixed(hull), (120, 60, 40), cv2.LINE_AA, _SHIFT)
    else:
        swing = 0.05 * unit * np.sin(2 * np.pi * (0.35 * t + size))
        cord = np.array([[x, top - 0.3 * unit], [x + swing, top + (0.1 + 0.12 * tone) * unit]])
        _lines(img, [_fixed(cord)], (60, 50, 45), 1)
        _disc(img, _fixed(cord[1]), 0.035 * unit, (250, 235, 170))
