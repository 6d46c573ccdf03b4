"""Sparing the decoder the pictures that nobody will see: those off the wanted times that no other picture refers to.

H.264, HEVC, MPEG-2 and MPEG-4 mark such pictures in the stream (most B-frames), and FFmpeg then passes over them unread.
All others are decoded as ever, so the pictures that are shown, their times and their choice are the same to the last bit.
"""

from collections.abc import Callable, Iterable, Iterator

from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.video.container import Clock

CODECS = ("h264", "hevc", "mpeg2video", "mpeg4")

LONGEST_GROUP = 256
"""Packets that are looked at together where key frames are farther apart."""


def pass_over_unseen(
    packets: "Iterable[Packet[VideoStream]]", stream: VideoStream, clock: Clock, wanted: Callable[[float, float], bool]
) -> "Iterator[Packet[VideoStream]]":
    """Yield the same packets and tell the stream's decoder before each one whether to pass over it.

    ``wanted(start, end)``: whether a picture that is on show from ``start`` to ``end`` (seconds, by ``clock``) is needed.
    Each picture's end is the start of the next one, so the packets are held back up to the next key frame. Where the
    times are not plain (missing, doubled, jumping back, only in the order of decoding) everything is decoded.
    """
    context = stream.codec_context
    if context.name not in CODECS or clock.only_dts or context.thread_count != 1:
        yield from packets
        return
    latest: int | None = None  # time stamp so far; None before the first group
    plain = True
    for group in _groups(packets):
        stamps = [packet.pts for packet in group if packet.size and not packet.is_discard]
        known = sorted(stamp for stamp in stamps if stamp is not None)
        plain = plain and len(set(known)) == len(stamps) and (latest is None or not known or known[0] > latest)
        unseen = set[int]()
        if plain and latest is not None and clock.started:
            # Not the last one: the next group may begin with pictures that are shown before its key frame.
            times = [clock.since_start(stamp) for stamp in known]
            unseen = {s for s, t, end in zip(known, times, times[1:], strict=False) if not wanted(t, end)}
        latest = known[-1] if known else latest
        for packet in group:
            context.skip_frame = "NONREF" if packet.size and packet.pts in unseen else "DEFAULT"
            yield packet


def _groups(packets: "Iterable[Packet[VideoStream]]") -> "Iterator[list[Packet[VideoStream]]]":
    group: list[Packet[VideoStream]] = []
    for packet in packets:
        if group and (packet.is_keyframe or len(group) == LONGEST_GROUP):
            yield group
            group = []
        group.append(packet)
    if group:
        yield group
