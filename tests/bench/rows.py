"""What was measured, as it is kept: a row for each figure, size and side, written to files after each measurement."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

# The numbers of one measurement, and how a table shows them.
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "wall_s": ("wall", lambda s: seconds(s)),
    "cpu_s": ("CPU", lambda s: seconds(s)),
    "memory_mb": ("memory", lambda mb: f"{mb:.0f} MB"),
    "processes": ("processes", lambda n: f"{n:.0f}"),
    "requests": ("requests", lambda n: f"{n:.0f}"),
    "received_kb": ("received", lambda kb: f"{kb:,.0f} kB"),
    "connections": ("connections", lambda n: f"{n:,.0f}"),
    "statements": ("statements", lambda n: f"{n:,.0f}"),
}


@dataclass
class Row:
    figure: str
    models: int
    side: str
    runs: list[dict[str, float]] = field(default_factory=list)
    # Events by type in Dagster's event log.
    events: dict[str, int] = field(default_factory=dict)

    def of(self, number: str) -> list[float]:
        return [run[number] for run in self.runs if run.get(number) is not None]

    def median(self, number: str) -> float | None:
        return median(self.of(number)) if self.of(number) else None


class Rows:
    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self._folder = folder
        self._about = about
        self._rows: list[Row] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, figure: str, models: int, side: str, numbers: dict[str, Any], events: dict[str, int]) -> None:
        row = self.find(figure, models, side)
        if row is None:
            row = Row(figure, models, side)
            self._rows.append(row)
        row.runs.append({name: number for name, number in numbers.items() if number is not None})
        row.events = events or row.events
        self.write()

    def find(self, figure: str, models: int, side: str) -> Row | None:
        same = (row for row in self._rows if (row.figure, row.models, row.side) == (figure, models, side))
        return next(same, None)

    def sizes(self, figure: str) -> list[int]:
        return sorted({row.models for row in self._rows if row.figure == figure})

    def figures(self, like: str) -> list[str]:
        """Of that name, on whichever storage."""
        return list(dict.fromkeys(row.figure for row in self._rows if row.figure.split(", PostgreSQL")[0] == like))

    def write(self) -> None:
        everything = {"about": self._about, "rows": [asdict(row) for row in self._rows]}
        (self._folder / "bench.json").write_text(json.dumps(everything, indent=1))
        (self._folder / "bench.md").write_text(self.markdown() + "\n")

    def markdown(self) -> str:
        about = ", ".join(f"{name} {value}" for name, value in self._about.items())
        lines = [f"Measured with `make bench`: {about}.", ""]
        for figure in dict.fromkeys(row.figure for row in self._rows):
            lines += [f"### {figure}", "", *self._table([row for row in self._rows if row.figure == figure]), ""]
        return "\n".join(lines)

    def _table(self, rows: list[Row]) -> list[str]:
        common = [name for name in COLUMNS if any(row.of(name) for row in rows)]
        special = list(dict.fromkeys(name for row in rows for run in row.runs for name in run if name not in COLUMNS))
        heads = ["models", "", *(COLUMNS[name][0] for name in common), *special, "runs"]
        if any(row.side == "floor" for row in rows):
            heads.append("wall / floor")
        lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for row in sorted(rows, key=lambda row: row.models):
            cells = [f"{row.models:,}", row.side]
            cells += [shown(row, name, COLUMNS[name][1]) for name in common]
            cells += [shown(row, name, lambda value: f"{value:.3g}") for name in special]
            cells.append(str(len(row.runs)))
            if heads[-1] == "wall / floor":
                floor = self.find(row.figure, row.models, "floor")
                cells.append(ratio(row, floor, "wall_s") if floor else "")
            lines.append("| " + " | ".join(cells) + " |")
        return [*lines, *self._differences(rows)]

    def _differences(self, rows: list[Row]) -> list[str]:
        """Where the floor did not write just what this project wrote; what the original wrote."""
        lines = []
        for row in rows:
            if row.side == "original" and row.events:
                kinds = ("ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "log line")
                told = ", ".join(f"{kind} {row.events.get(kind, 0)}" for kind in kinds)
                lines.append(f"\n{row.models:,} models, original: {sum(row.events.values()):,} events ({told}).")
            floor = self.find(row.figure, row.models, "floor")
            if row.side == "tobiko-facade" and floor and floor.events and row.events:
                kinds = sorted({*row.events, *floor.events})
                odd = [
                    f"{kind} {row.events.get(kind, 0)} (floor {floor.events.get(kind, 0)})"
                    for kind in kinds
                    if row.events.get(kind, 0) != floor.events.get(kind, 0)
                ]
                total = f"{sum(row.events.values()):,} events, floor {sum(floor.events.values()):,}"
                lines.append(f"\n{row.models:,} models: {total}; different: {', '.join(odd) or 'none'}.")
        return lines


def shown(row: Row, number: str, text: Callable[[float], str]) -> str:
    """The median, and from where to where where there are several."""
    values = row.of(number)
    if not values:
        return ""
    middle, least, most = text(median(values)), text(min(values)), text(max(values))
    return middle if least == most else f"{middle} ({least} to {most})"


def ratio(row: Row, other: Row, number: str) -> str:
    mine, others = row.median(number), other.median(number)
    return f"{mine / others:.2f}" if mine and others else ""


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 100 else f"{value:.0f} s"
