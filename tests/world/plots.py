"""Plots of a run: what became of the requests by minute, and how full each bucket was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.world.report import Summary
from tests.world.run import Run

_COLOURS = {"right": "#4c9f70", "late": "#e0a458", "refused": "#c94f4f", "cut": "#8a6fb0", "wrong": "#222222"}
_MOST = 24


def plot(run: Run, found: Summary, path: Path) -> None:
    """Write the plot of *run* to *path* (its ending says the format)."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, for those who want plots

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6.5), height_ratios=(3, 4))
    _minutes(above, found)
    _buckets(below, run)
    above.set_title(
        f"{run.scenario}, {run.subject}, seed {run.seed}: {found.verdicts['right']:,} of {found.asked:,} right"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75, bbox_inches="tight")
    plt.close(figure)


def _minutes(axes: Any, found: Summary) -> None:
    minutes = range(len(found.p_minutes))
    bottom = [0] * len(found.p_minutes)
    for verdict, colour in _COLOURS.items():
        counts = [minute[verdict] for minute in found.p_minutes]
        axes.bar(minutes, counts, bottom=bottom, width=1.0, color=colour, label=verdict)
        bottom = [a + b for a, b in zip(bottom, counts, strict=True)]
    axes.plot(minutes, [minute["waiting"] for minute in found.p_minutes], color="#33508a", linewidth=1, label="waiting")
    axes.set(ylabel="requests a minute", xlim=(-0.5, len(found.p_minutes) - 0.5))
    axes.legend(loc="upper left", frameon=False, ncols=6, fontsize=8)


def _buckets(axes: Any, run: Run) -> None:
    """Of each bucket, the share of what it holds in so many seconds that was taken in them, at most all."""
    rows = list[list[float]]()
    names = list[str]()
    step = max(60.0, run.seconds / 60.0)
    steps = max(1, int(run.seconds // step))
    for name, (seconds, amount, taken) in sorted(run.used.items()):
        if not taken or len(rows) >= _MOST:
            continue
        shares = [0.0] * steps
        for at, cost in taken:
            shares[min(steps - 1, int((at - run.begin) // step))] += cost / (amount * max(1.0, step / seconds))
        rows.append([min(1.0, share) for share in shares])
        names.append(name)
    if rows:
        image = axes.imshow(
            rows, aspect="auto", cmap="YlGnBu", vmin=0, vmax=1, extent=(0, run.seconds / 60, len(rows), 0)
        )
        axes.figure.colorbar(image, ax=axes, label=f"share of the limit, in {step:.0f} s")
    axes.set_yticks([n + 0.5 for n in range(len(names))], names, fontsize=6)
    axes.set(xlabel="minutes")
