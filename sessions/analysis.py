"""Find the period of the solar cycle in the yearly sunspot numbers.

The period is where the Lomb-Scargle power of the detrended series is highest. Its uncertainty is the
standard deviation of that period over a moving-block bootstrap (blocks of three cycles, fixed seed): unlike
the width of the peak it includes that the Sun is no clock, single cycles last 9 to 14 years. Welch's method
is the cross-check.

Writes analysis.json and analysis.png. Where ozrepro records the run, both name its record: `ozrepro record show FILE`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import astropy
import numpy as np
import scipy
from analysis_plot import figure
from astropy.timeseries import LombScargle
from scipy import optimize, signal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float64]

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT / "sessions" / "data" / "sunspots.csv"
COLUMNS = ("YEAR", "SUNACTIVITY")
FEWEST_YEARS = 50
SHORTEST, LONGEST = 2.0, 100.0  # years; two is the shortest period that yearly numbers can show
RESAMPLES = 200
SEED = 1700


def read(path: Path) -> tuple[FloatArray, FloatArray]:
    """Return the years and their sunspot numbers.

    path: CSV file with the columns YEAR and SUNACTIVITY, one line a year without gaps.
    """
    rows: list[list[float]] = []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        header = reader.fieldnames or []
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            found = ", ".join(header) or "nothing"
            raise ValueError(f"{path}: no column {' and '.join(missing)}; found: {found}")
        for row in reader:
            where = f"{path}: line {reader.line_num}"
            rows.append([number(row[column], f"{where}: {column}") for column in COLUMNS])
            if len(rows) > 1 and rows[-1][0] != rows[-2][0] + 1:
                raise ValueError(f"{where}: YEAR is {rows[-1][0]:g} after {rows[-2][0]:g}; no gap is allowed")
    if len(rows) < FEWEST_YEARS:
        raise ValueError(f"{path}: {len(rows)} years; at least {FEWEST_YEARS} are needed")
    table = np.array(rows, dtype=np.float64)
    if np.ptp(table[:, 1]) == 0:
        raise ValueError(f"{path}: SUNACTIVITY never changes")
    return table[:, 0], table[:, 1]


def number(text: str | None, where: str) -> float:
    """Return the finite number that text stands for.

    where: file, line and column, for the message.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where} is {text!r}, not a finite number")
    return value


def power(years: FloatArray, values: FloatArray, frequency: FloatArray) -> FloatArray:
    """Return the Lomb-Scargle power, 0 to 1.

    frequency: cycles per year.
    """
    # The default method approximates, and not alike in every astropy; this one does not.
    return np.asarray(LombScargle(years, values).power(frequency, method="cython"), dtype=np.float64)


def frequencies(shortest: float, longest: float, years: float, oversampling: int) -> FloatArray:
    """Return an even grid of frequencies, in cycles per year.

    shortest, longest: periods at the ends, in years.
    years: length of the series; a peak is about 1/years wide.
    oversampling: grid points per such width.
    """
    lowest, highest = 1 / longest, 1 / shortest
    return np.linspace(lowest, highest, math.ceil((highest - lowest) * years * oversampling) + 1)


def peak(years: FloatArray, values: FloatArray, frequency: FloatArray) -> float:
    """Return the frequency of the highest power, in cycles per year; one at an end of the grid stays there.

    frequency: even grid, in cycles per year.
    """
    highest = int(np.argmax(power(years, values, frequency)))
    if highest in {0, len(frequency) - 1}:
        return float(frequency[highest])
    half = (frequency[1] - frequency[0]) / 2

    # A maximum is flat: rounding blurs its place far more than that of a zero. Half a step to either side of
    # the highest point this difference is one between neighbours on the grid, so its signs are known.
    def slope(at: float) -> float:
        below, above = power(years, values, np.array([at - half, at + half]))
        return float(above - below)

    middle = float(frequency[highest])
    return float(optimize.brentq(slope, middle - half, middle + half, xtol=1e-15))


