"""The whole job of ocrbatch, `ocrbatch run`, over the pages' files: see lap.py.

Its seconds are the report's, from the moment when Ray has started: loading and compiling the models is within. What it
reads a second once they are loaded, compiling still within, stands beside. CPU seconds and memory are those of the whole
command, as bench.py sees them from outside.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from lap import entry, leave

pages = [Path(page) for page in entry()["pages"]]
with tempfile.TemporaryDirectory() as folder:
    output = Path(folder, "out")
    inputs = ["--input", pages[0].parent, "--output", output]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ocrbatch.cli.main", "run", "--json", *inputs],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    whole = time.monotonic() - started
    found = json.loads(done.stdout)
    rows = pq.read_table(output / "pages", columns=["uri", "texts"]).to_pylist()
texts = {Path(row["uri"]).name: row["texts"] for row in rows}
leave(
    {
        "seconds": found["seconds"]["load"] + found["seconds"]["read"],
        "texts": [texts[page.name] for page in pages],
        "remark": f"{found['pages_per_second']:.2f} pages/s once loaded; {whole:.0f} s from the command to its end",
        "versions": {"layout": found["layout"]},
    },
    "ocrbatch",
    "ray",
)
