"""Every HDF5 artifact kind of the project, declared once. Times are seconds from the video's first frame."""

from pipeline.run.artifacts import BYTES, Array, Kind

FRAMES = Kind(
    name="frames",
    version=1,
    doc="Decoded pictures of one video at a fixed rate, upright, as JPEG.",
    arrays={
        "pts": Array("float64", ("frame",), "s", "time of the source frame that is shown"),
        "jpeg": Array(BYTES, ("frame",), "JPEG bytes", "the picture, height x width x 3"),
    },
    attributes={"width": int, "height": int, "fps": float, "duration_s": float},
)

FRAMES_RAW = Kind(
    name="frames_raw",
    version=1,
    doc="As frames, the pictures as they are.",
    arrays={
        "pts": FRAMES.arrays["pts"],
        "picture": Array("uint8", ("frame", "row", "column", "3"), "grey level", "RGB", chunk_rows=1),
    },
    attributes=FRAMES.attributes,
)

FRAMES_SEGMENTS = Kind(
    name="frames_segments",
    version=1,
    doc="As frames, in closed groups of H.264.",
    arrays={
        "pts": FRAMES.arrays["pts"],
        "packet": Array(BYTES, ("frame",), "H.264 packet", "the coded picture; every group-th is a key frame"),
    },
    attributes={**FRAMES.attributes, "group": int},
)

SHOTS = Kind(
    name="shots",
    version=1,
    doc="The shots of one video; they tile it.",
    arrays={
        "t_start": Array("float64", ("shot",), "s", "first frame of the shot"),
        "t_end": Array("float64", ("shot",), "s", "first frame of the next shot, or the end of the video"),
        "score": Array("float64", ("shot",), "1", "mean change of a pixel at the cut before the shot; 0 for the first"),
    },
    attributes={"detector": str},
)

COMPRESSED_CHUNK = 4
"""Rows of a chunk of pixels: small, because training reads single frames. Append multiples: a chunk is packed once."""


def _pixels(dtype: str, channels: str, unit: str, doc: str) -> Array:
    dims = ("frame", "row", "column", *([channels] if channels else ()))
    return Array(dtype, dims, unit, doc, COMPRESSED_CHUNK, compress=True, optional=True)


def _vectors(dtype: str, dims: tuple[str, ...], unit: str, doc: str) -> Array:
    return Array(dtype, dims, unit, doc, 4096, compress=True, optional=True)


COMPRESSED = Kind(
    name="compressed",
    version=2,
    doc="What the coded stream of one video tells of each shown frame, upright; see pipeline.video.compressed.",
    arrays={
        "pts": Array("float64", ("frame",), "s", "time of the frame"),
        "frame_type": Array("uint8", ("frame",), "code", "1 = I, 2 = P, 3 = B"),
        "packet_bytes": Array("int32", ("frame",), "byte", "size in the stream; 0 where two frames share a packet"),
        "i_frame_index": Array("int32", ("frame",), "row", "the last I-frame, this one included; -1: none yet"),
        "reference_index": Array("int32", ("frame",), "row", "frame that mv and residual are against; -1: none"),
        "vector_frame": _vectors("int32", ("vector",), "row", "frame of the vector, ascending"),
        "vector_block": _vectors("int16", ("vector", "4"), "px", "x, y, width, height of the block; x, y: top left"),
        "vector_motion": _vectors("float32", ("vector", "2"), "px", "the block's place less that of its source: x, y"),
        "vector_source": _vectors("int8", ("vector",), "side", "-1: the source is in an earlier frame, 1: a later one"),
        "mv": _pixels("int16", "2", "px", "motion since the reference frame, in coded pixels: x right, y down"),
        "mv_accumulated": _pixels("int16", "2", "px", "motion since the I-frame, in coded pixels (thesis eq. 4.1)"),
        "residual": _pixels("int16", "3", "grey level", "RGB, picture less the reference picture moved by mv"),
        "residual_accumulated": _pixels("int16", "3", "grey level", "RGB, picture less the moved I-frame"),
        "valid": _pixels("uint8", "", "0/1", "mv is the stream's; 0: intra, from outside the picture, or rejected"),
        "i_frame": Array(BYTES, ("i_frame",), "JPEG bytes", "every I-frame, rows x columns x 3", optional=True),
        "i_frame_row": Array("int32", ("i_frame",), "row", "frame of each i_frame", optional=True),
    },
    attributes={"width": int, "height": int, "rows": int, "columns": int, "codec": str, "normalised_from": str},
)