def bootstrap(years: FloatArray, values: FloatArray, period: float) -> float:
    """Return the standard deviation of the period over resampled series, in years.

    period: of the whole series, in years; resampled ones are searched from 2/3 to 3/2 of it.
    """
    # numpy promises never to change this older generator's numbers; those of default_rng may change.
    random = np.random.RandomState(SEED)
    length = min(round(3 * period), len(years) // 2)
    blocks = math.ceil(len(years) / length)
    grid = frequencies(period / 1.5, period * 1.5, len(years), oversampling=10)
    periods = []
    for _ in range(RESAMPLES):
        starts = random.randint(0, len(years) - length + 1, size=blocks)
        drawn = (starts[:, np.newaxis] + np.arange(length)).ravel()[: len(years)]
        periods.append(1 / peak(years[drawn], values[drawn], grid))
    return float(np.std(periods, ddof=1))


def welch(values: FloatArray) -> float:
    """Return the period of the highest power in Welch's estimate over half series, in years.

    values: one a year.
    """
    frequency, density = signal.welch(values, nperseg=len(values) // 2, nfft=4096)
    inside = np.flatnonzero((frequency >= 1 / LONGEST) & (frequency < 1 / SHORTEST))
    highest = inside[np.argmax(density[inside])]
    before, at, after = density[highest - 1 : highest + 2]
    vertex = (before - after) / (before - 2 * at + after) / 2
    return float(1 / (frequency[highest] + vertex * frequency[1]))


def analyse(years: FloatArray, numbers: FloatArray, record: str = "") -> tuple[dict[str, Any], bytes]:
    """Return the result and the figure, a PNG file's content.

    years, numbers: the yearly series, as read returns it.
    record: the id of the record of this run, for both to name; empty where it is not recorded.
    """
    values = signal.detrend(numbers)
    grid = frequencies(SHORTEST, LONGEST, len(years), oversampling=20)
    frequency = peak(years, values, grid)
    if frequency in {grid[0], grid[-1]}:
        raise ValueError(f"no period between {SHORTEST:g} and {LONGEST:g} years stands out")
    period = 1 / frequency
    spectrum = power(years, values, grid)
    highest = float(power(years, values, np.array([frequency]))[0])
    chance = LombScargle(years, values).false_alarm_probability(
        highest, method="baluev", minimum_frequency=grid[0], maximum_frequency=grid[-1]
    )
    uncertainty = bootstrap(years, values, period)
    result: dict[str, Any] = {
        "period_years": period,
        "uncertainty_years": uncertainty,
        "cross_check": {"method": "scipy.signal.welch", "period_years": welch(values)},
        "false_alarm_probability": float(chance),
        "first_year": int(years[0]),
        "last_year": int(years[-1]),
        "number_of_years": len(years),
        "versions": {package.__name__: package.__version__ for package in (astropy, np, scipy)},
    }
    named = {"ozrepro_record": record} if record else {}
    found = (period, highest)
    return result | named, figure(years, numbers, numbers - values, 1 / grid, spectrum, found, uncertainty, named)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the analysis and return the exit code: 2 when the data or the output directory cannot be used.

    arguments: of the command line; those of this process when None.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    results = PROJECT / "results"
    parser.add_argument("--output", type=Path, default=results, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--data", type=Path, default=DATA, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args(arguments)
    table, picture = options.output / "analysis.json", options.output / "analysis.png"
    try:
        result, image = analyse(*read(options.data), record=os.environ.get("OZREPRO_RECORD_ID", ""))
        options.output.mkdir(parents=True, exist_ok=True)
        table.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        picture.write_bytes(image)
    except (OSError, ValueError, csv.Error) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    print(
        f"The solar cycle lasts {result['period_years']:.2f} +/- {result['uncertainty_years']:.2f} years "
        f"({result['number_of_years']} years of data, {result['first_year']} to {result['last_year']})."
    )
    print(
        f"Welch's method gives {result['cross_check']['period_years']:.2f} years; "
        f"white noise would show such a peak with a chance of {result['false_alarm_probability']:.0e}."
    )
    print(f"Wrote {table} and {picture.name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
