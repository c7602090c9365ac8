"""How long it is dark at Siding Spring: `month 06`, `year FILE…`, `chart FILE`. Prints the result."""

import json
import os
import sys
from datetime import date, timedelta
from pathlib import Path

from astral import Observer
from astral.sun import dawn, dusk

SITE = Observer(latitude=-31.273, longitude=149.062)
YEAR = 2026
BELOW = 18
"""Degrees that the Sun is below the horizon when astronomers call it dark."""


def month(number: str) -> dict[str, object]:
    """Return the hours of darkness of each night of a month."""
    hours: dict[str, float] = {}
    day = date(YEAR, int(number), 1)
    while day.month == int(number):
        dark = dawn(SITE, day, depression=BELOW) - dusk(SITE, day, depression=BELOW)
        hours[day.isoformat()] = round(dark.total_seconds() % 86400 / 3600, 2)
        day += timedelta(days=1)
    return {"hours": hours, "session": os.environ["OZREPRO_SESSION"], "job": os.environ.get("SLURM_JOB_ID")}


def year(*files: str) -> dict[str, object]:
    """Return the hours of all months, and the longest night."""
    hours: dict[str, float] = {}
    for file in files:
        hours |= json.loads(Path(file).read_text(encoding="utf-8"))["hours"]
    return {"hours": hours, "longest": max(hours, key=lambda night: hours[night])}


def chart(file: str) -> str:
    """Return a drawing of the hours, a bar a night."""
    hours = json.loads(Path(file).read_text(encoding="utf-8"))["hours"]
    bars = "".join(
        f'<rect x="{4 * place}" y="{120 - 10 * value:.1f}" width="3" height="{10 * value:.1f}">'
        f"<title>{night}: {value} hours</title></rect>"
        for place, (night, value) in enumerate(sorted(hours.items()))
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {4 * len(hours)} 120" fill="midnightblue">{bars}</svg>'


if __name__ == "__main__":
    made = {"month": month, "year": year, "chart": chart}[sys.argv[1]](*sys.argv[2:])
    print(made if isinstance(made, str) else json.dumps(made))
