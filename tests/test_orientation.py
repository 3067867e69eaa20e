"""Photographs are turned as their EXIF orientation says, in training, in evaluation and in a server's graph alike."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from trained_runs import write

from darts_tf.data import encoded, exif, images
from darts_tf.export import exporting

ORIENTATIONS = range(1, 9)


def pixels(height=24, width=40):
    """A smooth picture without symmetry, which JPEG keeps well."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + 2 * columns) * 2 % 256], -1).astype(np.uint8)


def tiff(orientation, order, kind=3, count=1):
    """The EXIF block of a camera: three tags, the orientation in the middle."""
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 3)
    value = struct.pack(f"{order}HH", orientation, 0) if kind == 3 else struct.pack(f"{order}I", orientation)
    tags = [struct.pack(f"{order}HHIHH", 0x0100, 3, 1, 40, 0), struct.pack(f"{order}HHI", 0x0112, kind, count) + value]
    return head + b"".join([*tags, struct.pack(f"{order}HHIHH", 0x0213, 3, 1, 1, 0)]) + bytes(4)


def app1(content):
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments, array=None):
    """A JPEG file with segments behind its first one (JFIF)."""
    file = io.BytesIO()
    Image.fromarray(pixels() if array is None else array).save(file, "JPEG", quality=95)
    content = file.getvalue()
    (length,) = struct.unpack(">H", content[4:6])
    return content[: 4 + length] + b"".join(segments) + content[4 + length :]


def upright(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_jpeg(orientation, order):
    content = jpeg(app1(b"Exif\0\0" + tiff(orientation, order)))
    stored = encoded.decode(tf.constant(jpeg())).numpy()
    read = encoded.decode(tf.constant(content)).numpy()
    assert read.shape == upright(content).shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    assert np.abs(read.astype(int) - upright(content)).max() <= 10  # two decoders of JPEG
    turned = np.asarray(ImageOps.exif_transpose(with_orientation(stored, orientation)))
    np.testing.assert_array_equal(read, turned)
    for window in ([0, 0, 7, 9], [3, 5, 16, 11], [16, 10, 8, 14]):
        part = encoded.decode_crop(tf.constant(content), lambda height, width, window=window: tf.constant(window))
        top, left, rows, columns = window
        exact = read[top : top + rows, left : left + columns].astype(int)
        assert np.abs(part.numpy() - exact).max() <= 12  # colours are stored at half the resolution


def with_orientation(array, orientation):
    image = Image.fromarray(array)
    image.getexif()[0x0112] = orientation
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_png_and_webp(kind, orientation):
    file, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(pixels()).save(file, kind, exif=tags, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(encoded.decode(tf.constant(file.getvalue())).numpy(), upright(file.getvalue()))


XMP = app1(b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='3'/>")
SIX = b"Exif\0\0" + tiff(6, ">")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (jpeg(), 1),
        (jpeg(XMP, app1(SIX)), 6),
        (jpeg(app1(SIX), XMP), 6),
        (jpeg(b"\xff\xfe\0\x07hello", app1(SIX)), 6),
        (jpeg(app1(b"Exif\0\0" + tiff(6, "<", kind=4))), 6),
        (jpeg(app1(b"Exif\0\0" + tiff(0, "<"))), 1),
        (jpeg(app1(b"Exif\0\0" + tiff(9, "<"))), 1),
        (jpeg(app1(b"Exif\0\0" + tiff(6, "<", count=2))), 1),
        (jpeg(app1(SIX[:20])), 1),
        (jpeg(app1(b"Exif\0\0MM\0*" + b"\xff" * 12)), 1),
        (jpeg(app1(b"Exif\0\0")), 1),
        (jpeg()[:30], 1),
        (b"\xff\xd8\xff\xe1\xff\xff" + SIX, 6),
        (b"", 1),
        (b"GIF89a", 1),
        (b"nothing at all", 1),
    ],
)
def test_whatever_cannot_be_understood_is_upright(content, expected):
    assert exif.orientations(tf.constant([content])).numpy().tolist() == [expected]


def test_a_batch_is_read_as_its_files(tmp_path):
    files = [jpeg(app1(b"Exif\0\0" + tiff(each, "<>"[each % 2]))) for each in ORIENTATIONS] + [b"", jpeg()]
    assert exif.orientations(tf.constant(files)).numpy().tolist() == [*ORIENTATIONS, 1, 1]


def test_a_folder_of_a_phone_is_read_upright(tmp_path):
    for label, orientation in (("a", 6), ("b", 1)):
        (tmp_path / label).mkdir()
        for i in range(2):
            (tmp_path / label / f"{i}.jpg").write_bytes(jpeg(app1(b"Exif\0\0" + tiff(orientation, "<"))))
    data = images.load("folder", str(tmp_path), image_size=16)
    lying, standing = data.train.read(tf.constant([0, 2])).numpy().astype(int)
    assert np.abs(np.rot90(standing, -1) - lying).max() <= 2


def test_an_exported_model_turns_photographs(tmp_path):
    write(tmp_path / "run")
    model = tf.saved_model.load(str(exporting.export(tmp_path / "run", tmp_path / "exports")))
    ask = model.signatures["serving_bytes"]
    for orientation in ORIENTATIONS:
        content = jpeg(app1(b"Exif\0\0" + tiff(orientation, ">")))
        plain = tf.io.encode_png(encoded.decode(tf.constant(content)))
        answers = ask(image_bytes=tf.stack([content, plain]))["logits"].numpy()
        np.testing.assert_array_equal(answers[0], answers[1])
    lying, standing = jpeg(app1(SIX)), jpeg()
    answers = ask(image_bytes=tf.constant([lying, standing]))["logits"].numpy()
    assert not np.array_equal(answers[0], answers[1])
