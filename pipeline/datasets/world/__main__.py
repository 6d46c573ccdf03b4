"""Pictures of the world to look at: ``python -m pipeline.datasets.world --contact-sheet out.png --clip out.mp4``."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from pipeline.datasets.world.plan import CLASSES, SIZES, PlannedVideo, world_plan
from pipeline.datasets.world.render import World, render_frames
from pipeline.datasets.world.write import encode
from pipeline.run.files import write_bytes

_COLORS = ((235, 235, 235), (250, 120, 60), (70, 160, 250), (200, 90, 220), (240, 205, 80))


def contact_sheet(plans: list[PlannedVideo], height: int = 144, columns: int = 5, boxes: bool = False) -> np.ndarray:
    """One row for each class, ``columns`` moments of an instance: uint8 [H, W, 3] RGB."""
    rows: dict[str, np.ndarray] = {}
    for plan in plans:
        world = World.of(plan)
        for event in world.script.events:
            if event.label is None or event.label in rows:
                continue
            moments = np.rint(np.linspace(event.start + 2, event.stop - 3, columns)).astype(int)
            pictures = list(render_frames(world, moments, height))
            if boxes:
                truth = world.truth(moments, height)
                for f, box, kind in zip(truth.box_frame, truth.box, truth.box_class, strict=True):
                    a, b = (tuple(int(v) for v in box[:2])), (tuple(int(v) for v in box[2:]))
                    cv2.rectangle(pictures[f], a, b, _COLORS[kind], 1)
            strip = np.concatenate(pictures, 1)
            cv2.putText(strip, event.label.replace("_", " "), (4, height - 6), cv2.FONT_HERSHEY_SIMPLEX, height / 330,
                        (20, 20, 20), 3, cv2.LINE_AA)  # fmt: skip
            cv2.putText(strip, event.label.replace("_", " "), (4, height - 6), cv2.FONT_HERSHEY_SIMPLEX, height / 330,
                        (255, 255, 255), 1, cv2.LINE_AA)  # fmt: skip
            rows[event.label] = strip
        if len(rows) == len(CLASSES):
            break
    strips = [rows[label] for label in CLASSES if label in rows]
    strips += [np.full_like(strips[0], 255)] * (len(strips) % 2)
    half = len(strips) // 2
    gap = np.full((half * height, 6, 3), 255, np.uint8)
    return np.concatenate([np.concatenate(strips[:half]), gap, np.concatenate(strips[half:])], 1)


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
        width = 2 * round(plan.width * args.height / plan.height / 2)
        encode(pictures, args.clip, width, args.height, plan.fps, threads=1)


if __name__ == "__main__":
    main()
