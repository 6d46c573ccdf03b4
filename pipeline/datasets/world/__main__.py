"""Pictures of the world to look at: ``python -m pipeline.datasets.world --contact-sheet out.png --clip out.mp4``."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from pipeline.datasets.world.plan import CLASSES, SIZES, PlannedVideo, world_plan
from pipeline.datasets.world.render import World, render_frames
from pipeline.datasets.world.script import Event
from pipeline.datasets.world.write import encode
from pipeline.run.files import write_bytes

_COLORS = ((235, 235, 235), (250, 120, 60), (70, 160, 250), (200, 90, 220), (240, 205, 80))


def contact_sheet(plans: list[PlannedVideo], height: int = 144, columns: int = 5, boxes: bool = False) -> np.ndarray:
    """One row for each class, ``columns`` moments of an instance, in two halves: uint8 [H, W, 3] RGB.

    Videos with few people are preferred, and no more than two rows of one video.
    """
    rows: dict[str, np.ndarray] = {}
    worlds = [World.of(plan) for plan in sorted(plans, key=lambda p: (p.people, p.index))]
    for n, world in enumerate([*worlds, *worlds]):  # in the second round whatever there is
        fresh = [e for e in world.script.events if e.label and e.label not in rows]
        fresh = [e for e in fresh if n >= len(worlds) or _fits(world, e)]
        for event in {e.label: e for e in fresh[: 2 if n < 12 else None]}.values():
            moments = np.rint(np.linspace(event.start + 2, event.stop - 3, columns)).astype(int)
            strip = np.concatenate(_pictures(world, moments, height, boxes), 1)
            for color, thickness in (((20, 20, 20), 3), ((255, 255, 255), 1)):
                cv2.putText(strip, str(event.label).replace("_", " "), (4, height - 6), cv2.FONT_HERSHEY_SIMPLEX,
                            height / 330, color, thickness, cv2.LINE_AA)  # fmt: skip
            rows[str(event.label)] = strip
        if len(rows) == len(CLASSES):
            break
    strips = [rows[label] for label in CLASSES if label in rows]
    strips += [np.full_like(strips[0], 255)] * (len(strips) % 2)
    half = len(strips) // 2
    gap = np.full((half * height, 6, 3), 255, np.uint8)
    return np.concatenate([np.concatenate(strips[:half]), gap, np.concatenate(strips[half:])], 1)


def _fits(world: World, event: Event) -> bool:
    """Whether the camera shows all of the actors, in one shot."""
    truth = world.truth(np.array([event.start, event.stop - 1]))
    width = world.plan.width
    tracks = [world.script.people[p].track for p in event.who]
    boxes = truth.box[np.isin(truth.box_track, tracks)]
    one_shot = not any(event.start < shot.start < event.stop for shot in world.script.shots)
    return (
        one_shot and len(boxes) == 2 * len(tracks) and bool((boxes[:, 0] > 2).all() and (boxes[:, 2] < width - 2).all())
    )


def _pictures(world: World, frames: np.ndarray, height: int, boxes: bool) -> list[np.ndarray]:
    pictures = list(render_frames(world, frames, height))
    if boxes:
        truth = world.truth(frames, height)
        for f, box, kind in zip(truth.box_frame, truth.box, truth.box_class, strict=True):
            x1, y1, x2, y2 = (int(v) for v in box)
            cv2.rectangle(pictures[f], (x1, y1), (x2, y2), _COLORS[kind], 1)
    return pictures


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.datasets.world", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--difficulty", type=float, default=0.5)
    parser.add_argument("--height", type=int, default=144, help="of the pictures, in pixels")
    parser.add_argument("--contact-sheet", type=Path, help="PNG with a row of moments for each class")
    parser.add_argument("--boxes", action="store_true", help="draw the true boxes on the contact sheet")
    parser.add_argument("--clip", type=Path, help="MP4 of the first seconds of one video")
    parser.add_argument("--video", default="world-training-0000", help="the video of the clip")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the clip")
    args = parser.parse_args(arguments)
    plans = world_plan(args.size, args.seed, args.difficulty)
    if args.contact_sheet:
        sheet = contact_sheet([p for p in plans if p.subset != "auxiliary"], args.height, boxes=args.boxes)
        done, png = cv2.imencode(".png", sheet[..., ::-1])
        if not done:
            raise ValueError(f"{args.contact_sheet}: the picture could not be encoded as PNG")
        write_bytes(args.contact_sheet, png.tobytes())
    if args.clip:
        plan = next((p for p in plans if p.id == args.video), None)
        if plan is None:
            raise ValueError(f"--video {args.video!r} is not a video of the {args.size} world, e.g. {plans[0].id}")
        frames = np.arange(min(plan.n_frames, round(args.seconds * plan.fps)))
        pictures = render_frames(World.of(plan), frames, args.height)
        encode(pictures, args.clip, plan.fps)


if __name__ == "__main__":
    main()
