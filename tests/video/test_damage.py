import pickle
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video import structure
from pipeline.video.decode import VideoError, decode, decode_at, probe, scan
from tests.video.clips import Encode

X265 = {"x265-params": "log-level=none"}
CLIPS = {
    "h264.mp4": ("libx264", {}),
    "faststart.mp4": ("libx264", {}),
    "h264.mkv": ("libx264", {}),
    "h264.avi": ("libx264", {}),
    "hevc.mp4": ("libx265", X265),
    "mpeg4.avi": ("mpeg4", {}),
    "mpeg2.ts": ("mpeg2video", {}),
    "mpeg2.mpg": ("mpeg2video", {}),
    "mjpeg.avi": ("mjpeg", {}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


@pytest.fixture(params=CLIPS)
def clip(request: pytest.FixtureRequest, encode: Encode) -> Path:
    codec, options = CLIPS[request.param]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    movflags = "faststart" if "faststart" in request.param else ""
    return encode(request.param, codec, options=options, pix_fmt=pix_fmt, movflags=movflags)


def test_an_undamaged_clip_passes(clip: Path) -> None:
    assert scan(clip).n_frames == 50


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_clip_is_named(clip: Path, tmp_path: Path, share: float) -> None:
    data = clip.read_bytes()
    damaged = tmp_path / f"truncated{clip.suffix}"
    damaged.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoError, match=r"truncated|no video stream"):
        scan(damaged)
    with pytest.raises(VideoError):
        list(decode_at(damaged, 8, 32))


# FFmpeg takes any bits for a VP9 picture, many for an HEVC one, and now and then for the rest of an H.264 key picture; where
# that is depends on x264's bytes, which differ from build to build. A piece of a transport stream that ends where a key
# frame begins looks like joined recordings, and costs a picture or two.
NAMED_OF_12 = {"libx264": 10, "mpeg2.ts": 11}


@pytest.mark.parametrize("clip", [name for name in CLIPS if not name.startswith(("vp9", "hevc"))], indirect=True)
def test_an_overwritten_piece_is_named(clip: Path, tmp_path: Path) -> None:
    whole, named, trials = clip.read_bytes(), 0, 12
    for seed in range(trials):
        data, rng = bytearray(whole), np.random.default_rng(seed)
        start = int(rng.integers(len(data) // 4, len(data) * 3 // 4))
        data[start : start + 600] = bytes(600) if seed % 3 == 0 else rng.bytes(600)
        damaged = tmp_path / f"corrupted{clip.suffix}"
        damaged.write_bytes(data)
        try:
            assert scan(damaged).n_frames >= (48 if clip.suffix == ".ts" else 50)
        except VideoError as error:
            assert "corrupted" in str(error) or "damaged" in str(error)
            named += 1
    assert named >= NAMED_OF_12.get(clip.name, NAMED_OF_12.get(CLIPS[clip.name][0], trials))


@pytest.mark.parametrize(
    ("codec", "key", "predicted"),
    [("libx264", b"\0\0\1\x65", b"\0\0\1\x41"), ("mpeg4", b"\0\0\1\xb6\x10", b"\0\0\1\xb6\x50")],
)
def test_an_avi_does_not_lose_its_first_group(
    encode: Encode, tmp_path: Path, codec: str, key: bytes, predicted: bytes
) -> None:
    """Its first picture's header is damaged, so that it looks like a predicted one; the index says it is one."""
    path = encode(f"first-{codec}.avi", codec, gop=12, options={"bf": "0"})
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
        assert first.pos is not None
        begin, size = first.pos, first.size
    data = bytearray(path.read_bytes())
    assert key in data[begin : begin + size]
    data[begin : begin + size] = data[begin : begin + size].replace(key, predicted, 1)
    damaged = tmp_path / "first.avi"
    damaged.write_bytes(data)
    with av.open(str(damaged)) as container:
        assert not next(container.demux(video=0)).is_keyframe
    with pytest.raises(VideoError, match=r"corrupted: decoding failed after 0 frames.*its first key frame is damaged"):
        scan(damaged)


def test_flipped_bits_are_found(encode: Encode, tmp_path: Path) -> None:
    """Single flips may give another valid picture; of thirty, some do not."""
    for name in ("h264.mp4", "hevc.mp4", "mpeg4.avi", "mpeg2.ts"):
        codec, options = CLIPS[name]
        data = bytearray(encode(name, codec, options=options).read_bytes())
        rng = np.random.default_rng(0)
        for place in rng.integers(len(data) // 4, len(data) * 3 // 4, 30):
            data[place] ^= 1 << int(rng.integers(8))
        damaged = tmp_path / name
        damaged.write_bytes(data)
        with pytest.raises(VideoError, match="corrupted"):
            scan(damaged)


def test_good_frames_come_before_the_error(encode: Encode, tmp_path: Path) -> None:
    data = bytearray(encode("late.mp4", count=100).read_bytes())
    data[len(data) * 7 // 10 : len(data) * 7 // 10 + 4000] = np.random.default_rng(0).bytes(4000)
    path = tmp_path / "late.mp4"
    path.write_bytes(data)
    times = []
    with pytest.raises(VideoError, match=r"after \d+ frames, at \d\.\d\d of 4\.00 s"):
        for frame in decode(path):
            times.append(frame.pts_s)
    assert len(times) > 30


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("zero.mp4", b"", r"empty \(0 bytes\)"),
        ("text.mp4", b"these are notes, not a film\n" * 40, "it holds text"),
        ("note.txt", b"these are notes, not a film\n" * 40, "text"),
        ("noise.avi", np.random.default_rng(0).bytes(50_000), "not a video"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:3,\nhttp://127.0.0.1:9/a.ts\n", "not a video"),
        ("header.mp4", b"\0\0\0\x18ftypisom" + bytes(100), "moov"),
        ("one_byte.mkv", b"\x1a", "not a video"),
    ],
)
@pytest.mark.parametrize("read", [probe, scan, lambda path: list(decode(path))])
def test_what_is_no_video_is_named(tmp_path: Path, name: str, content: bytes, cause: str, read: object) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert callable(read)
    with pytest.raises(VideoError, match=cause) as raised:
        read(path)
    assert raised.value.path == path
    assert str(raised.value).startswith(str(path))


def test_sound_and_still_pictures_are_no_videos(tmp_path: Path) -> None:
    sound, still = tmp_path / "sound.mp4", tmp_path / "still.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(VideoError, match=r"no video stream in it \(only audio"):
        probe(sound)
    from pipeline.video import jpeg

    still.write_bytes(jpeg.encode(np.zeros((32, 32, 3), dtype=np.uint8), 90))
    with pytest.raises(VideoError, match="still picture"):
        probe(still)


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="not a regular file"):
        probe(tmp_path)
    with pytest.raises(VideoError, match="no such file"):
        probe(tmp_path / "x.mp4")


def test_the_error_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(VideoError(Path("a.mp4"), "the file is empty (0 bytes)")))
    assert (error.path, error.cause) == (Path("a.mp4"), "the file is empty (0 bytes)")


def test_trailing_bytes_are_no_damage(encode: Encode, tmp_path: Path) -> None:
    for name in ("h264.mp4", "mpeg4.avi", "h264.mkv"):
        path = tmp_path / name
        path.write_bytes(encode(name, CLIPS[name][0]).read_bytes() + bytes(64))
        assert structure.fault(path) is None
        assert scan(path).n_frames == 50


@pytest.mark.parametrize(
    "name",
    [
        "actions/anet_v_GGSY1Qvo990.mp4",
        "actions/archery_example.avi",
        "actions/hmdb_wave_RATRACE.avi",
        "derived/av1_truman_cut.mkv",
        "derived/hevc_main_pets_120.mp4",
        "derived/mpeg2_interlaced_tff.ts",
        "formats/mjpeg_gesture.avi",
        "formats/vp8_flower.webm",
        "gestures/asl_no.mkv",
        "people/vtest_pets09_s2l1.avi",
    ],
)
def test_real_files_truncated_and_overwritten(shared: Path, tmp_path: Path, name: str) -> None:
    data = (shared / "videos" / name).read_bytes()
    middle = len(data) // 2
    for damaged in (data[:middle], data[: len(data) * 9 // 10], data[:middle] + bytes(1000) + data[middle + 1000 :]):
        path = tmp_path / Path(name).name
        path.write_bytes(damaged)
        with pytest.raises(VideoError):
            scan(path)
