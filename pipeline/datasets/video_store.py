"""Pictures decoded on the fly from the video files, with the interface of :class:`pipeline.datasets.snippets.FrameStore`.

It costs no disk and no decode stage, and gives the pictures without JPEG's loss; a clip takes several times as long. Which
of the two pays is measured by ``python -m pipeline bench loader``.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.datasets.opened import OPEN_FILES, Store
from pipeline.video.seek import Known, SeekableVideo


class VideoStore(Store[SeekableVideo]):
    """Reads pictures of videos by id and row; a row is a frame that the stage ``frames`` would have stored.

    A file's index is read when it is opened, and kept.

    Args:
        paths: file of each video id.
        fps: pictures per second of video, at most its own rate; None: every frame.
        short_side: px of the shorter side; None: as stored.
        open_files: bound on the files that are open at a time.
    """

    holds = "file"

    def __init__(
        self,
        paths: Mapping[str, Path],
        fps: float | None = None,
        short_side: int | None = None,
        open_files: int = OPEN_FILES,
    ) -> None:
        super().__init__(paths, fps, short_side, open_files, open_files=open_files)
        self._fps, self._short_side = fps, short_side
        self._known: dict[str, Known] = {}

    def pts(self, id_: str) -> np.ndarray:
        """Times of a video's rows in seconds, float64 [N].

        Raises:
            KeyError: no such id.
            VideoError: the file cannot be read.
        """
        if id_ not in self._known:
            self._opened[id_]
        return self._known[id_].frames.pts_s

    def pictures(self, id_: str, indices: np.ndarray) -> np.ndarray:
        """Pictures of ``indices`` (int, any shape [...]): uint8 RGB [..., height, width, 3].

        Raises:
            KeyError, VideoError: as :meth:`pts`; damage is found where it is read.
        """
        wanted, places = np.unique(indices, return_inverse=True)
        pictures: np.ndarray = self._opened[id_].pictures(wanted)[places.reshape(np.shape(indices))]
        return pictures

    def _open(self, id_: str, path: Path) -> SeekableVideo:
        video = SeekableVideo(path, self._fps, self._short_side, self._known.get(id_))
        self._known[id_] = video.known
        return video
