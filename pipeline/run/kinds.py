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

TRUTH = Kind(
    name="truth",
    version=1,
    doc="Dense ground truth of one video; sparse truths (segments, video labels) are in the data set's JSON.",
    arrays={
        "pts": Array("float64", ("frame",), "s", "time of each source frame"),
        "labels": Array("uint8", ("frame", "class"), "0/1", "frame labels, one column per class", compress=True),
        "box_frame": Array("int32", ("box",), "frame", "row of pts that the box belongs to", compress=True),
        "box": Array("float32", ("box", "4"), "px", "x1, y1, x2, y2 in source pixels", compress=True),
        "box_class": Array("int16", ("box",), "index", "0 = person, then the object classes", compress=True),
        "box_track": Array("int32", ("box",), "id", "track id, constant over the video", compress=True),
        "shot_start": Array("float64", ("shot",), "s", "first frame of each shot"),
    },
    attributes={"box_classes": str, "label_classes": str},
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

ALL = {kind.name: kind for kind in (FRAMES, TRUTH, FEATURES)}
