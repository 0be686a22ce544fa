"""A light sheet that is readable on a phone, on a dark page too, and the file that it becomes."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from trainmaster.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTH_IN: Final = 5.4
DPI: Final = 200
"""1,080 pixels wide: three for each of a phone's 360, so that 11 points are read as 10 pixels there."""
MAX_FILE_BYTES: Final = 2 * 2**20
_MIN_DPI: Final = 60

INK: Final = "#1d2733"
PALE: Final = "#9aa5b1"
GRID: Final = "#e4e8ec"
BAD: Final = "#c62828"
CLIP: Final = "#b26a00"
BACK: Final = "#6a3fb5"
PARTS: Final = ("#0b67a3", "#c2570c", "#2b7a3f", "#8a4f9e", "#5f6b76", "#a3195b")
"""Six hues that differ in lightness as well, so that they can be told apart without colours."""
MARKS: Final = ("-", "--", "-.", ":", "-", "--")

_STYLE: Final[dict[str, Any]] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
    "path.simplify": True,
}
_MAX_TITLE: Final = 44


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Within, matplotlib draws into memory alone, in this house's style; fonts that lack a letter are no news."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib as mpl  # noqa: PLC0415 - the one thing that takes a second; nothing else of a command needs it

    mpl.use("Agg", force=True)
    mpl.set_loglevel("ERROR")
    with warnings.catch_warnings(), mpl.rc_context(cast("Any", _STYLE)):
        warnings.simplefilter("ignore")
        yield


def new_figure(height_in: float, heights: tuple[float, ...]) -> tuple[Figure, list[Axes]]:
    """A sheet with panels one below the other, of those relative heights, over one axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout=layout())
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(axes[:, 0])


def head(figure: Figure, name: str, what: str) -> None:
    """The name of the run on the left and what is shown on the right, each a text of its own, as a name that is read
    from the right would turn the other round."""
    figure.suptitle(short(name, 30), x=0.02, ha="left", fontsize=13, fontweight="bold")
    figure.text(0.98, 0.985, what, ha="right", va="top", fontsize=11, fontweight="bold")


def layout() -> ConstrainedLayoutEngine:
    """Panels side by side without touching, nor the sheet's edge."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine as Engine  # noqa: PLC0415 - as above

    return Engine(w_pad=0.09, h_pad=0.05)


def save(figure: Figure, path: Path) -> tuple[int, int, int]:
    """``path`` holds the picture, at most :data:`MAX_FILE_BYTES` large; its width, height and bytes.

    Raises:
        OSError: it can't be written.
        ValueError: it does not get small enough.
    """
    dpi = DPI
    while True:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=dpi, metadata={"Software": "Trainmaster"})
        data = content.getvalue()
        if len(data) <= MAX_FILE_BYTES:
            break
        dpi = dpi * 3 // 4
        if dpi < _MIN_DPI:
            raise ValueError(f"the picture has {len(data)} bytes, more than {MAX_FILE_BYTES}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))  # the PNG's header chunk
    return width, height, len(data)


def short(text: str, most: int = _MAX_TITLE) -> str:
    """Foreign text for a picture: nothing that turns the rest of the line round, letters that the font has, and the
    middle left out of what is long."""
    told = "".join(letter if _has(letter) else "□" for letter in visible(text).replace("\n", " "))
    return told if len(told) <= most else f"{told[: most - most // 3 - 1]}…{told[-(most // 3) :]}"


def _has(letter: str) -> bool:
    from matplotlib import font_manager  # noqa: PLC0415 - as above

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return font.get_char_index(ord(letter)) != 0
