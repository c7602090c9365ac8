"""Draw the figure of the analysis with nothing but numpy.

The example shall run with what a site's modules offer, and a plotting library is often not among it.
Positions are in pixels from the top left corner.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float64]
    ByteArray: TypeAlias = npt.NDArray[np.uint8]
    Colour: TypeAlias = tuple[int, int, int]

WIDTH, HEIGHT = 900, 640

INK: Colour = (45, 52, 60)
FRAME: Colour = (130, 138, 148)
GRID: Colour = (228, 232, 236)
SERIES: Colour = (33, 102, 172)
SHADE: Colour = (205, 222, 240)
MARK: Colour = (203, 75, 22)
MARK_SHADE: Colour = (251, 229, 214)

# From the space to the tilde: five columns a character, two hex digits each, the top dot in the lowest bit.
FONT = bytes.fromhex(
    """
    0000000000 00005F0000 0007000700 147F147F14 242A7F2A12 2313086462 3649552250 0000070000 001C224100
    0041221C00 14083E0814 08083E0808 00A0600000 0808080808 0060600000 2010080402 3E5149453E 00427F4000
    4261514946 2141454B31 1814127F10 2745454539 3C4A494930 0171090503 3649494936 064949291E 0036360000
    00B6760000 0814224100 1414141414 0041221408 0201510906 324979413E 7E1111117E 7F49494936 3E41414122
    7F4141221C 7F49494941 7F09090901 3E4149497A 7F0808087F 00417F4100 2040413F01 7F08142241 7F40404040
    7F020C027F 7F0408107F 3E4141413E 7F09090906 3E4151215E 7F09192946 4649494931 01017F0101 3F4040403F
    1F2040201F 3F4038403F 6314081463 0708700807 6151494543 007F414100 0204081020 0041417F00 0402010204
    8080808080 0001020400 2054545478 7F48444438 3844444420 384444487F 3854545418 087E090102 18A4A4A47C
    7F08040478 00447D4000 4080847D00 7F10284400 00417F4000 7C04180478 7C08040478 3844444438 FC44444438
    38444444FC 7C08040408 4854545420 043F444020 3C4040207C 1C2040201C 3C4030403C 4428102844 1CA0A0A07C
    4464544C44 0008364100 00007F0000 0041360800 0804080810
    """
)
GLYPHS = {chr(32 + place): FONT[5 * place : 5 * place + 5] for place in range(len(FONT) // 5)}
GLYPHS["±"] = bytes.fromhex("44445F4444")
GLYPH_COLUMNS, GLYPH_ROWS = 6, 8  # with the gap to the next character, and with the row below the base line


def png(image: ByteArray, texts: Mapping[str, str]) -> bytes:
    """Return the content of a PNG file.

    image: rows of pixels of red, green and blue, 0 to 255.
    texts: what the file says of itself, by keyword; ASCII.
    """
    height, width, _ = image.shape
    filters = np.zeros((height, 1), dtype=np.uint8)
    lines = np.hstack([filters, image.reshape(height, width * 3)]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    said = [(b"tEXt", f"{keyword}\0{text}".encode("ascii")) for keyword, text in texts.items()]
    parts = [(b"IHDR", header), *said, (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


class Canvas:
    """A white image to draw on, with smooth edges."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels = np.full((height, width, 3), 255.0)

    def image(self) -> ByteArray:
        """Return rows of pixels of red, green and blue, 0 to 255."""
        return np.rint(self.pixels).astype(np.uint8)

    def blend(self, coverage: FloatArray, colour: Colour, left: int = 0, top: int = 0) -> None:
        """Lay a colour over a part of the image; what lies outside is cut off.

        coverage: how much of each pixel it takes, 0 to 1.
        left, top: the corner of that part.
        """
        coverage = coverage[max(-top, 0) :, max(-left, 0) :]
        part = self.pixels[max(top, 0) :, max(left, 0) :][: coverage.shape[0], : coverage.shape[1]]
        coverage = coverage[: part.shape[0], : part.shape[1], np.newaxis]
        part += coverage * (np.array(colour, dtype=np.float64) - part)

    def rectangle(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Fill a rectangle; right and bottom lie outside."""
        self.pixels[top:bottom, left:right] = colour

    def polyline(self, x: FloatArray, y: FloatArray, colour: Colour, width: float) -> None:
        """Draw a line through points.

        width: in pixels.
        """
        coverage = np.zeros(self.pixels.shape[:2])
        reach = width / 2 + 1
        for x0, y0, x1, y1 in zip(x[:-1], y[:-1], x[1:], y[1:], strict=True):
            rows = slice(max(math.floor(min(y0, y1) - reach), 0), math.ceil(max(y0, y1) + reach) + 1)
            columns = slice(max(math.floor(min(x0, x1) - reach), 0), math.ceil(max(x0, x1) + reach) + 1)
            part = coverage[rows, columns]
            right = columns.start + np.arange(part.shape[1]) - x0
            below = rows.start + np.arange(part.shape[0])[:, np.newaxis] - y0
            dx, dy = x1 - x0, y1 - y0
            along = np.clip((right * dx + below * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
            distance = np.hypot(right - along * dx, below - along * dy)
            np.maximum(part, np.clip(width / 2 + 0.5 - distance, 0, 1), out=part)
        self.blend(coverage, colour)

    def shade(self, x: FloatArray, y: FloatArray, base: int, colour: Colour) -> None:
        """Fill the area between a curve and a horizontal line below it.

        x: growing.
        base: the line's y.
        """
        height, width = self.pixels.shape[:2]
        columns = np.arange(width)
        rows = np.arange(height)[:, np.newaxis]
        coverage = np.clip(rows - np.interp(columns, x, y) + 0.5, 0, 1)
        self.blend(coverage * (rows < base) * (columns >= x[0]) * (columns <= x[-1]), colour)

    def dot(self, x: float, y: float, colour: Colour, radius: float) -> None:
        """Fill a disc.

        radius: in pixels.
        """
        self.polyline(np.array([x, x]), np.array([y, y]), colour, 2 * radius)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: Colour = INK,
        *,
        align: float = 0.5,
        scale: int = 2,
        bold: bool = False,
        upward: bool = False,
    ) -> None:
        """Write a line of text.

        x, y: the point at which the text stands: at half its height, and along it where align says.
        align: 0 for a text that begins there, 0.5 for one centred, 1 for one that ends there.
        scale: pixels for each dot of the font.
        upward: turned to be read from below.
        """
        dots = np.zeros((GLYPH_ROWS, GLYPH_COLUMNS * len(text)))
        for place, character in enumerate(text):
            for column, bits in enumerate(GLYPHS.get(character, GLYPHS["?"]), start=GLYPH_COLUMNS * place):
                dots[:, column] = [bits >> row & 1 for row in range(GLYPH_ROWS)]
        stencil: FloatArray = dots.repeat(scale, axis=0).repeat(scale, axis=1)
        if bold:
            stencil[:, 1:] = np.maximum(stencil[:, 1:], stencil[:, :-1])
        left, top = x - align * stencil.shape[1], y - stencil.shape[0] / 2
        if upward:
            left, top = x - stencil.shape[0] / 2, y - (1 - align) * stencil.shape[1]
            stencil = np.rot90(stencil)
        self.blend(stencil, colour, round(left), round(top))


@dataclass(frozen=True)
class Panel:
    """A rectangle of a canvas with the ranges of its two axes."""

    canvas: Canvas
    left: int
    top: int
    right: int
    bottom: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: npt.ArrayLike) -> FloatArray:
        """Return where values of the horizontal axis lie, in pixels; those outside lie on its ends."""
        return np.interp(np.asarray(value, dtype=np.float64), self.x_range, (self.left, self.right))

    def y(self, value: npt.ArrayLike) -> FloatArray:
        """Return where values of the vertical axis lie, in pixels; those outside lie on its ends."""
        return np.interp(np.asarray(value, dtype=np.float64), self.y_range, (self.bottom, self.top))

    def axes(self, x_label: str, y_label: str) -> None:
        """Draw grid, frame, ticks and labels."""
        for value in ticks(*self.x_range, most=8):
            place = round(float(self.x(value)))
            self.canvas.rectangle(place, self.top, place + 1, self.bottom, GRID)
            self.canvas.rectangle(place, self.bottom, place + 1, self.bottom + 6, FRAME)
            self.canvas.text(place, self.bottom + 20, f"{value:g}")
        for value in ticks(*self.y_range, most=6):
            place = round(float(self.y(value)))
            self.canvas.rectangle(self.left, place, self.right, place + 1, GRID)
            self.canvas.rectangle(self.left - 6, place, self.left, place + 1, FRAME)
            self.canvas.text(self.left - 10, place, f"{value:g}", align=1)
        self.canvas.rectangle(self.left, self.top, self.left + 1, self.bottom, FRAME)
        self.canvas.rectangle(self.left, self.bottom, self.right + 1, self.bottom + 1, FRAME)
        self.canvas.text((self.left + self.right) / 2, self.bottom + 46, x_label)
        self.canvas.text(20, (self.top + self.bottom) / 2, y_label, upward=True)

    def curve(self, x: FloatArray, y: FloatArray) -> None:
        """Draw a curve, the area below it shaded.

        x: growing.
        """
        self.canvas.shade(self.x(x), self.y(y), self.bottom, SHADE)
        self.canvas.polyline(self.x(x), self.y(y), SERIES, 1.8)

    def dashes(self, x: FloatArray, y: FloatArray) -> None:
        """Draw a dashed curve.

        x: growing.
        """
        places, heights = self.x(x), self.y(y)
        for start in np.arange(places[0], places[-1], 14):
            ends = np.array([start, min(start + 8, places[-1])])
            self.canvas.polyline(ends, np.interp(ends, places, heights), MARK, 2)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round values from low to high.

    most: of the steps between them.
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    # Rounding first, as 0.3 / 0.1 is a little less than 3.
    first, last = math.ceil(round(low / step, 9)), math.floor(round(high / step, 9))
    return [place * step for place in range(first, last + 1)]


def figure(
    years: FloatArray,
    numbers: FloatArray,
    trend: FloatArray,
    periods: FloatArray,
    power: FloatArray,
    peak: tuple[float, float],
    uncertainty: float,
    texts: Mapping[str, str],
) -> bytes:
    """Return a PNG file's content: the series above, its periodogram below.

    years, numbers, trend: the series and the line taken from it.
    periods, power: the periodogram; periods in years, falling.
    peak: period, in years, and power of the highest peak.
    uncertainty: of that period, in years.
    texts: what the file says of itself, by keyword.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.text(WIDTH / 2 + 30, 24, "The solar cycle in yearly sunspot numbers", bold=True)

    first, last = float(years[0]), float(years[-1])
    lowest, largest = min(float(numbers.min()), 0), float(numbers.max())
    series = Panel(canvas, 92, 52, 876, 262, (first, last), (lowest, largest + 0.06 * (largest - lowest)))
    series.axes("Year", "Sunspot number")
    series.curve(years, numbers)
    series.dashes(years, trend)
    canvas.text(series.left + 12, series.top + 14, "- - linear trend", MARK, align=0)

    period, highest = peak
    longest = 10 * math.ceil(period / 5)
    spectrum = Panel(canvas, 92, 352, 876, 572, (0, longest), (0, highest * 1.12))
    edges = spectrum.x([period - uncertainty, period + uncertainty])
    canvas.rectangle(round(edges[0]), spectrum.top, round(edges[1]) + 1, spectrum.bottom, MARK_SHADE)
    spectrum.axes("Period in years", "Lomb-Scargle power")
    shown = periods[::-1] <= longest
    spectrum.curve(periods[::-1][shown], power[::-1][shown])
    x, y = float(spectrum.x(period)), float(spectrum.y(highest))
    canvas.dot(x, y, MARK, 5)
    canvas.text(float(edges[1]) + 12, y, f"{period:.2f} ± {uncertainty:.2f} years", MARK, align=0, bold=True)
    return png(canvas.image(), texts)
