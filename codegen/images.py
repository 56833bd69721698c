"""Pictures: loading and resizing to the input size of a network.

Sources are a folder of picture files (with or without one folder per class, or a labels.csv), a
zip of the same, an npz with ``images`` (uint8 [N, H, W, C], RGB or grey) and optionally
``labels``, or one picture file. Transparent pictures are laid over black, EXIF orientation is
honoured, 16-bit grey keeps its upper byte.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from codegen.errors import ThumbnetError
from codegen.image_files import Folder, Zip, brief, open_zip, read_npz
from codegen.ir import Preprocess, Shape
from codegen.labels import LabelOptions, read_labels, shifted
from codegen.preprocess import (
    CHANNELS,
    Pixels,
    for_channels,
    parse_preprocess,
    pixel_table,
    to_float,
    to_int8,
)

__all__ = [
    "Images",
    "LabelOptions",
    "Pictures",
    "decode",
    "for_channels",
    "load_images",
    "open_pictures",
    "parse_preprocess",
    "pixel_table",
    "to_float",
    "to_int8",
]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
CROP_SHARE = 0.875

_BLACK = (0, 0, 0, 255)
_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_SHOWN = 3
"""Names that a message lists."""


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures of the network's size.

    Attributes:
        pixels: uint8 [N, H, W, C], in the channel order of the preprocessing.
        names: N file names relative to the source (``FILE[index]`` for an npz).
        labels: int64 [N] class numbers, None if they were not asked for or there are none.
    """

    pixels: Pixels
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None = None


Encoded = bytes | Pixels
"""A picture as it is stored: the bytes of a file, or pixels of any size."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """An opened source, whose pictures are read when they are needed.

    Attributes:
        where: The source, for messages.
        shape: ``(H, W, C)`` of the network's input.
        preprocess: Its resize rule and channel order are applied.
        names: As ``Images.names``.
        labels: As ``Images.labels``.
        read: Gives a picture by its index.
    """

    where: str
    shape: Shape
    preprocess: Preprocess
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None
    read: Callable[[int], Encoded]

    def encoded(self, part: range) -> tuple[Encoded | ThumbnetError, ...]:
        """Some pictures as they are stored; what cannot be read is an error in its place."""

        def read(index: int) -> Encoded | ThumbnetError:
            try:
                return self.read(index)
            # A damaged archive raises nearly anything, from zlib.error to NotImplementedError.
            except Exception as error:
                return ThumbnetError(brief(error))

        return tuple(read(index) for index in part)

    def load(self) -> Images:
        """All of them.

        Raises:
            ThumbnetError: One cannot be read.
        """
        encoded = self.encoded(range(len(self.names)))
        pixels = decode(self.where, self.names, encoded, self.shape, self.preprocess)
        return Images(pixels, self.names, self.labels)


def decode(
    where: str,
    names: Sequence[str],
    encoded: Sequence[Encoded | ThumbnetError],
    shape: Shape,
    preprocess: Preprocess,
) -> Pixels:
    """Pictures as the network sees them.

    Args:
        where: The source, for messages.
        names: Of the pictures.
        encoded: The pictures, from ``Pictures.encoded``.
        shape: ``(H, W, C)`` of the network's input.
        preprocess: Its resize rule and channel order are applied; its numbers are not.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        ThumbnetError: Some cannot be read; names them.
    """
    pixels = np.empty((len(names), *shape), np.uint8)
    wrong = []
    for i, (name, picture) in enumerate(zip(names, encoded, strict=True)):
        try:
            if isinstance(picture, ThumbnetError):
                raise picture
            pixels[i] = (
                _decode(picture, shape, preprocess)
                if isinstance(picture, bytes)
                else _ordered(_fit(picture, shape, preprocess.resize), preprocess)
            )
        # A damaged picture raises nearly anything, from struct.error to SyntaxError.
        except Exception as error:
            wrong.append(f"{name} ({brief(error)})")
    if wrong:
        raise ThumbnetError(
            f"{where}: {len(wrong)} of {len(names)} pictures cannot be read: {some(wrong, '; ')}. "
            "Remove or replace them"
        )
    return pixels


def load_images(
    source: Path,
    shape: Shape,
    preprocess: Preprocess,
    limit: int | None = None,
    labels: LabelOptions | None = None,
) -> Images:
    """Reads pictures and brings them to the network's size: see ``open_pictures``."""
    with open_pictures(source, shape, preprocess, limit, labels) as pictures:
        return pictures.load()


