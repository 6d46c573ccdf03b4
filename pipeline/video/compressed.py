"""Motion vectors and residuals of the coded stream, read in one pass and constant memory (CoViAR, thesis section 4.2).

Every shown frame has motion on a grid of 8 x 8 px blocks, which is as fine as any decoder exports it, since its
*reference*: for a P-frame the last I- or P-frame shown before it, for a B-frame also a B-frame if that is marked as one
that others are predicted from (H.264). With the displacement d of a block, in pixels, x to the right and y down,

    picture(x, y)  =  reference picture(x - d_x, y - d_y)  +  residual(x, y),

so a positive d is motion to the right or down since the reference. Blocks without a vector from the reference's side
(intra, predicted from later frames only, from outside the picture) have d = 0 and are not valid; residuals are defined
there all the same, as plain difference. I-frames have neither: all zero.

The residual is the decoded frame less the warped reference (as CoViAR's loader has it), not the stream's coefficients.
It is computed at the size it is wanted in: both pictures are scaled first, then the one is warped.

FFmpeg keeps no vectors of MPEG-4 Part 2's B-frames and exports zeros for them; none of their blocks is valid.
A stream says from which side a block is predicted, not from which frame; with several reference frames or B-pyramids
some vectors stand for a longer way than to our reference, and their blocks are not told apart here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame

from pipeline.video.container import Clock, Damage, VideoError, open_video
from pipeline.video.decode import Display, Orientation

BLOCK = 8
"""Side of a block in pixels of the coded picture."""

CODECS = (
    "h264", "mpeg4", "mpeg2video", "mpeg1video", "h261", "h263", "h263p", "flv",
    "msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2",
)  # fmt: skip
"""Decoders that export motion vectors. Those of HEVC, VP8, VP9, AV1 and Theora do not; MJPEG and its like have none."""

REMEDY = "ffmpeg -i IN -c:v libx264 -bf 0 -refs 1 -g 12 OUT.mp4"


class CodedFrame(NamedTuple):
    """One shown frame of the coded stream, upright. H x W is the coded size, h x w the size of ``picture``.

    ``pts_s``: seconds from the first frame. ``frame_type``: 1 = I, 2 = P, 3 = B. ``packet_bytes``: size of its packet.
    ``i_frame`` and ``reference``: numbers (from 0) of the last I-frame, and of the frame it is predicted from; -1 where
    there is none. ``mv``: float16 [ceil(H / 8), ceil(W / 8), 2], d in pixels of the coded picture (x, y).
    ``valid``: uint8 0/1 [ceil(H / 8), ceil(W / 8)]. ``residual``: int8 RGB [h, w, 3], clipped to -128..127.
    ``picture``: uint8 RGB [h, w, 3]. ``width`` and ``height``: W and H.
    """

    pts_s: float
    frame_type: int
    packet_bytes: int
    i_frame: int
    reference: int
    mv: np.ndarray
    valid: np.ndarray
    residual: np.ndarray
    picture: np.ndarray
    width: int
    height: int


def read_coded(path: Path, *, short_side: int | None = None) -> Iterator[CodedFrame]:
    """Yield every shown frame with its motion and residual, in presentation order.

    Frames and times are those of :func:`pipeline.video.decode.decode`. Decoding takes one thread: with frame threads
    FFmpeg exports other vectors in each run. ``short_side``: shorter side of pictures and residuals in pixels.

    Raises:
        VideoError: as ``decode``; also a codec without vectors, a picture size that changes, or pictures that are
            stored turned and whose size is no multiple of 8. The message names the remedy.
    """
    number = i_frame = -1
    anchor = nearest = _NOTHING  # the last I- or P-frame; the last frame that B-frames are predicted from
    for coded in _decode_with_vectors(Path(path)):
        frame, orientation = coded.frame, coded.display.orientation
        number += 1
        picture = coded.display.scaled(short_side, None).picture(frame)
        height, width = (frame.width, frame.height) if orientation.transpose else (frame.height, frame.width)
        mv, valid = _upright(orientation, *_block_motion(frame))
        residual = np.zeros(picture.shape, np.int8)
        bidirectional = frame.pict_type in _BIDIRECTIONAL
        before = nearest if bidirectional else anchor
        if frame.pict_type in _INTRA:
            i_frame, before = number, _NOTHING
        if before.picture is None or not coded.has_vectors:
            mv, valid = np.zeros_like(mv), np.zeros_like(valid)
        if before.picture is not None:  # not intra, and the stream does not begin in the middle of a picture group
            change = picture.astype(np.int16) - warp(before.picture, mv, width, height)
            residual = np.clip(change, -128, 127).astype(np.int8)
        yield CodedFrame(
            coded.t, int(frame.pict_type), coded.packet_bytes, i_frame, before.number, mv, valid, residual, picture,
            width, height,
        )  # fmt: skip
        if coded.is_reference:
            nearest = _Reference(number, picture)
            anchor = anchor if bidirectional else nearest


class _Reference(NamedTuple):
    number: int
    picture: np.ndarray | None


_NOTHING = _Reference(-1, None)
_INTRA = (PictureType.I, PictureType.SI)
_BIDIRECTIONAL = (PictureType.B, PictureType.BI)


class _Coded(NamedTuple):
    """A decoded frame with its time and what its packet told."""

    t: float
    frame: VideoFrame
    display: Display
    packet_bytes: int
    is_reference: bool
    has_vectors: bool


def _decode_with_vectors(path: Path) -> Iterator[_Coded]:
    """Decode on one thread, vectors exported; refuses what :func:`read_coded` says."""
    with open_video(path, threads=1) as (container, stream):
        context = stream.codec_context
        if context.name not in CODECS:
            codec = context.codec.canonical_name
            raise VideoError(path, f"its codec {codec} gives no motion vectors; transcode it: {REMEDY}")
        context.options = {"flags2": "+export_mvs"}
        context.copy_opaque = True  # what is set on a packet comes with the frame that it becomes
        clock, damage = Clock(container, stream), Damage(path, container, stream)
        display: Display | None = None
        size = (0, 0)
        length_bytes = _nal_length_bytes(context.extradata)
        for packet in damage.packets(container, stream):
            packet.opaque = (packet.size, context.name != "h264" or _nal_is_reference(bytes(packet), length_bytes))
            for frame in damage.frames(packet):
                t, duration = clock.time(frame)
                damage.end_s = t + duration
                if display is None:
                    display, size = Display.of(frame, stream), (frame.width, frame.height)
                    _check_grid(path, display.orientation, *size)
                if (frame.width, frame.height) != size:
                    sizes = f"{size[0]} x {size[1]} to {frame.width} x {frame.height} px"
                    raise VideoError(path, f"its picture size changes from {sizes}; transcode it: {REMEDY}")
                packet_bytes, marked = cast(tuple[int, bool], frame.opaque or (0, True))
                bidirectional = frame.pict_type in _BIDIRECTIONAL
                is_reference = marked and (context.name == "h264" or not bidirectional)
                has_vectors = not (bidirectional and context.name == "mpeg4")
                yield _Coded(t, frame, display, packet_bytes, is_reference, has_vectors)
        damage.check_end()


def _nal_length_bytes(extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit of an H.264 packet (avcC, ISO 14496-15); 0: start codes instead."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def _nal_is_reference(packet: bytes, length_bytes: int) -> bool:
    """Whether the picture of an H.264 packet may be a reference: nal_ref_idc of its first slice (H.264, 7.4.1)."""
    at = 0
    while at < len(packet):
        if length_bytes:
            begin = at + length_bytes
            at = begin + int.from_bytes(packet[at:begin])
        else:
            found = packet.find(b"\0\0\1", at)
            if found < 0:
                return False
            begin = at = found + 3
        if begin < len(packet) and packet[begin] & 31 in (1, 5):
            return packet[begin] >> 5 != 0
    return False


def warp(picture: np.ndarray, mv: np.ndarray, width: int, height: int) -> np.ndarray:
    """Move a picture uint8 [h, w, 3] by block motion ``mv`` [rows, columns, 2] of a coded picture of that size.

    Every pixel takes what lies d back, interpolated; beyond the edge, the edge's colour.
    """
    if not mv.any():
        return picture
    rows, columns = picture.shape[:2]
    y, x = np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32)
    of_row = ((y + 0.5) * (height / rows / BLOCK)).astype(np.intp)
    of_column = ((x + 0.5) * (width / columns / BLOCK)).astype(np.intp)
    scaled = mv * np.array([columns / width, rows / height], np.float32)
    back = scaled[of_row[:, None], of_column]
    return np.asarray(
        cv2.remap(picture, x - back[..., 0], y[:, None] - back[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    )


def _block_motion(frame: VideoFrame) -> tuple[np.ndarray, np.ndarray]:
    """Motion and validity of a frame as stored: float16 [rows, columns, 2] in pixels, uint8 [rows, columns]."""
    rows, columns = -(-frame.height // BLOCK), -(-frame.width // BLOCK)
    mv, valid = np.zeros((rows, columns, 2), np.float32), np.zeros((rows, columns), np.uint8)
    data: Any = frame.side_data.get("MOTION_VECTORS")
    if data is None:
        return mv.astype(np.float16), valid
    vectors = data.to_ndarray()
    vectors = vectors[vectors["source"] < 0]
    # The block's sizes come as uint8, its middle is given. A vector points to the source: the motion is its opposite.
    wide, high = vectors["w"].astype(np.intp) // BLOCK, vectors["h"].astype(np.intp) // BLOCK
    left = vectors["dst_x"].astype(np.intp) // BLOCK - wide // 2
    top = vectors["dst_y"].astype(np.intp) // BLOCK - high // 2
    motion = -np.stack([vectors["motion_x"], vectors["motion_y"]], 1) / vectors["motion_scale"][:, None]
    for down in range(high.max(initial=0)):
        for right in range(wide.max(initial=0)):
            row, column = top + down, left + right
            inside = (down < high) & (right < wide) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            mv[row[inside], column[inside]] = motion[inside]
            valid[row[inside], column[inside]] = 1
    valid &= _source_inside(mv, frame.width, frame.height)
    mv *= valid[..., None]
    return mv.astype(np.float16), valid


def _source_inside(mv: np.ndarray, width: int, height: int) -> np.ndarray:
    """Whether all of what a block is predicted from lies in the picture: bool [rows, columns]."""
    inside = np.ones(mv.shape[:2], bool)
    for axis, size in ((1, width), (0, height)):
        start = np.arange(mv.shape[axis], dtype=np.float32) * BLOCK
        stop = np.minimum(start + BLOCK, size)
        start, stop = (edge[None, :] if axis else edge[:, None] for edge in (start, stop))
        d = mv[..., 1 - axis]
        inside &= (start - d >= 0) & (stop - d <= size)
    return inside


def _check_grid(path: Path, orientation: Orientation, width: int, height: int) -> None:
    """Blocks are counted from the stored picture's top left corner: one that is flipped must end on a whole block."""
    shown = (height, width) if orientation.transpose else (width, height)
    if (orientation.flip_x and shown[0] % BLOCK) or (orientation.flip_y and shown[1] % BLOCK):
        raise VideoError(
            path, f"it is stored turned or mirrored in {width} x {height} px, no multiple of {BLOCK}; "
            f"transcode it: {REMEDY}",
        )  # fmt: skip


def _upright(orientation: Orientation, mv: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn motion and validity like the picture: the blocks' places and the vectors' directions."""
    if orientation == Orientation():
        return mv, valid
    if orientation.transpose:
        mv = mv[..., ::-1]
    sign = np.array([-1 if orientation.flip_x else 1, -1 if orientation.flip_y else 1], np.float16)
    return orientation.apply(mv * sign), orientation.apply(valid[..., None])[..., 0]
