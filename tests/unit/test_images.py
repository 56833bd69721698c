"""Pictures: order, resize rules, channel orders, labels, and one clear message for each mistake."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codegen.errors import ThumbnetError
from codegen.images import LabelOptions, load_images
from codegen.ir import Preprocess

RGB = Preprocess()
GRAY = Preprocess((127.5,), (127.5,), "GRAY")
BGR = Preprocess(channels="BGR")
CROP = Preprocess(resize="crop")
LABELS = LabelOptions()


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def refused(source: Path, *words: str, preprocess: Preprocess = RGB, **options: object) -> str:
    channels = 1 if preprocess.channels == "GRAY" else 3
    with pytest.raises(ThumbnetError) as caught:
        load_images(source, (8, 8, channels), preprocess, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    for word in (source.name, *words):
        assert word in text
    return text


class TestPictures:
    def test_right_size_is_taken_as_it_is(self, tmp_path: Path) -> None:
        pixels = noise(8, 6)
        for name in ("a.png", "b.bmp", "c.ppm"):
            save(tmp_path / name, pixels)
        for preprocess in (RGB, CROP):
            loaded = load_images(tmp_path, (8, 6, 3), preprocess)
            assert loaded.names == ("a.png", "b.bmp", "c.ppm")
            assert loaded.pixels.dtype == np.uint8
            assert all(np.array_equal(image, pixels) for image in loaded.pixels)

    def test_order_is_by_name_and_limit_is_spread(self, tmp_path: Path) -> None:
        for i in (7, 3, 9, 0, 5, 1, 8, 2, 6, 4):
            save(tmp_path / f"{i}.png", np.full((4, 4, 3), i, np.uint8))
        whole = load_images(tmp_path, (4, 4, 3), RGB)
        assert whole.pixels[:, 0, 0, 0].tolist() == list(range(10))
        few = load_images(tmp_path, (4, 4, 3), RGB, limit=5)
        assert few.names == ("0.png", "2.png", "4.png", "6.png", "8.png")
        assert len(load_images(tmp_path, (4, 4, 3), RGB, limit=99).names) == 10

    def test_bgr_is_rgb_reversed(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", noise(9, 7))
        rgb, bgr = (load_images(tmp_path, (5, 5, 3), p).pixels for p in (RGB, BGR))
        assert np.array_equal(rgb[..., ::-1], bgr)

    def test_grey_network_takes_luma_and_grey_picture_is_expanded(self, tmp_path: Path) -> None:
        colour = save(tmp_path / "colour.png", np.full((8, 8, 3), (255, 0, 0), np.uint8))
        assert load_images(colour, (8, 8, 1), GRAY).pixels.flat[0] == 76  # 0.299 * 255
        grey = save(tmp_path / "grey.png", noise(8, 8, 1)[..., 0])
        loaded = load_images(grey, (8, 8, 3), RGB).pixels[0]
        assert np.array_equal(loaded, np.repeat(noise(8, 8, 1), 3, axis=2))

    def test_transparency_lies_over_black(self, tmp_path: Path) -> None:
        pixels = np.full((8, 8, 4), 200, np.uint8)
        pixels[..., 3] = 0
        pixels[0, 0, 3] = 255
        image = load_images(save(tmp_path / "a.png", pixels), (8, 8, 3), RGB).pixels[0]
        assert image[0, 0].tolist() == [200, 200, 200]
        assert image[1:].max() == 0

    def test_transparent_palette_colour_lies_over_black(self, tmp_path: Path) -> None:
        picture = Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).quantize(2)
        picture.save(tmp_path / "a.gif", transparency=picture.getpixel((0, 0)))
        assert load_images(tmp_path, (8, 8, 3), RGB).pixels.max() == 0

    def test_exif_orientation_is_honoured(self, tmp_path: Path) -> None:
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[:4] = 255
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise: the upper half becomes the right one
        Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
        image = load_images(tmp_path, (8, 8, 3), RGB).pixels[0]
        assert image[:, 4:].min() == 255
        assert image[:, :4].max() == 0

    def test_sixteen_bit_grey_keeps_the_upper_byte(self, tmp_path: Path) -> None:
        values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024 + 255
        Image.fromarray(values).save(tmp_path / "a.png")
        image = load_images(tmp_path, (8, 8, 1), GRAY).pixels[0, ..., 0]
        assert np.array_equal(image, values >> 8)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "RGBA"])
    def test_every_common_mode(self, tmp_path: Path, mode: str) -> None:
        suffix = "tif" if mode == "CMYK" else "png"
        Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert(mode).save(
            tmp_path / f"a.{suffix}"
        )
        image = load_images(tmp_path, (8, 8, 3), RGB).pixels
        assert image.min() >= 250

    def test_hidden_files_are_no_pictures(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", noise(8, 8))
        (tmp_path / "._a.png").write_bytes(b"not a picture")
        (tmp_path / "notes.txt").write_text("notes")
        assert load_images(tmp_path, (8, 8, 3), RGB).names == ("a.png",)


class TestResize:
    def test_stretch_is_pillow_bilinear(self, tmp_path: Path) -> None:
        pixels = noise(31, 17)
        save(tmp_path / "a.png", pixels)
        want = Image.fromarray(pixels).resize((8, 10), Image.Resampling.BILINEAR)
        assert np.array_equal(load_images(tmp_path, (10, 8, 3), RGB).pixels[0], np.asarray(want))

    def test_crop_of_256_at_224_only_cuts(self, tmp_path: Path) -> None:
        pixels = noise(256, 256)
        save(tmp_path / "a.png", pixels)
        image = load_images(tmp_path, (224, 224, 3), CROP).pixels[0]
        assert np.array_equal(image, pixels[16:240, 16:240])

    def test_crop_resizes_short_side_then_cuts_centre(self, tmp_path: Path) -> None:
        pixels = noise(300, 451)
        save(tmp_path / "a.png", pixels)
        # 64 / 0.875 = 73.1; 451 * 73 / 300 = 109.7
        whole = Image.fromarray(pixels).resize((110, 73), Image.Resampling.BILINEAR)
        image = load_images(tmp_path, (64, 64, 3), CROP).pixels[0]
        assert np.array_equal(image, np.asarray(whole)[4:68, 23:87])

    def test_any_size_gives_the_size_asked_for(self, tmp_path: Path) -> None:
        @given(st.tuples(*[st.integers(1, 40)] * 4))
        @settings(max_examples=60, deadline=None)
        def check(sizes: tuple[int, int, int, int]) -> None:
            height, width, to_height, to_width = sizes
            path = tmp_path / "a.npz"
            np.savez(path, images=np.full((1, height, width, 3), 77, np.uint8))
            for preprocess in (RGB, CROP):
                pixels = load_images(path, (to_height, to_width, 3), preprocess).pixels
                assert pixels.shape == (1, to_height, to_width, 3)
                assert (pixels == 77).all()

        check()


class TestNpz:
    def test_is_what_files_are(self, tmp_path: Path) -> None:
        pixels = np.stack([noise(20, 30, seed=i) for i in range(3)])
        np.savez(tmp_path / "a.npz", images=pixels, labels=[2, 0, 1])
        for i, image in enumerate(pixels):
            save(tmp_path / "files" / f"{i}.png", image)
        for preprocess in (RGB, BGR, CROP):
            one = load_images(tmp_path / "a.npz", (8, 8, 3), preprocess, labels=LABELS)
            two = load_images(tmp_path / "files", (8, 8, 3), preprocess)
            assert np.array_equal(one.pixels, two.pixels)
            assert one.labels is not None
            assert one.labels.tolist() == [2, 0, 1]
        assert one.names == ("a.npz[0]", "a.npz[1]", "a.npz[2]")

    def test_labels_follow_limit_and_offset(self, tmp_path: Path) -> None:
        images = np.zeros((4, 8, 8, 3), np.uint8)
        np.savez(tmp_path / "a.npz", images=images, labels=np.arange(4, dtype=np.uint8))
        loaded = load_images(tmp_path / "a.npz", (8, 8, 3), RGB, 2, LabelOptions(offset=1))
        assert loaded.labels is not None
        assert loaded.labels.tolist() == [1, 3]
        assert load_images(tmp_path / "a.npz", (8, 8, 3), RGB).labels is None

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"pictures": np.zeros((1, 8, 8, 3), np.uint8)}, ["no array 'images'"]),
            ({"images": np.zeros((1, 8, 8, 3), np.float32)}, ["float32", "uint8"]),
            ({"images": np.zeros((8, 8, 3), np.uint8)}, ["[8, 8, 3]"]),
            ({"images": np.zeros((1, 8, 8, 1), np.uint8)}, ["[1, 8, 8, 1]", "W, 3]"]),
            ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, ["no pictures"]),
            ({"images": np.array([None])}, ["damaged"]),
            (
                {"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.zeros(3, int)},
                ["'labels'", "[3]", "2 pictures"],
            ),
            (
                {"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.zeros(2)},
                ["'labels'", "float64"],
            ),
            (
                {"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.array([0, -1])},
                ["-1", "--class-offset"],
            ),
        ],
    )
    def test_mistakes(
        self, tmp_path: Path, arrays: dict[str, np.ndarray], words: list[str]
    ) -> None:
        np.savez(tmp_path / "a.npz", **arrays)
        refused(tmp_path / "a.npz", *words, labels=LABELS)

    def test_one_array_is_no_npz(self, tmp_path: Path) -> None:
        with (tmp_path / "a.npz").open("wb") as file:
            np.save(file, np.zeros(3))
        refused(tmp_path / "a.npz", "one array only")


class TestLabels:
    def classes(self, root: Path, options: LabelOptions = LABELS, limit: int | None = None) -> list:
        labels = load_images(root, (8, 8, 3), RGB, limit, options).labels
        return [] if labels is None else labels.tolist()

    def test_folder_order_is_the_class(self, tmp_path: Path) -> None:
        for name in ("dog/1.png", "cat/2.png", "cat/1.png", "owl/x.png"):
            save(tmp_path / name, noise(8, 8))
        (tmp_path / "bird").mkdir()  # a class without pictures keeps its number
        assert self.classes(tmp_path) == [1, 1, 2, 3]
        assert self.classes(tmp_path, LabelOptions(offset=1), limit=2) == [2, 3]

    def test_without_folders_or_table_there_are_none(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", noise(8, 8))
        save(tmp_path / "cat" / "b.png", noise(8, 8))
        assert self.classes(tmp_path) == []

    def test_table(self, tmp_path: Path) -> None:
        for name in ("b.png", "a.png", "sub/c.png"):
            save(tmp_path / name, noise(8, 8))
        (tmp_path / "labels.csv").write_bytes(
            b"\xef\xbb\xbfclass_0_999, file\r\n3,a.png\r\n1,b.png\r\n2,sub\\c.png\r\n"
        )
        assert self.classes(tmp_path, LabelOptions(class_column="class_0_999")) == [3, 1, 2]

    @pytest.mark.parametrize(
        ("table", "words"),
        [
            ("file,number\na.png,1\n", ["'class'", "file, number", "--class-column"]),
            ("name,class\na.png,1\n", ["'file'", "--file-column"]),
            ("", ["'file'", "none"]),
            ("file,class\na.png,1\nlost.png,2\n", ["lost.png", "not here"]),
            ("file,class\n", ["a.png", "no row"]),
            ("file,class\na.png,cat\n", ["line 2", "'cat'"]),
            ("file,class\na.png\n", ["line 2", "''"]),
            ("file,class\na.png,1.5\n", ["line 2", "'1.5'"]),
            ("file,class\na.png,1\na.png,2\n", ["two classes"]),
            ("file,class\na.png,-1\n", ["-1", "--class-offset"]),
            ('file,class\n"a.png,1\n', ["no readable table"]),
            (b"file,class\n\xff\xfe,1\n", ["no readable table"]),
        ],
    )
    def test_mistakes_in_the_table(
        self, tmp_path: Path, table: str | bytes, words: list[str]
    ) -> None:
        save(tmp_path / "a.png", noise(8, 8))
        data = table if isinstance(table, bytes) else table.encode()
        (tmp_path / "labels.csv").write_bytes(data)
        refused(tmp_path, "labels.csv" if words[0] != "-1" else "class", *words, labels=LABELS)
        assert load_images(tmp_path, (8, 8, 3), RGB).labels is None  # calibration needs no labels


class TestZip:
    def pack(self, folder: Path, prefix: str) -> Path:
        path = folder.parent / "pictures.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, prefix + file.relative_to(folder).as_posix())
        return path

    @pytest.mark.parametrize("prefix", ["", "outer/"])
    @pytest.mark.parametrize("table", [False, True])
    def test_is_the_folder(self, tmp_path: Path, prefix: str, table: bool) -> None:
        folder = tmp_path / "files"
        for name in ("cat/1.png", "dog/2.png"):
            save(folder / name, noise(12, 9))
        if table:
            (folder / "labels.csv").write_text("file,class\ncat/1.png,5\ndog/2.png,4\n")
        one = load_images(folder, (8, 8, 3), RGB, labels=LABELS)
        two = load_images(self.pack(folder, prefix), (8, 8, 3), RGB, labels=LABELS)
        assert one.names == two.names
        assert np.array_equal(one.pixels, two.pixels)
        assert one.labels is not None
        assert two.labels is not None
        assert one.labels.tolist() == two.labels.tolist() == ([5, 4] if table else [0, 1])

    def test_damaged(self, tmp_path: Path) -> None:
        save(tmp_path / "files" / "a.png", noise(8, 8))
        path = self.pack(tmp_path / "files", "")
        path.write_bytes(path.read_bytes()[:-30])
        refused(path, "damaged")

    def test_empty(self, tmp_path: Path) -> None:
        zipfile.ZipFile(tmp_path / "a.zip", "w").close()
        refused(tmp_path / "a.zip", "no pictures")


class TestMistakes:
    def test_no_such_path(self, tmp_path: Path) -> None:
        refused(tmp_path / "lost", "no such file")
        refused(tmp_path / "lost.npz", "no such file")

    def test_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        refused(tmp_path, "holds no pictures", ".png")

    def test_other_kind_of_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.onnx").write_bytes(b"x")
        refused(tmp_path / "a.onnx", "neither a folder")

    def test_unreadable_among_readable_are_named(self, tmp_path: Path) -> None:
        whole = save(tmp_path / "good.png", noise(64, 64)).read_bytes()
        (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "empty.jpg").write_bytes(b"")
        text = refused(tmp_path, "2 of 3", "cut.png (", "empty.jpg (no picture)")
        assert "good.png" not in text

    def test_floating_point_pixels(self, tmp_path: Path) -> None:
        Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "a.tif")
        refused(tmp_path, "floating-point")

    def test_channels_that_do_not_fit(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", noise(8, 8))
        with pytest.raises(ThumbnetError, match="takes 1 channels"):
            load_images(tmp_path, (8, 8, 1), RGB)

    def test_limit_of_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ThumbnetError, match="at least one picture"):
            load_images(tmp_path, (8, 8, 3), RGB, limit=0)

    def test_unreadable_for_this_user(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save(tmp_path / "a.png", noise(8, 8))

        def denied(self: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", denied)
        refused(tmp_path, "a.png", "Permission denied")


def _encode(suffix: str) -> bytes:
    stream = io.BytesIO()
    pixels = noise(16, 16)
    if suffix == "npz":
        np.savez(stream, images=pixels[None], labels=[1])
    elif suffix == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", _encode("png"))
            archive.writestr("labels.csv", "file,class\na.png,1\n")
    else:
        Image.fromarray(pixels).save(stream, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    return stream.getvalue()


Damage = Callable[[bytes], bytes]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    kind = draw(st.sampled_from(["cut", "flip", "insert", "replace"]))
    share, junk = draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=8))

    def damage(data: bytes) -> bytes:
        at = int(share * (len(data) - 1))
        return {
            "cut": data[:at],
            "flip": data[:at] + bytes([data[at] ^ junk[0]]) + data[at + 1 :],
            "insert": data[:at] + junk + data[at:],
            "replace": junk,
        }[kind]

    return damage


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "ppm", "webp", "npz", "zip"])
def test_damage_gives_pictures_or_one_message(suffix: str, tmp_path: Path) -> None:
    whole = _encode(suffix)
    path = tmp_path / f"a.{suffix}"

    @given(st.lists(damages(), min_size=1, max_size=3))
    @settings(max_examples=120, deadline=None)
    def check(steps: list[Damage]) -> None:
        data = whole
        for damage in steps:
            data = damage(data) if data else data
        path.write_bytes(data)
        try:
            loaded = load_images(path, (8, 8, 3), RGB, labels=LABELS)
        except ThumbnetError as error:
            assert path.name in str(error)
        else:
            assert loaded.pixels.shape[1:] == (8, 8, 3)

    check()
