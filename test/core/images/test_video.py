from __future__ import annotations

import fractions
from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.images.messages import decode_compressed_image
from hfnet_core.images.video import VideoDecoder, codec_of


def packets(encoder: str, count: int = 10, **options: str) -> list[bytes]:
    """Video whose picture n is 20 n red."""
    av = pytest.importorskip("av")
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = 160, 120, "yuv420p"
    context.time_base, context.options = fractions.Fraction(1, 30), options
    out = []
    for index in range(count):
        picture = np.zeros((120, 160, 3), np.uint8)
        picture[:, :, 0] = 20 * index
        picture[30:60, 10 * index : 10 * index + 30] = 255
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts = index
        out += [bytes(packet) for packet in context.encode(frame)]
    return out + [bytes(packet) for packet in context.encode(None)]


@pytest.mark.parametrize(
    ("declared", "beginning", "title"),
    [
        ("h264", b"", "H.264"),
        ("libx264", b"", "H.264"),
        ("H.264/AVC", b"", "H.264"),
        ("hevc", b"", "H.265"),
        ("h265", b"", "H.265"),
        ("av1", b"", "AV1"),
        ("vp9", b"", "VP9"),
        ("", b"\x00\x00\x00\x01\x67\x64", "H.264"),
        ("", b"\x00\x00\x01\x67\x64", "H.264"),
        ("", b"\x00\x00\x00\x01\x40\x01", "H.265"),
    ],
)
def test_codecs_are_known_by_format_or_first_bytes(declared: str, beginning: bytes, title: str) -> None:
    codec = codec_of(declared, beginning)
    assert codec is not None
    assert codec.title == title


@pytest.mark.parametrize(
    ("declared", "beginning"),
    [("jpeg", b"\xff\xd8\xff\xe0"), ("rgb8; png compressed bgr8", b"\x89PNG"), ("", b""), ("", b"\x00" * 8)],
)
def test_pictures_are_no_video(declared: str, beginning: bytes) -> None:
    assert codec_of(declared, beginning) is None


def test_video_as_an_image_is_named_with_the_remedy() -> None:
    for title, declared in (("H.264", "h264"), ("H.265", "hevc")):
        with pytest.raises(DatasetError, match=rf"is {title} video.*republish.*hfnet_ros\[video\]"):
            decode_compressed_image(SimpleNamespace(format=declared, data=b"\x00\x00\x00\x01\x67"))


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", {"tune": "zerolatency"}),
        ("libx264", {}),  # pictures that need later ones
        ("libx265", {"x265-params": "log-level=none"}),
    ],
)
def test_each_picture_belongs_to_its_packet(encoder: str, options: dict[str, str]) -> None:
    coded = packets(encoder, **options)
    codec = codec_of("", coded[0][:8])
    assert codec is not None
    decoder = VideoDecoder(codec)
    found = [item for number, data in enumerate(coded) for item in decoder.feed(number, data)]
    found += decoder.flush()
    assert sorted(number for number, _ in found) == list(range(10))
    reds = [int(picture[:20, :, 0].mean()) for _, picture in found]  # pictures come in order of time
    assert np.abs(np.array(reds) - 20 * np.arange(10)).max() < 8
    assert found[0][1].shape == (120, 160, 3)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_nothing_counts_before_the_first_key_frame(encoder: str) -> None:
    coded = packets(encoder, g="4", **({"x265-params": "log-level=none:keyint=4"} if encoder == "libx265" else {}))
    codec = codec_of(encoder)
    assert codec is not None
    decoder = VideoDecoder(codec)
    with pytest.raises(DatasetError, match="before its first key frame"):
        list(decoder.feed(1, coded[1]))
    assert list(decoder.flush()) == []


def test_damaged_video_is_an_error_not_a_picture() -> None:
    coded = packets("libx264", tune="zerolatency")
    decoder = VideoDecoder(codec_of("h264"))  # type: ignore[arg-type]
    assert len(list(decoder.feed(0, coded[0]))) == 1
    with pytest.raises(DatasetError, match=r"damaged H.264 video"):
        list(decoder.feed(1, b"\x00\x00\x00\x01\x65\xff\xff\xff"))
