"""Draws what bench.py measured: `bench_plot.py FIGURES.json FILE.png`. Runs where matplotlib is."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

figures = json.loads(Path(sys.argv[1]).read_text(encoding="utf8"))
ran = {name: found for name, found in figures["contestants"].items() if not found["failure"]}
speeds = [found["median"]["pages_per_second"] for found in ran.values()]
ratios = [found["ratio"]["pages_per_second"] for found in ran.values()]
labels = [f"{name}\n{found['weights']}" for name, found in ran.items()]
colours = ["tab:blue" if name.startswith("ocrbatch") else "tab:gray" for name in ran]

figure, axes = plt.subplots(figsize=(9, 1 + 0.7 * len(ran)), layout="constrained")
bars = axes.barh(labels, speeds, color=colours)
texts = [f"{s:.2f}" if r is None else f"{s:.2f} ({r:.2f}x)" for s, r in zip(speeds, ratios, strict=True)]
axes.bar_label(bars, texts, padding=4)
axes.invert_yaxis()
axes.margins(x=0.15)
axes.set_xlabel(f"pages/s, and the ratio to ocrbatch in one process; {figures['pages']} pages, {figures['cpus']} CPUs")
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(sys.argv[2], dpi=144)
