"""Pictures as short closed groups of H.264: a fraction of JPEG's bytes, and any picture is near a key frame."""

from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

from pipeline.video.encode import REPRODUCIBLE

FAST = f"{REPRODUCIBLE}:bframes=0:cabac=0:no-deblock=1:log-level=-1"
"""Without CABAC and deblocking a picture takes half the time to decode, for a tenth more bytes."""


def encode_group(pictures: Sequence[np.ndarray], crf: int) -> list[bytes]:
    """Encode uint8 RGB pictures [height, width, 3] of one size: one packet each, the first a key frame.

    An odd height or width is filled up by repeating the edge. ``crf``: x264's quality, 0 to 51, lower is better. Equal
    pictures give equal bytes.
    """
    context: Any = av.CodecContext.create("libx264", "w")
    height, width = pictures[0].shape[:2]
    odd = (0, height % 2), (0, width % 2), (0, 0)
    context.height, context.width, context.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)  # of no meaning; x264 wants one
    context.thread_count, context.gop_size = 1, len(pictures)
    context.options = {"crf": str(crf), "preset": "veryfast", "x264-params": FAST}
    packets: list[bytes] = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.pad(picture, odd, "edge"), format="rgb24")
        frame.pts, frame.time_base = number, context.time_base
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets + [bytes(packet) for packet in context.encode(None)]


def decode_group(packets: Sequence[bytes], wanted: Collection[int], height: int, width: int) -> list[np.ndarray]:
    """Decode the pictures with the numbers ``wanted`` (ascending) of a group: uint8 RGB [height, width, 3] each.

    Raises:
        ValueError: the packets do not hold them.
    """
    context: Any = av.CodecContext.create("h264", "r")
    context.thread_count, context.thread_type = 1, "NONE"
    inside = [*(av.Packet(bytes(packet)) for packet in packets[: max(wanted) + 1]), None]
    try:
        frames = [frame for packet in inside for frame in context.decode(packet)]
    except av.FFmpegError as error:
        raise ValueError(f"a group of pictures cannot be decoded: {error}") from error
    if len(frames) <= max(wanted):
        raise ValueError(f"a group of pictures holds {len(frames)}, number {max(wanted)} is wanted")
    return [frames[number].to_ndarray(format="rgb24")[:height, :width] for number in wanted]
