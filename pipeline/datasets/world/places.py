"""Textured backgrounds: one wide panorama per scene, painted once, and what moves in it.

Panoramas cover :data:`SPAN_X` by :data:`SPAN_Y` picture heights, so that cameras may pan and shots may look elsewhere.
"""

from collections.abc import Callable

import cv2
import numpy as np

Picture = np.ndarray
"""uint8 [height, width, 3], RGB."""

SPAN_X = (-1.5, 2.9)
SPAN_Y = (-0.25, 1.25)
HORIZON = 0.66
"""Where ground meets backdrop, in picture heights."""


def panorama(place: str, rng: np.random.Generator, unit: int, clutter: float) -> Picture:
    """Paint a place. ``unit``: pixels per picture height. ``clutter`` 0..1: how sharp and rich in contrast it is."""
    width, height = round((SPAN_X[1] - SPAN_X[0]) * unit), round((SPAN_Y[1] - SPAN_Y[0]) * unit)
    picture = np.zeros((height, width, 3), np.float32)
    row = _row(HORIZON, unit)
    _PAINTERS[place](picture, row, rng, unit)
    picture *= rng.uniform(0.85, 1.05)
    if clutter < 1:  # out of focus and hazy, as behind what a camera looks at
        soft = cv2.GaussianBlur(picture, (0, 0), 1e-3 + 0.012 * (1 - clutter) * unit)
        haze = cv2.blur(soft, (2 * unit + 1, max(1, unit // 2)))
        picture = (haze + (0.4 + 0.6 * clutter) * (soft - haze)).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def dapple(rng: np.random.Generator, unit: int, strength: float) -> Picture:
    """A tile of soft light and shade, 2 x 2.5 picture heights, to drift over a background; 128 = unchanged."""
    tile = _clouds(rng, 2 * unit, round(2.5 * unit), 0.35 * unit)
    return np.clip(128 + 60 * strength * tile, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)


def _row(y: float, unit: int) -> int:
    return round((y - SPAN_Y[0]) * unit)


def _clouds(rng: np.random.Generator, height: int, width: int, cell: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise [height, width], about -1..1: three octaves of ``cell`` pixels, ``stretch`` times as wide."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for _ in range(3):
        grid = (max(2, int(height / cell) + 2), max(2, int(width / (cell * stretch)) + 2))
        noise = rng.uniform(-1, 1, grid).astype(np.float32)
        total += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        cell, weight = max(1.0, cell / 2.2), weight * 0.55
    return total


def _fill(part: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> None:
    share = np.linspace(0, 1, part.shape[0], dtype=np.float32)[:, None, None]
    part[:] = top * (1 - share) + bottom * share


def _color(rng: np.random.Generator, *rgb: float, spread: float = 14) -> np.ndarray:
    return np.array(rgb, np.float32) + rng.uniform(-spread, spread, 3).astype(np.float32)


def _grain(part: np.ndarray, rng: np.random.Generator, cell: float, amount: float, stretch: float = 1.0) -> None:
    part += amount * _clouds(rng, part.shape[0], part.shape[1], cell, stretch)[..., None]


def _meadow(p: np.ndarray, row: int, rng: np.random.Generator, unit: int) -> None:
    _fill(p[:row], _color(rng, 120, 170, 225), _color(rng, 200, 222, 238))
    cloud = np.clip(_clouds(rng, row, p.shape[1], 0.3 * unit, 2.5) - 0.25, 0, 1)[..., None]
    p[:row] += (250 - p[:row]) * cloud * 0.9
    x = np.arange(p.shape[1])
    for depth, shade in ((0.2, 0.75), (0.08, 0.55)):
        ridge = row - unit * depth * (1 + 0.6 * _clouds(rng, 1, p.shape[1], 0.7 * unit)[0])
        hill = _color(rng, 120, 165, 110) * shade + 30
        rows = np.arange(row)[:, None] > ridge[None, x]
        p[:row][rows] = hill
    for _ in range(16):
        cx, size = int(rng.integers(p.shape[1])), unit * rng.uniform(0.07, 0.15)
        base = row - int(0.01 * unit)
        cv2.line(p, (cx, base), (cx, int(base - 1.6 * size)), (92, 66, 44), max(1, int(0.2 * size)))
        green = _color(rng, 55, 110, 50, spread=22)
        for _ in range(5):
            dx, dy = rng.uniform(-0.6, 0.6, 2) * size
            light = float(rng.uniform(0.75, 1.2))
            cv2.circle(p, (int(cx + dx), int(base - 2 * size + dy)), int(0.6 * size), (green * light).tolist(), -1)
    _grain(p[:row], rng, 0.03 * unit, 5)
    _fill(p[row:], _color(rng, 120, 165, 75), _color(rng, 70, 125, 50))
    _grain(p[row:], rng, 0.035 * unit, 15, 1.5)
    for _ in range(160):
        cx, cy = int(rng.integers(p.shape[1])), int(rng.integers(row, p.shape[0]))
        cv2.circle(p, (cx, cy), max(1, unit // 130), _color(rng, 235, 225, 150, spread=20).tolist(), -1)


def _street(p: np.ndarray, row: int, rng: np.random.Generator, unit: int) -> None:
    x, width = 0, p.shape[1]
    while x < width:
        w = int(unit * rng.uniform(0.35, 0.75))
        wall = _color(rng, *[(170, 95, 75), (190, 170, 140), (130, 135, 145), (205, 185, 120)][int(rng.integers(4))])
        house = p[:row, x : x + w]
        house[:] = wall
        step = max(3, unit // 28)
        house[::step] *= 0.82
        for n, brick in enumerate(range(0, row, step)):
            house[brick : brick + step, (n % 2) * step :: 2 * step] *= 0.86
        for wy in np.arange(0.06, 0.78, 0.27):
            for wx in np.arange(0.09, w / unit - 0.14, 0.22):
                a, b = (x + int(wx * unit), int(wy * unit)), (x + int((wx + 0.12) * unit), int((wy + 0.17) * unit))
                cv2.rectangle(p, a, b, _color(rng, 230, 230, 225).tolist(), -1)
                lit = _color(rng, 245, 215, 130) if rng.random() < 0.3 else _color(rng, 70, 90, 120)
                inner = max(1, unit // 90)
                cv2.rectangle(p, (a[0] + inner, a[1] + inner), (b[0] - inner, b[1] - inner), lit.tolist(), -1)
        x += w
    _grain(p[:row], rng, 0.04 * unit, 7)
    kerb = row + int(0.05 * unit)
    p[row:kerb] = _color(rng, 175, 172, 165)
    _fill(p[kerb:], _color(rng, 105, 105, 110), _color(rng, 140, 140, 142))
    slab = max(4, int(0.16 * unit))
    for cx in range(0, width, slab):
        cv2.line(p, (cx, kerb), (cx - slab, p.shape[0]), (88, 88, 92), 1)
    for cy in (0.1, 0.2, 0.34):
        p[kerb + int(cy * unit)] *= 0.75
    _grain(p[row:], rng, 0.025 * unit, 9)


def _beach(p: np.ndarray, row: int, rng: np.random.Generator, unit: int) -> None:
    sea = row - int(0.2 * unit)
    _fill(p[:sea], _color(rng, 110, 175, 230), _color(rng, 225, 232, 235))
    cloud = np.clip(_clouds(rng, sea, p.shape[1], 0.22 * unit, 3) - 0.35, 0, 1)[..., None]
    p[:sea] += (252 - p[:sea]) * cloud
    _fill(p[sea:row], _color(rng, 35, 110, 165), _color(rng, 95, 185, 190))
    _grain(p[sea:row], rng, 0.022 * unit, 20, 5)
    for n in range(3):
        y = row - int((0.015 + 0.035 * n) * unit)
        foam = y + (0.012 * unit * _clouds(rng, 1, p.shape[1], 0.2 * unit)[0]).astype(int)
        for cx in range(p.shape[1] - 1):
            p[foam[cx] : foam[cx] + max(1, unit // 70), cx] = 240 - 25 * n
    for _ in range(4):
        cx, r = int(rng.integers(p.shape[1])), int(unit * rng.uniform(0.1, 0.16))
        top = row - int(0.3 * unit)
        cv2.line(p, (cx, top), (cx, row), (225, 225, 220), max(1, unit // 60))
        tint = _color(rng, *[(225, 80, 80), (245, 205, 70), (80, 150, 205)][int(rng.integers(3))])
        for n in range(6):
            shade = tint if n % 2 else np.array([245.0, 245, 240], np.float32)
            cv2.ellipse(p, (cx, top), (r, int(0.7 * r)), 0, 180 + 30 * n, 210 + 30 * n, shade.tolist(), -1)
    _fill(p[row:], _color(rng, 225, 200, 150), _color(rng, 205, 172, 118))
    _grain(p[row:], rng, 0.05 * unit, 11, 2.5)
    _grain(p[row:], rng, 0.012 * unit, 8)


def _room(p: np.ndarray, row: int, rng: np.random.Generator, unit: int) -> None:
    paper = _color(rng, *[(205, 190, 160), (165, 190, 175), (180, 175, 205), (215, 175, 160)][int(rng.integers(4))])
    p[:row] = paper
    stripe = max(4, int(0.11 * unit))
    for cx in range(0, p.shape[1], 2 * stripe):
        p[:row, cx : cx + stripe] *= 0.9
    x = int(unit * rng.uniform(0, 0.3))
    while x < p.shape[1]:
        w, h = int(unit * rng.uniform(0.16, 0.34)), int(unit * rng.uniform(0.18, 0.3))
        y = int(unit * rng.uniform(0.28, 0.45))
        frame = _color(rng, *[(110, 70, 40), (60, 60, 65), (225, 215, 190)][int(rng.integers(3))])
        cv2.rectangle(p, (x, y), (x + w, y + h), frame.tolist(), -1)
        inner = p[y + unit // 36 : y + h - unit // 36, x + unit // 36 : x + w - unit // 36]
        if inner.size:
            _fill(inner, _color(rng, 150, 150, 160, spread=80), _color(rng, 120, 130, 120, spread=80))
            _grain(inner, rng, 0.06 * unit, 28)
        x += w + int(unit * rng.uniform(0.12, 0.4))
    _grain(p[:row], rng, 0.03 * unit, 5)
    p[row - int(0.035 * unit) : row] = _color(rng, 235, 230, 220)
    _fill(p[row:], _color(rng, 150, 105, 65), _color(rng, 175, 125, 80))
    y, n = row, 0
    while y < p.shape[0]:
        step = int((0.04 + 0.02 * n) * unit)
        p[y : y + max(1, unit // 120)] *= 0.7
        for cx in range(n * 37 % 60, p.shape[1], int(0.5 * unit)):
            p[y : y + step, cx : cx + max(1, unit // 120)] *= 0.72
        y, n = y + step, n + 1
    _grain(p[row:], rng, 0.02 * unit, 12, 6)


_PAINTERS: dict[str, Callable[[np.ndarray, int, np.random.Generator, int], None]] = {
    "meadow": _meadow, "street": _street, "beach": _beach, "room": _room,
}  # fmt: skip
