"""EXIF orientation, against Pillow's `exif_transpose`; and what the decoder of files does with unusual ones."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from darts_tf.data.files import encoded, exif, headers
from darts_tf.export import client, signatures
from darts_tf.system.errors import UserError

SIZE = (46, 31)  # width and height: not square, and no multiple of a JPEG's blocks


def photograph(size=SIZE):
    """Smooth colours, which JPEG keeps, and no symmetry."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    pixels = np.stack([255 * x, 255 * y, 255 * (1 - x) * y], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def directory(orientation, order="<", kind=3, tags=(), count=1):
    """A TIFF header with one directory."""
    value = struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", orientation)
    entries = [struct.pack(f"{order}HHI", 0x0112, kind, count) + value]
    entries += [struct.pack(f"{order}HHII", tag, 4, 1, 6) for tag in tags]
    start = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}[order]
    return start + struct.pack(f"{order}H", len(entries)) + b"".join(sorted(entries)) + bytes(4)


def file_of(kind, tiff=None, image=None, **options):
    file = io.BytesIO()
    options |= {} if tiff is None else {"exif": b"Exif\0\0" + tiff}
    (image or photograph()).save(file, kind, **options)
    return file.getvalue()


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def orientation_of(content):
    return exif.orientations(tf.constant([content])).numpy().tolist()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_eight_orientations(kind, order):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    files = [file_of(kind, directory(number, order), **options) for number in range(1, 9)]
    assert exif.orientations(tf.constant(files)).numpy().tolist() == list(range(1, 9))
    for number, content in enumerate(files, 1):
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content)))).astype(int)
        assert expected.shape == ((31, 46, 3) if number < 5 else (46, 31, 3))
        found = encoded.decode(content).numpy()
        assert np.abs(found - expected).max() <= (5 if kind == "JPEG" else 0)
        top, left, height, width = window = (3, 9, 17, 12)
        sizes = []
        part = encoded.decode_crop(content, lambda *size: sizes.append(size) or tf.constant(window)).numpy()  # noqa: B023
        assert [tuple(map(int, size)) for size in sizes][-1] == expected.shape[:2]
        inside = np.s_[1:-1, 1:-1]  # on the rim a JPEG's colours lack their neighbours
        np.testing.assert_array_equal(part[inside], found[top : top + height, left : left + width][inside])


def test_where_a_jpeg_holds_it():
    plain = file_of("JPEG")
    assert plain[2:4] == b"\xff\xe0"
    jfif, rest = plain[2:20], plain[20:]
    turned = segment(0xE1, b"Exif\0\0" + directory(6, ">", tags=(0x0100, 0x010F, 0x9003)))
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta Exif\0\0/>")
    profile, comment = segment(0xE2, b"ICC_PROFILE\0" + bytes(65_000)), segment(0xFE, b"Exif\0\0")
    for before in ([], [jfif], [xmp], [jfif, xmp], [jfif, profile, profile, comment], [jfif, b"\xff\xff"]):
        content = b"\xff\xd8" + b"".join(before) + turned + rest
        assert orientation_of(content) == [6], before
        reference = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        assert encoded.decode(content).shape[:2] == (reference.height, reference.width) == (46, 31)
    for before in ([], [jfif], [jfif, xmp, profile, comment]):
        assert orientation_of(b"\xff\xd8" + b"".join(before) + rest) == [1]
    assert orientation_of(b"\xff\xd8" + jfif + rest + turned) == [1]  # behind the pixels: of another picture
    assert orientation_of(b"\xff\xd8" + jfif + turned + segment(0xE1, b"Exif\0\0" + directory(3)) + rest) == [6]


def test_a_png_may_hold_it_behind_its_pixels():
    content = file_of("PNG", directory(8))
    start = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[start : start + 4], "big")
    moved = content[:start] + content[start + length : -12] + content[start : start + length] + content[-12:]
    assert orientation_of(moved) == [8] and ImageOps.exif_transpose(Image.open(io.BytesIO(moved))).size == (31, 46)


