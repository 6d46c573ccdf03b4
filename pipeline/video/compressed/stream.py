"""The coded stream, decoded on one thread with its motion vectors exported; refuses by name what has none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from av.video.frame import PictureType, VideoFrame

from pipeline.video.container import Clock, Damage, VideoError, open_video
from pipeline.video.decode import Display

CODECS = (
    "h264", "mpeg4", "mpeg2video", "mpeg1video", "h261", "h263", "h263p", "flv",
    "msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2",
)  # fmt: skip
"""Decoders that export motion vectors. Those of HEVC, VP8, VP9, AV1 and Theora do not; MJPEG and its like have none."""

REMEDY = "python -m pipeline extract compressed --normalise, or ffmpeg -i IN -c:v mpeg4 -q:v 1 -bf 0 -g 12 OUT.mkv"

_INTRA = (PictureType.I, PictureType.SI)
_BIDIRECTIONAL = (PictureType.B, PictureType.BI)


class Coded(NamedTuple):
    """A decoded frame, not converted, and what its packet told.

    ``type``: 1 = I, 2 = P, 3 = B. ``decoded``: its place in the order of decoding. ``is_reference``: others may be
    predicted from it. ``has_vectors``: false for B-frames of MPEG-4 Part 2, for which FFmpeg keeps no vectors and exports
    zeros. ``certain``: its vectors can point to one frame per side only, and blocks lie where they say.
    """

    pts_s: float
    frame: VideoFrame
    display: Display
    type: int
    packet_bytes: int
    decoded: int
    is_reference: bool
    has_vectors: bool
    certain: bool
    codec: str


def decode_with_vectors(path: Path, b_frames: bool = True) -> Iterator[Coded]:
    """Yield every shown frame in presentation order. One thread: with frame threads FFmpeg's vectors change in each run.

    Without ``b_frames``, those and other frames that nothing is predicted from are skipped, mostly without being decoded;
    the B-frames of H.264 that are left are those that P-frames' vectors may point to.

    Raises:
        VideoError: as :func:`pipeline.video.decode.decode`; also a codec without vectors, or a picture size that changes.
    """
    with open_video(path, threads=1) as (container, stream):
        context = stream.codec_context
        if context.name not in CODECS:
            codec = context.codec.canonical_name
            raise VideoError(path, f"its codec {codec} gives no motion vectors; transcode it: {REMEDY}")
        context.options = {"flags2": "+export_mvs"}
        context.skip_frame = "DEFAULT" if b_frames else "NONREF"
        context.copy_opaque = True  # what is set on a packet comes with the frame that it becomes
        clock, damage = Clock(container, stream), Damage(path, container, stream)
        display: Display | None = None
        size = (0, 0)
        h264 = context.name == "h264"
        length_bytes = _nal_length_bytes(context.extradata)
        for decoded, packet in enumerate(damage.packets(container, stream)):
            is_reference = _nal_is_reference(bytes(packet), length_bytes) if h264 else not packet.is_disposable
            packet.opaque = (packet.size, decoded, is_reference)
            for frame in damage.frames(packet):
                t, duration = clock.time(frame)
                damage.end_s = t + duration
                if display is None:
                    display, size = Display.of(frame, stream), (frame.width, frame.height)
                if (frame.width, frame.height) != size:
                    sizes = f"{size[0]} x {size[1]} to {frame.width} x {frame.height} px"
                    raise VideoError(path, f"its picture size changes from {sizes}; transcode it: {REMEDY}")
                told: Any = frame.opaque or (0, decoded, True)
                packet_bytes, place, is_reference = told
                kind = 1 if frame.pict_type in _INTRA else 3 if frame.pict_type in _BIDIRECTIONAL else 2
                if kind == 3 and not b_frames and not (h264 and is_reference):
                    continue
                yield Coded(
                    t, frame, display, kind, packet_bytes, place, is_reference,
                    has_vectors=not (kind == 3 and context.name == "mpeg4"),
                    certain=not (h264 or frame.interlaced_frame),
                    codec=context.name,
                )  # fmt: skip
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
