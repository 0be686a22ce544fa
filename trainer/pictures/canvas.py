"""A light sheet that is readable on a phone, on a dark page too, and the file that it becomes."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from trainmaster.trainer.pictures.words import plain
from trainmaster.visible import visible_line

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
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
    "path.simplify": True,
}
_MAX_TITLE: Final = 44
_LEAST_PT: Final = 6.0
_TICK_DIGITS: Final = 6
_MAX_FONTS: Final = 400
"""Of the machine's own that are looked through for a letter that matplotlib's does not have."""
_NO_LETTERS: Final = re.compile(r"cm[a-z]+10|STIX(NonUni|Size)|Last Resort|DejaVu|Emoji", re.IGNORECASE)
"""Fonts of symbols, of boxes, and of pictures in colours, which matplotlib does not draw."""
_TOWARDS_LEFT: Final = frozenset({"R", "AL"})
_WORDS: Final = re.compile(r"\s+|\S+")


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
    title = figure.suptitle(short(name, 30), x=0.02, ha="left", fontsize=13, fontweight="bold")
    right = figure.text(0.98, 0.985, what, ha="right", va="top", fontsize=11, fontweight="bold")
    room = 0.92 * figure.bbox.width - right.get_window_extent().width
    size_pt = 13.0
    while title.get_window_extent().width > room and size_pt > _LEAST_PT:
        size_pt -= 0.5
        title.set_fontsize(size_pt)


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
    plain_ticks(figure)
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
    target = path.resolve()  # of a link, what it leads to; the link stays
    if target.exists() and not target.is_file():
        # A device: another file in its place would be the end of it for everybody.
        target.write_bytes(data)
    else:
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))  # the PNG's header chunk
    return width, height, len(data)


def plain_ticks(figure: Figure) -> None:
    """Every number at an axis is plain text, on a logarithmic one too: matplotlib's own writes formulas there, which
    stand as they are as names are no formulas either."""
    from matplotlib.ticker import NullFormatter  # noqa: PLC0415 - as above

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: plain(value, _TICK_DIGITS))
            axis.set_minor_formatter(NullFormatter())


def short(text: str, most: int = _MAX_TITLE) -> str:
    """Foreign text for a picture: nothing that turns the rest of the line round, letters that a font here has and the
    others by their number, and the middle left out of what is long."""
    letters = [letter if _drawable(letter) else f"⟨U+{ord(letter):04X}⟩" for letter in visible_line(text)]
    return _directed(_cut(letters, most))


def cut(text: str, most: int) -> str:
    """``text`` with its middle left out where it is long."""
    return _cut(list(text), most)


def _cut(letters: list[str], most: int) -> str:
    """At most ``most`` characters; what stands for a letter is left out as a whole."""
    if sum(map(len, letters)) <= most:
        return "".join(letters)
    return f"{_start(letters, most - most // 3 - 1)}…{_start(letters[::-1], most // 3, turned=True)}"


def _start(letters: list[str], most: int, *, turned: bool = False) -> str:
    kept: list[str] = []
    for letter in letters:
        most -= len(letter)
        if most < 0:
            break
        kept.append(letter)
    return "".join(kept[::-1] if turned else kept)


def _directed(text: str) -> str:
    """``text`` as matplotlib draws it in the right direction, word by word. From 3.11 on it orders letters as browsers
    do, where beside Hebrew the sign before ``$x^2$`` would leave its word: such words are set apart. Before, it knows
    one direction only, and gets the letters in the order in which they are seen."""
    ways = [unicodedata.bidirectional(letter) for letter in text]
    if not _TOWARDS_LEFT.intersection(ways):
        return text
    words = _WORDS.findall(text)
    if _orders_letters():
        return "".join(word if word.isspace() or _turned(word) else f"\u2066{word}\u2069" for word in words)
    begins_right = next((way in _TOWARDS_LEFT for way in ways if way in _TOWARDS_LEFT or way == "L"), False)
    seen = [word[::-1] if _turned(word) else word for word in words]
    return "".join(seen[::-1] if begins_right else seen)


def _turned(word: str) -> bool:
    return any(unicodedata.bidirectional(letter) in _TOWARDS_LEFT for letter in word)


def _orders_letters() -> bool:
    from matplotlib import ft2font  # noqa: PLC0415 - as above

    return hasattr(ft2font, "__libraqm_version__")


def _drawable(letter: str) -> bool:
    """Whether a font here has it; from then on that one is used for it."""
    import matplotlib as mpl  # noqa: PLC0415 - as above

    font = _font_for(letter)
    if font and font not in mpl.rcParams["font.family"]:
        mpl.rcParams["font.family"] = [*mpl.rcParams["font.family"], font]
    return font is not None


@functools.cache
def _font_for(letter: str) -> str | None:
    """matplotlib's own where that has it, else the first of the machine's."""
    from matplotlib import font_manager  # noqa: PLC0415 - as above

    own = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    if own.get_char_index(ord(letter)):
        return "DejaVu Sans"
    if not hasattr(font_manager.FontManager, "_find_fonts_by_props"):  # before 3.6 a text has one font
        return None
    others = [one for one in font_manager.fontManager.ttflist if not _NO_LETTERS.search(one.name)]
    for one in sorted(others, key=lambda one: (one.style != "normal", one.weight != 400, one.name))[:_MAX_FONTS]:
        with contextlib.suppress(OSError, RuntimeError):  # a font that was removed, or that is torn
            if font_manager.get_font(one.fname).get_char_index(ord(letter)):
                return str(one.name)
    return None