def test_damaged_exif_turns_nothing():
    whole = directory(6, ">", tags=(0x010F,))
    bad = [b"", b"Exif", whole[:7], whole[:12], whole[:20], b"XX" + whole[2:], b"IM" + whole[2:], bytes(30)]
    bad += [whole[:4] + struct.pack(">I", start) + whole[8:] for start in (0, 9, 500, 2**31, 2**32 - 1)]
    bad += [directory(number, ">") for number in (0, 9, 255, 65535)]
    bad += [directory(6, ">", kind=kind) for kind in (1, 2, 7, 9)] + [directory(6, ">", count=2)]
    for tiff in bad:
        content = b"\xff\xd8" + segment(0xE1, b"Exif\0\0" + tiff) + file_of("JPEG")[2:]
        assert orientation_of(content) == [1], tiff
        assert encoded.decode(content).shape == (31, 46, 3)
    assert orientation_of(b"\xff\xd8" + segment(0xE1, b"Exif\0\0" + directory(6, "<", kind=4)) + bytes(9)) == [6]
    # Anything at all in a batch, next to a sound file.
    photo = file_of("JPEG", whole)
    odd = [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1", photo[:30], b"RIFF", b"RIFF\0\0\0\0WEBPVP8X"]
    odd += [b"\xff\xd8\xff\xe1\0\0", b"\xff" * 5000, b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40]
    odd += [b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 40]
    assert exif.orientations(tf.constant([photo, *odd])).numpy().tolist() == [6] + [1] * len(odd)


def test_formats_are_read_rightly_or_refused():
    """The right pixels, by Pillow: what TensorFlow would show in other colours, or end with, it is not given."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
    faded = image.copy()
    faded.putalpha(Image.fromarray(rng.integers(0, 256, (30, 40), np.uint8)))
    palette, grey, bits = image.quantize(16), image.convert("L"), image.convert("1")
    moving = {"save_all": True, "append_images": [image.rotate(180)]}
    deep = np.asarray(grey).astype(np.uint16) * 257
    files = [
        *(file_of("PNG", image=each) for each in (image, faded, palette, grey, bits, image.convert("LA"))),
        file_of("PNG", image=palette, transparency=3),
        file_of("PNG", image=image, **moving),
        *(file_of("BMP", image=each) for each in (image, faded, palette, grey, bits)),
        *(file_of("WEBP", image=each, lossless=True, exact=True) for each in (image, faded)),
        file_of("WEBP", image=image, lossless=True, **moving),
        file_of("GIF", image=palette),
        file_of("GIF", image=palette, save_all=True, append_images=[palette.rotate(180)]),
        *(file_of("TIFF", image=each) for each in (image, faded, palette, grey, bits)),
        file_of("TIFF", image=image, **moving),
        file_of("TIFF", directory(6), image=image),
        *(file_of("PPM", image=each) for each in (image, grey, bits)),
    ]
    for content in files:
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
        found = encoded.decode(headers.readable(content, "x"))
        np.testing.assert_array_equal(found, expected, err_msg=repr(content[:60]))
    for content in (file_of("PNG", image=Image.fromarray(deep)), file_of("TIFF", image=Image.fromarray(deep))):
        np.testing.assert_array_equal(encoded.decode(headers.readable(content, "x"))[..., 0], deep >> 8)
    for content in (
        file_of("JPEG", image=each, **each_has)
        for each, each_has in (
            (photograph(), {"progressive": True}),
            (photograph().convert("CMYK"), {}),
            (photograph().convert("L"), {}),
        )
    ):
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        assert np.abs(encoded.decode(headers.readable(content, "x")).numpy() - expected).max() <= 8
    with pytest.raises(UserError, match="32 bits"):
        headers.readable(file_of("TIFF", image=Image.fromarray(deep.astype(np.float32))), "x")
    for content, words in (
        (file_of("BMP", image=palette), "24 or 32 bits"),
        (file_of("BMP", image=bits), "24 or 32 bits"),
        (file_of("WEBP", image=image, **moving), "animated"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):  # a server is given them as they are
            encoded.decode(content)


@pytest.mark.parametrize("channels, kind", [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_interlaced_png(channels, kind):
    import zlib

    pixels = np.random.default_rng(0).integers(0, 256, (13, 11, channels), np.uint8)
    rows = b""
    for top, left, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 11, 13, 8, kind, 0, 0, 1)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    expected = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, -1)
    np.testing.assert_array_equal(encoded.decode(headers.readable(content, "x")), expected)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """An exported model whose logits are a hundredth of the image at 2 x 2 pixels, asked as `darts-predict` asks it."""
    root = tmp_path_factory.mktemp("served")
    names = [f"class {number}" for number in range(12)]
    (root / "labels.txt").write_text("\n".join(names))
    traced = signatures.trace(
        lambda x, training: tf.reshape(tf.image.resize(x, (2, 2), antialias=True) / 100, (-1, 12)),
        (24, 24, 3),
        (0.0,) * 3,
        (1 / 255,) * 3,
        names,
    )
    signatures.save(traced, root / "exports" / "m" / "1", root / "labels.txt")
    return client.in_process(root / "exports", "m")


def logits(served, contents):
    return served(client.inputs.SIGNATURES["image_bytes"], {"image_bytes": contents})["logits"]


def test_the_exported_graph_turns_photographs(served):
    kinds = [("JPEG", {"quality": 95}, 0.03), ("PNG", {}, 1e-5), ("WEBP", {"lossless": True}, 1e-5)]
    for kind, options, apart in kinds:
        files = [file_of(kind, directory(number, order), **options) for order in "<>" for number in range(1, 9)]
        upright = [ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB") for content in files]
        expected = logits(served, [file_of("PNG", image=image) for image in upright])
        np.testing.assert_allclose(logits(served, files), expected, atol=apart)
        assert np.ptp(expected[:8], axis=0).max() > 0.5  # the eight differ
    assert logits(served, [file_of("JPEG", directory(6))]).shape == (1, 12)


def test_predict_sends_every_format(served, tmp_path):
    """What TensorFlow does not read, or would show in other colours, is converted before it is sent."""
    palette = photograph().quantize(16)
    for name, image, options in (
        ("a.png", palette, {}),
        ("b.bmp", palette, {}),
        ("c.tif", palette, {}),
        ("d.ppm", palette.convert("RGB"), {}),
        ("e.webp", palette.convert("RGB"), {"save_all": True, "append_images": [photograph()], "lossless": True}),
    ):
        image.save(tmp_path / name, **options)
    paths = sorted(tmp_path.iterdir())
    found = client.predict(served, paths)
    assert len({prediction.probability for prediction in found}) == 1 and len(found) == 5
    assert 0 < found[0].probability < 0.9
    (tmp_path / "c.tif").write_bytes((tmp_path / "c.tif").read_bytes()[:-300])
    with pytest.raises(UserError, match=r"The image .*c.tif cannot be read \("):
        client.predict(served, paths)
    Image.new("1", (16000, 9000)).save(tmp_path / "f.png")
    with pytest.raises(UserError, match="too large: .* 9000x16000 in .*f.png"):
        client.predict(served, [tmp_path / "f.png"])