@contextmanager
def open_pictures(
    source: Path,
    shape: Shape,
    preprocess: Preprocess,
    limit: int | None = None,
    labels: LabelOptions | None = None,
) -> Iterator[Pictures]:
    """Opens pictures, to be brought to the network's size.

    Args:
        source: A folder, .zip, .npz or one picture file.
        shape: ``(H, W, C)`` of the network's input.
        preprocess: Its resize rule and channel order are applied; its numbers are not.
        limit: At most so many pictures, evenly spaced in the sorted order; the others are not
            read.
        labels: Where class numbers come from; None reads none.

    Raises:
        ThumbnetError: There are no pictures, or one cannot be read or does not fit, or the labels
            do not belong to the pictures.
    """
    if limit is not None and limit < 1:
        raise ThumbnetError(f"at least one picture is needed, {limit} were asked for")
    order = preprocess.channels
    if order in CHANNELS and CHANNELS[order] != shape[2] and not _is_npz(source):
        raise ThumbnetError(
            f"{source}: the network takes {shape[2]} channels and the preprocessing says {order}; "
            "declare channels=GRAY for one channel, RGB or BGR for three"
        )
    with ExitStack() as stack:
        try:
            opened = _open(source, shape, preprocess, limit, labels, stack)
        except OSError as error:
            raise ThumbnetError(f"{source}: cannot be read: {error.strerror or error}") from error
        # Pillow warns of odd metadata and of large pictures; neither concerns the pixels. Here and
        # not where a picture is decoded, which threads do: the filters are the whole process's.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield opened


def _open(
    source: Path,
    shape: Shape,
    preprocess: Preprocess,
    limit: int | None,
    labels: LabelOptions | None,
    stack: ExitStack,
) -> Pictures:
    if not source.exists():
        raise ThumbnetError(f"{source}: there is no such file or folder")
    if source.is_dir():
        return _from_files(Folder(source), shape, preprocess, limit, labels)
    if _is_npz(source):
        return _from_npz(source, shape, preprocess, limit, labels)
    if source.suffix.lower() == ".zip":
        archive = stack.enter_context(open_zip(source))
        return _from_files(Zip(source, archive), shape, preprocess, limit, labels)
    if source.suffix.lower() in SUFFIXES:
        only = Folder(source.parent, source.name)
        return _from_files(only, shape, preprocess, limit, None)
    raise ThumbnetError(
        f"{source}: neither a folder, a picture ({', '.join(SUFFIXES)}), a .zip nor a .npz"
    )


def _is_npz(source: Path) -> bool:
    return source.suffix.lower() == ".npz"


def _from_files(
    source: Folder | Zip,
    shape: Shape,
    preprocess: Preprocess,
    limit: int | None,
    options: LabelOptions | None,
) -> Pictures:
    names = [name for name in source.files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not names:
        raise ThumbnetError(f"{source.where}: holds no pictures ({', '.join(SUFFIXES)})")
    classes = read_labels(source, names, options) if options else None
    chosen = _spread(len(names), limit)
    names = [names[i] for i in chosen]
    return Pictures(
        source.where,
        shape,
        preprocess,
        tuple(names),
        None if classes is None else classes[chosen],
        lambda index: source.read(names[index]),
    )


def _spread(count: int, limit: int | None) -> NDArray[np.int64]:
    """Indices of at most ``limit`` of ``count`` things, evenly spaced."""
    taken = count if limit is None else min(limit, count)
    return np.arange(taken, dtype=np.int64) * count // taken


def _decode(data: bytes, shape: Shape, preprocess: Preprocess) -> Pixels:
    height, width, channels = shape
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        picture = _flat(_upright(opened), "L" if channels == 1 else "RGB")
    resized = np.asarray(_resize(picture, (width, height), preprocess.resize), np.uint8)
    return _ordered(resized.reshape(height, width, channels), preprocess)


def some(names: Sequence[str], separator: str = ", ") -> str:
    """The first of many names, for a message."""
    more = f"{separator}..." if len(names) > _SHOWN else ""
    return separator.join(names[:_SHOWN]) + more


def is_transparent(picture: Encoded | ThumbnetError) -> bool:
    """True if a picture, one that can be decoded, lets something through."""
    if not isinstance(picture, bytes):
        return False
    with Image.open(io.BytesIO(picture)) as opened:
        if opened.mode not in _ALPHA and "transparency" not in opened.info:
            return False
        alpha = opened.convert("RGBA").getchannel("A").getextrema()
    return bool(alpha != (255, 255))


def is_smaller(picture: Encoded | ThumbnetError, shape: Shape) -> bool:
    """True if a picture, one that can be decoded, has fewer rows or columns than ``shape``."""
    if isinstance(picture, bytes):
        with Image.open(io.BytesIO(picture)) as opened:
            width, height = opened.size
    else:
        assert not isinstance(picture, ThumbnetError)  # it would not have been decoded
        height, width = picture.shape[:2]
    return bool(height < shape[0] or width < shape[1])


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture) or picture
    except Exception:
        return picture  # Damaged EXIF data says nothing of the orientation.


