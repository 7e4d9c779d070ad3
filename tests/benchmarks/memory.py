"""Memory of the whole job: a PDF of 200 pages against one of 2,000, or one run over given documents.

Prints the peak of the process tree's proportional set size (shared pages are counted once) and writes it as JSON.

    python tests/benchmarks/memory.py                 # 200 against 2,000 pages
    python tests/benchmarks/memory.py DOCUMENTS ...   # one run over these
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import pypdfium2
from processes import job

PAGE_POINTS = (298, 420)  # A6: small pages, so that two thousand take minutes and not half an hour


def make_pdf(path: Path, pages: int) -> None:
    """A born-digital PDF whose pages all differ."""
    document = pypdfium2.PdfDocument.new()
    font = pypdfium2.raw.FPDFText_LoadStandardFont(document, b"Helvetica")
    for number in range(pages):
        page = document.new_page(*PAGE_POINTS)
        for row in range(12):
            text = pypdfium2.raw.FPDFPageObj_CreateTextObj(document, font, 13)
            line = f"Page {number + 1} line {row + 1} of the ledger, sum {number * 37 + row}"
            pypdfium2.raw.FPDFText_SetText(text, (pypdfium2.raw.FPDF_WCHAR * (len(line) + 1))(*map(ord, line), 0))
            pypdfium2.raw.FPDFPageObj_Transform(text, 1, 0, 0, 1, 20, 390 - 30 * row)
            pypdfium2.raw.FPDFPage_InsertObject(page, text)
        page.gen_content()
        page.close()
    document.save(path)
    document.close()


def measure(inputs: list[str], output: Path, overrides: list[str]) -> dict[str, float]:
    """Runs the job over inputs and watches it."""
    started = time.monotonic()
    done, tree = job(inputs, output, overrides)
    seconds, pages = time.monotonic() - started, json.loads(done.stdout)["pages"]
    return {"exit_code": done.returncode, "pages": pages, "seconds": seconds, "peak_mib": tree.peak_bytes / 2**20}


def main() -> int:
    """Prints a table; exit code 1 where 2,000 pages need 300 MiB more than 200."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.documents:
            results["documents"] = measure(arguments.documents, folder / "out", arguments.overrides)
        else:
            for pages in (200, 2000):
                make_pdf(folder / f"{pages}.pdf", pages)
                output = folder / f"out-{pages}"
                results[f"{pages} pages"] = measure([str(folder / f"{pages}.pdf")], output, arguments.overrides)
    for name, found in results.items():
        print(f"{name:<12} exit {found['exit_code']}  {found['pages']:>5} pages  {found['seconds']:>6.0f} s  "
              f"peak {found['peak_mib']:>6.0f} MiB")  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))
    if len(results) == 2:
        growth = results["2000 pages"]["peak_mib"] - results["200 pages"]["peak_mib"]
        print(f"growth       {growth:.0f} MiB")
        return int(growth > 300)
    return 0


if __name__ == "__main__":
    sys.exit(main())
