"""Pictures decoded on the fly from the video files, with the interface of :class:`pipeline.datasets.snippets.FrameStore`.

It costs no disk and no decode stage, and gives the pictures without JPEG's loss; a clip takes several times as long. Which
of the two pays is measured by ``python -m pipeline bench loader``.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.datasets.opened import Opened
from pipeline.video.seek import Known, SeekableVideo


class VideoStore:
    """Reads pictures of videos by id and row; a row is a frame that the stage ``frames`` would have stored.

    Files are opened when first asked for and their index is read then; all indexes are kept, and the files used last stay
    open. Pickling carries the paths only. Not for several threads at once.

    Args:
        paths: file of each video id.
        fps: pictures per second of video, at most its own rate; None: every frame.
        short_side: px of the shorter side; None: as stored.
        open_files: bound on the files that are open at a time.
    """

    def __init__(
        self, paths: Mapping[str, Path], fps: float | None = None, short_side: int | None = None, open_files: int = 16
    ) -> None:
        self._arguments = dict(paths), fps, short_side, open_files
        self._paths = self._arguments[0]
        self._known: dict[str, Known] = {}
        self._opened = Opened(self._open, open_files)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._paths

    def __getstate__(self) -> tuple[dict[str, Path], float | None, int | None, int]:
        return self._arguments

    def __setstate__(self, state: tuple[dict[str, Path], float | None, int | None, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def close(self) -> None:
        """Close all files."""
        self._opened.close()

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

    def _open(self, id_: str) -> SeekableVideo:
        _paths, fps, short_side, _open_files = self._arguments
        video = SeekableVideo(self._path(id_), fps, short_side, self._known.get(id_))
        self._known[id_] = video.known
        return video

    def _path(self, id_: str) -> Path:
        try:
            return self._paths[id_]
        except KeyError:
            raise KeyError(f"there is no video {id_!r}; there are {len(self._paths)} videos") from None
