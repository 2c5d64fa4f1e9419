"""The short table, for the README: this project beside the original, and beside the floor."""

from __future__ import annotations

from rows import Row, Rows, ratio, seconds

OURS, ORIGINAL, FLOOR = "tobiko-facade", "original", "floor"
FIGURES = (
    "mirror of a finished run",
    "first sync",
    "second sync, no news",
    "load the code location",
    "sensor tick without news",
)


def summary(rows: Rows) -> str:
    lines = ["| | original 1.0.9 | this project | faster | wall / floor |", "|---|---|---|---|---|"]
    for figure in [found for like in FIGURES for found in rows.figures(like)]:
        for models in rows.sizes(figure):
            ours, original, floor = (rows.find(figure, models, side) for side in (OURS, ORIGINAL, FLOOR))
            if ours:
                theirs = used(original) if original else extrapolated(rows, figure, models)
                factor = f"{float(ratio(original, ours, 'wall_s')):.3g} times" if original else ""
                beside = ratio(ours, floor, "wall_s") if floor else ""
                lines.append(f"| {figure}, {models:,} models | {theirs} | {used(ours)} | {factor} | {beside} |")
    return "\n".join(lines)


def used(row: Row) -> str:
    found = [seconds(row.median("wall_s") or 0)]
    if row.median("memory_mb") is not None:
        found.append(f"{row.median('memory_mb'):.0f} MB")
    if row.median("processes") is not None:
        found.append(f"{row.median('processes'):.0f} processes")
    if row.median("requests") is not None:
        found.append(f"{row.median('requests'):.0f} requests")
    if row.median("connections") is not None:
        found.append(f"{row.median('connections'):,.0f} connections")
    return ", ".join(found)


def extrapolated(rows: Rows, figure: str, models: int) -> str:
    """By the time that each further task took from the smallest size to the largest that was measured."""
    measured = [row for size in rows.sizes(figure) if (row := rows.find(figure, size, ORIGINAL))]
    if len(measured) < 2:
        return ""
    first, last = measured[0], measured[-1]
    first_s, last_s = first.median("wall_s") or 0, last.median("wall_s") or 0
    a_task_s = (last_s - first_s) / (last.models - first.models)
    return f"about {(last_s + a_task_s * (models - last.models)) / 60:.0f} min (extrapolated)"
