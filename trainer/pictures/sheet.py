"""The images of a bad batch on one sheet, with their boxes, the suspect marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.container import DamageError, content_of, open_container
from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.checkpoints.pickle_walk import walk
from trainmaster.trainer.checkpoints.pickled import Tensor, WalkError
from trainmaster.trainer.checkpoints.plain_file import opened_plain
from trainmaster.trainer.contract import RunLayout, read_json
from trainmaster.trainer.pictures import canvas
from trainmaster.trainer.pictures.canvas import BAD, INK, PALE, PARTS
from trainmaster.trainer.pictures.story import BadBatch, Story
from trainmaster.trainer.pictures.words import MAX_ALT_CHARS
from trainmaster.visible import visible_line

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_TILES: Final = 12
_COLUMNS: Final = 3
_TILE_PX: Final = 340
_MAX_BOXES: Final = 60
_MAX_NAMED: Final = 4
_DTYPES: Final = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "ByteStorage": "u1",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One image as the model got it. ``pixels`` is (H, W, 3) from 0 to 1, None where it can't be read; ``boxes`` are
    (x, y, width, height) from 0 to 1, the centre first."""

    name: str
    pixels: Any
    boxes: tuple[tuple[float, float, float, float], ...]
    suspect: bool
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A bad batch for people."""

    incident: str
    bad: BadBatch
    cause: str
    tiles: tuple[Tile, ...]
    num_images: int


def read_sheet(root: Path, incident: str) -> Sheet:
    """What was kept of the bad batch ``incident``; images that can't be read are tiles that say so.

    Raises:
        ArgumentsError: there is no such incident; names those there are.
    """
    folder = RunLayout(root).incidents / incident
    record = read_json(folder / "incident.json") if incident.isdigit() else None
    if record is None:
        known = sorted(path.name for path in RunLayout(root).incidents.glob("[0-9]*"))
        raise ArgumentsError(
            f"there is no incident {incident[:40]!r}", f"there are: {', '.join(known[-12:]) or 'none'}"
        )
    names, suspects = _names_of(record), _suspects_of(record)
    tiles = _from_batch(folder / "batch.pt", names, suspects)
    num_images = len(tiles) or _whole(record.get("images_in_batch"))
    tiles = tiles or _from_copies(folder, record, suspects)
    ordered = sorted(tiles, key=lambda tile: not tile.suspect)
    return Sheet(
        incident=incident,
        bad=BadBatch(
            attempt=_whole(record.get("attempt")) or 1,
            epoch=_whole(record.get("epoch")),
            batch=_whole(record.get("batch")),
            reason=str(record.get("reason") or ""),
            drill=record.get("drill") is True,
        ),
        cause=str(record.get("cause") or ""),
        tiles=tuple(ordered[:MAX_TILES]),
        num_images=num_images or len(tiles),
    )


def sheet_figure(sheet: Sheet, story: Story) -> Figure:
    """The sheet, suspects first and framed in red."""
    rows = max(1, math.ceil(len(sheet.tiles) / _COLUMNS))
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - with the rest of matplotlib
    from matplotlib.figure import Figure as NewFigure  # noqa: PLC0415 - with the rest of matplotlib

    figure = NewFigure(figsize=(canvas.WIDTH_IN, 0.8 + 2.05 * rows), dpi=canvas.DPI, layout=canvas.layout())
    FigureCanvasAgg(figure)
    drill = ", a drill" if sheet.bad.drill else ""
    canvas.head(figure, story.name, f"epoch {sheet.bad.epoch}, batch {sheet.bad.batch:,}{drill}")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for place, one in zip(axes, (*sheet.tiles, *[None] * (len(axes) - len(sheet.tiles))), strict=True):
        place.set_axis_off()
        if one is not None:
            _draw(place, one)
    left_out = sheet.num_images - len(sheet.tiles)
    note = f"{left_out} more not shown. " if left_out > 0 else ""
    boxes = "Boxes are the labels as trained on." if any(tile.boxes for tile in sheet.tiles) else ""
    figure.supxlabel(f"{note}{boxes}".strip() or " ", fontsize=9, color=INK, x=0.02, ha="left")
    return figure


def sheet_text(sheet: Sheet, story: Story) -> str:
    """The sheet in words; whether it was a spike is told beside the curves that show it."""
    suspects = [canvas_name(tile.name) for tile in sheet.tiles if tile.suspect]
    unread = sum(tile.pixels is None for tile in sheet.tiles)
    parts = [
        f"The {sheet.num_images} images of bad batch {sheet.bad.batch:,} in epoch {sheet.bad.epoch} of {story.name}.",
        f"Suspected: {some(suspects, _MAX_NAMED)}." if suspects else "No single image is suspected.",
        *([f"Cause as far as one look tells: {sheet.cause}."] if sheet.cause else []),
        *([f"{unread} can't be read."] if unread else []),
        *(["It was a drill."] if sheet.bad.drill else []),
    ]
    return " ".join(parts)[:MAX_ALT_CHARS]


def canvas_name(name: str) -> str:
    """A file's own name, short."""
    return canvas.cut(visible_line(PurePath(name).name), 40)