TRUTH = Kind(
    name="truth",
    version=2,
    doc="Ground truth of the frames of one video that are known: all of a made one, the key frames of AVA.",
    arrays={
        "pts": Array("float64", ("frame",), "s", "time of each frame whose truth is known, without a box too"),
        "labels": Array("uint8", ("frame", "class"), "0/1", "frame labels, one column per class", compress=True),
        "box_frame": Array("int32", ("box",), "frame", "row of pts that the box belongs to", compress=True),
        "box": Array("float32", ("box", "4"), "px", "x1, y1, x2, y2 in source pixels", compress=True),
        "box_class": Array("int16", ("box",), "index", "0 = person, then the object classes", compress=True),
        "box_track": Array("int32", ("box",), "id", "track id, constant over the video", compress=True),
        "box_action": Array(
            "uint8", ("box", "class"), "0/1", "what a person does, columns as of labels", compress=True, optional=True
        ),
        "shot_start": Array("float64", ("shot",), "s", "first frame of each shot; none: the shots are not known"),
    },
    attributes={"box_classes": str, "label_classes": str},  # names: of boxes with commas between, of labels a line each
)

FEATURES = Kind(
    name="features",
    version=1,
    doc="Snippet features of one video at L equally spaced snippets.",
    arrays={
        "t_start": Array("float64", ("snippet",), "s", "start of the cell that the snippet stands for"),
        "t_end": Array("float64", ("snippet",), "s", "end of the cell"),
        "feature": Array("float32", ("snippet", "channel"), "1", "encoder output, averaged over the snippet"),
    },
    attributes={"encoder": str, "window_s": float, "frames_per_snippet": int, "duration_s": float},
)

_BOXES = {
    "pts": Array("float64", ("picture",), "s", "time of each picture that was searched"),
    "picture": Array("int32", ("box",), "picture", "row of pts that the box belongs to", compress=True),
    "t": Array("float64", ("box",), "s", "time of that picture", compress=True),
    "box": Array("float32", ("box", "4"), "px", "x1, y1, x2, y2 in source pixels", compress=True),
    "label": Array("int16", ("box",), "index", "of the attribute classes", compress=True),
    "score": Array("float32", ("box",), "1", "0 to 1; falling within a picture", compress=True),
}
_BOX_ATTRIBUTES = {"classes": str, "width": int, "height": int, "duration_s": float}

DETECTIONS = Kind(
    name="detections",
    version=1,
    doc="People and objects found in one video, picture by picture; a picture may hold none.",
    arrays={
        **_BOXES,
        "embedding": Array("float16", ("box", "channel"), "1", "region of a map of the detector's", optional=True),
    },
    attributes=_BOX_ATTRIBUTES,
)

TRACKS = Kind(
    name="tracks",
    version=1,
    doc="Detections of one video that were linked to tubes, by picture; no tube crosses a cut.",
    arrays={
        **_BOXES,
        "track": Array("int32", ("box",), "id", "number of the tube, from 0, constant within it", compress=True),
    },
    attributes=_BOX_ATTRIBUTES,
)

BANK = Kind(
    name="bank",
    version=1,
    doc="Long-term feature bank of one video: a row per second and track, cell or picture, in the order of time.",
    arrays={
        "t": Array("float64", ("row",), "s", "the instant that the features are of; a second apart"),
        "track": Array(
            "int32", ("row",), "id", "of the kind tracks; -1: a true person, a grid's cell or the whole picture"
        ),
        "label": Array("int16", ("row",), "index", "of the attribute classes"),
        "box": Array("float32", ("row", "4"), "px", "x1, y1, x2, y2 in source pixels at t"),
        "score": Array("float32", ("row",), "1", "of the detection nearest to t"),
        "feature": Array(
            "float32",
            ("row", "channel"),
            "1",
            "region of the encoder's last map, averaged over time",
            or_dtype="float16",
        ),
        "short": Array(
            "float32",
            ("row", "short_channel"),
            "1",
            "the same of the short-term encoder, where the bank has its own",
            optional=True,
            or_dtype="float16",
        ),
    },
    attributes={"classes": str, "encoder": str, "window_s": float, "duration_s": float},
)

_FRAMES = (FRAMES, FRAMES_RAW, FRAMES_SEGMENTS)
ALL = {kind.name: kind for kind in (*_FRAMES, SHOTS, COMPRESSED, TRUTH, FEATURES, DETECTIONS, TRACKS, BANK)}
