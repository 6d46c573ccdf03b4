"""The coded stream as data: motion vectors, accumulated motion and residuals, in one pass and constant memory.

    from pipeline.video.compressed import read_compressed
    for frame in read_compressed("video.mp4", ["mv_accumulated", "residual_accumulated", "i_frame"]): ...

``python -m pipeline extract compressed VIDEO --out X.h5`` writes the same as HDF5 (kind ``compressed``).

**What the numbers mean.** Arrays are upright, rows from the top, columns from the left; motion is (x, y), x to the right and
y down, in whole pixels of the coded picture. What is seen at p was at p - mv(p) in the frame ``reference_index``, the last
I- or P-frame shown before, and at p - mv_accumulated(p) in the I-frame ``i_frame_index`` (thesis eq. 4.1), so

    picture(p) = reference(p - mv(p)) + residual(p) = I-frame(p - mv_accumulated(p)) + residual_accumulated(p).

Motion to the right is a positive x. ``valid`` is 0, and the motion 0, where a block has no vector (intra), its source lies
outside the picture, or its vector turned out to point to another frame than assumed; residuals are exact there all the same.
On MPEG-4 Part 2 without B-frames mv and mv_accumulated are those of CoViAR's reference loader in every pixel.

**What is refused, by name**: codecs without vectors (HEVC, VP8, VP9, AV1, MJPEG: ``normalised`` transcodes them first),
a picture size that changes, damaged and truncated files. **What is weaker**: FFmpeg keeps no vectors of MPEG-4 Part 2's
B-frames, so nothing of them is valid; with several reference frames, and in interlaced pictures, blocks that do not fit
their reference are left out (x264's defaults: 5 to 35 % of the pixels of real clips).
"""

from pipeline.video.compressed.reader import ARRAYS, CompressedFrame, StreamInfo, check_arrays, read_compressed
from pipeline.video.compressed.residual import warp
from pipeline.video.compressed.stream import CODECS
from pipeline.video.compressed.vectors import Vectors
from pipeline.video.container import VideoError

__all__ = [
    "ARRAYS", "CODECS", "CompressedFrame", "StreamInfo", "Vectors", "VideoError", "check_arrays", "read_compressed", "warp",
]  # fmt: skip