def _draw(axes: Axes, tile: Tile) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - with the rest of matplotlib

    if tile.pixels is None:
        height = width = 100
        axes.add_patch(Rectangle((0, 0), 100, 100, facecolor="#eef1f4", edgecolor=PALE, hatch="//"))
        axes.text(
            50,
            50,
            tile.why or "can't be read",
            ha="center",
            va="center",
            fontsize=9,
            wrap=True,
            backgroundcolor="white",
        )
        axes.set_xlim(-2, 102)
        axes.set_ylim(102, -2)
        axes.set_aspect("equal")
    else:
        height, width = tile.pixels.shape[:2]
        axes.imshow(tile.pixels, interpolation="nearest", vmin=0, vmax=1)
        for x, y, w, h in tile.boxes[:_MAX_BOXES]:
            corner = ((x - w / 2) * width, (y - h / 2) * height)
            axes.add_patch(Rectangle(corner, w * width, h * height, fill=False, edgecolor="white", linewidth=2.2))
            axes.add_patch(Rectangle(corner, w * width, h * height, fill=False, edgecolor=PARTS[0], linewidth=1.1))
        if tile.why:
            axes.text(
                width / 2,
                height * 0.94,
                tile.why,
                ha="center",
                va="center",
                fontsize=9,
                color=INK,
                backgroundcolor="white",
            )
    if tile.suspect:
        axes.add_patch(Rectangle((0, 0), width - 1, height - 1, fill=False, edgecolor=BAD, linewidth=4, clip_on=False))
    label = ("SUSPECT " if tile.suspect else "") + canvas.short(PurePath(tile.name).name, 14 if tile.suspect else 20)
    axes.set_title(
        label, fontsize=8.5, fontweight="bold" if tile.suspect else "normal", color=BAD if tile.suspect else INK
    )


def _from_batch(path: Path, names: Sequence[str], suspects: frozenset[int]) -> list[Tile]:
    """The images of the batch as trained on; empty when the file can't be read without torch."""
    import numpy as np  # noqa: PLC0415 - with the rest of matplotlib

    try:
        with opened_plain(path) as stream:
            entries = open_container(content_of(stream)).entries
        batch = walk(bytes(entries["data.pkl"])).value
        images = _array(batch.get("img"), entries)
        boxes, owners = (_array(batch.get(key), entries) for key in ("bboxes", "batch_idx"))
    except (OSError, DamageError, WalkError, KeyError, AttributeError, ValueError, TypeError):
        return []
    if images is None or images.ndim != 4:
        return []
    listed = batch.get("im_file")
    names = [str(name) for name in listed] if isinstance(listed, list) and listed else list(names)
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    tiles = []
    for number, image in enumerate(images):
        pixels, why = _pixels(image, scale)
        mine = () if boxes is None or owners is None or len(boxes) != len(owners) else boxes[owners.ravel() == number]
        tiles.append(
            Tile(
                name=names[number] if number < len(names) else f"image {number + 1}",
                pixels=pixels,
                boxes=tuple(
                    (float(x), float(y), float(w), float(h))
                    for x, y, w, h in (box for box in mine if len(box) == 4 and np.isfinite(box).all())
                ),
                suspect=number in suspects,
                why=why,
            )
        )
    return tiles


def _pixels(image: np.ndarray, scale: float) -> tuple[np.ndarray, str]:
    """(H, W, 3) from 0 to 1; pixels that are no numbers are light grey, and how many is said."""
    import numpy as np  # noqa: PLC0415 - with the rest of matplotlib

    step = max(1, max(image.shape[1:]) // _TILE_PX)
    small = np.moveaxis(image[:, ::step, ::step].astype(np.float32) / scale, 0, -1)
    small = small[..., :3] if small.shape[-1] >= 3 else np.repeat(small[..., :1], 3, axis=-1)
    odd = ~np.isfinite(small)
    share = float(odd.any(axis=-1).mean())
    why = "" if not share else "all pixels NaN" if share > 0.999 else f"{100 * share:.2g} % of pixels NaN"
    return np.clip(np.where(odd, 0.9, small), 0.0, 1.0), why


def _array(tensor: object, entries: Mapping[str, memoryview]) -> np.ndarray | None:
    """The numbers of a contiguous tensor; None of anything else."""
    import numpy as np  # noqa: PLC0415 - with the rest of matplotlib

    if not isinstance(tensor, Tensor) or tensor.storage.type_name not in _DTYPES:
        return None
    flat = np.frombuffer(entries[f"data/{tensor.storage.key}"], dtype=_DTYPES[tensor.storage.type_name])
    count = math.prod(tensor.shape)
    return flat[tensor.offset : tensor.offset + count].reshape(tensor.shape)


def _from_copies(folder: Path, record: Mapping[str, Any], suspects: frozenset[int]) -> list[Tile]:
    """The files that were copied beside the record, and those that could not be."""
    names = _names_of(record)
    listed = record.get("copied")
    copied = [str(name) for name in listed] if isinstance(listed, list) else []
    files = dict(zip(copied, sorted(folder.glob("images/*")), strict=False))
    tiles = []
    for number, name in enumerate(dict.fromkeys((*names, *copied))):
        pixels = _read(files[name]) if name in files else None
        why = "" if pixels is not None else "can't be read" if name in files else "no copy was kept"
        tiles.append(Tile(name=name, pixels=pixels, boxes=(), suspect=number in suspects, why=why))
    return tiles


def _read(path: Path) -> Any:
    import numpy as np  # noqa: PLC0415 - with the rest of matplotlib
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib

    try:
        with Image.open(path) as image:
            image.thumbnail((_TILE_PX, _TILE_PX))
            return np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0
    except Exception:  # noqa: BLE001 - a torn file; where Ultralytics is loaded its hook in Pillow raises its own
        return None


def _names_of(record: Mapping[str, Any]) -> list[str]:
    listed = record.get("images")
    return [str(name) for name in listed] if isinstance(listed, list) else []


def _suspects_of(record: Mapping[str, Any]) -> frozenset[int]:
    """Places in the batch of the images, and of the labels, that could not be trained on."""
    lists = (record.get(key) for key in ("bad_images", "badly_labelled"))
    return frozenset(one for listed in lists if isinstance(listed, list) for one in listed if isinstance(one, int))


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
