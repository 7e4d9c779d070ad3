"""The OCR job as a script, for `ray job submit -- python jobs/ocr.py --config s3://bucket/config.yaml`.

Takes what `ocrbatch run` takes. Submitted to a cluster it joins that cluster; started by hand it runs on this machine.
"""

from __future__ import annotations

import sys

from ocrbatch.cli.main import program

if __name__ == "__main__":
    program(["run", *sys.argv[1:]])