def _flat(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in 8 bits a channel, RGB or L, without transparency."""
    if picture.mode == "F":
        raise ValueError("floating-point pixels")
    if picture.mode.startswith("I"):
        # 16-bit grey; like Pillow does for 16-bit colour, the upper byte is kept.
        upper = np.clip(np.asarray(picture).astype(np.int64), 0, 65535) >> 8
        picture = Image.fromarray(upper.astype(np.uint8))
    elif picture.mode in _ALPHA or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, _BLACK), picture)
    return picture.convert("RGB").convert(mode) if picture.mode != mode else picture


def _resize(picture: Image.Image, size: tuple[int, int], rule: str) -> Image.Image:
    """Applies a resize rule; ``size`` is (width, height). The right size is taken as it is."""
    bilinear = Image.Resampling.BILINEAR
    if picture.size == size:
        return picture
    if rule == "stretch":
        return picture.resize(size, bilinear)
    around = [round(n / CROP_SHARE) for n in size]
    scale = max(a / n for a, n in zip(around, picture.size, strict=True))
    scaled = tuple(max(a, round(n * scale)) for a, n in zip(around, picture.size, strict=True))
    if scaled != picture.size:
        picture = picture.resize((scaled[0], scaled[1]), bilinear)
    left, top = ((n - s) // 2 for n, s in zip(scaled, size, strict=True))
    return picture.crop((left, top, left + size[0], top + size[1]))


def _ordered(pixels: Pixels, preprocess: Preprocess) -> Pixels:
    return pixels[..., ::-1] if preprocess.channels == "BGR" else pixels


def _from_npz(
    path: Path,
    shape: Shape,
    preprocess: Preprocess,
    limit: int | None,
    options: LabelOptions | None,
) -> Pictures:
    arrays = read_npz(path, ("images", "labels") if options else ("images",))
    if "images" not in arrays:
        raise ThumbnetError(
            f"{path}: has no array 'images'; save uint8 [N, H, W, C] pictures with "
            "np.savez(file, images=pictures, labels=classes)"
        )
    images = arrays["images"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != shape[2]:
        raise ThumbnetError(
            f"{path}: 'images' is {images.dtype} {list(images.shape)}, but the network takes "
            f"uint8 [N, H, W, {shape[2]}] pixels of 0..255"
        )
    if 0 in images.shape:
        raise ThumbnetError(f"{path}: 'images' {list(images.shape)} holds no pictures")
    classes = arrays.get("labels")
    if classes is not None and (
        classes.dtype.kind not in "iu" or classes.shape != images.shape[:1]
    ):
        raise ThumbnetError(
            f"{path}: 'labels' is {classes.dtype} {list(classes.shape)}, but there must be one "
            f"whole number for each of the {len(images)} pictures"
        )
    chosen = _spread(len(images), limit)
    numbers = None
    if classes is not None and options is not None:
        numbers = shifted(classes.astype(np.int64), options, str(path))[chosen]
    return Pictures(
        str(path),
        shape,
        preprocess,
        tuple(f"{path.name}[{i}]" for i in chosen),
        numbers,
        lambda index: np.asarray(images[chosen[index]]),
    )


def _fit(image: Pixels, shape: Shape, rule: str) -> Pixels:
    """A picture of an npz in the network's size, by the rule for files, channel by channel."""
    height, width, channels = shape
    if image.shape == shape:
        return image
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(channels)]
    return np.stack([np.asarray(_resize(p, (width, height), rule)) for p in planes], axis=-1)
