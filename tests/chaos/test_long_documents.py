"""A PDF of 5,000 pages and a TIFF of 1,000 frames: in bounded memory, and from the middle on after a kill."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pikepdf
import psutil
import pytest
from checker import Key, check, content
from command import Command
from PIL import Image, ImageDraw
from places import Log, on_disk
from waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(3600)]

PAGES, FRAMES = 5_000, 1_000
CHILD_MIB, WORKER_MIB = 1024, 2048
MIDDLE = 0.4


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    with pikepdf.new() as pdf:
        fonts = pikepdf.Dictionary(
            Helvetica=pdf.make_indirect(
                pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
            )
        )
        for number in range(PAGES):
            page = pdf.add_blank_page(page_size=(200, 60))
            page.Resources = pikepdf.Dictionary(Font=fonts)
            text = f"BT /Helvetica 16 Tf 10 24 Td (Page {number + 1}, sum {number * 37}) Tj ET"
            page.Contents = pdf.make_stream(text.encode())
        pdf.save(folder / "long.pdf")
    first, *others = (frame(number) for number in range(FRAMES))
    first.save(folder / "long.tiff", save_all=True, append_images=others, compression="group4")
    return folder


def frame(number: int) -> Image.Image:
    image = Image.new("L", (400, 120), 255)
    ImageDraw.Draw(image).text((20, 40), f"Frame {number + 1}, {number * 41}", fill=0, font_size=32)
    return image.convert("1")


class Peaks:
    """The most memory that any process of each kind has had, in MiB."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self.worker = self.child = 0.0

    def look(self) -> None:
        """Looks once."""
        for process in self._root.children(recursive=True):
            try:
                line, held = " ".join(process.cmdline()), process.memory_full_info().pss / 2**20
            except psutil.Error:  # it has ended
                continue
            if "ocrbatch.documents.child" in line:
                self.child = max(self.child, held)
            elif line.startswith("ray::"):
                self.worker = max(self.worker, held)


@pytest.fixture
def ends() -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_long_documents(documents: Path, tmp_path: Path, ends: list[Command]) -> None:
    place = on_disk(documents, tmp_path / "out")
    planned: set[Key] = {("long.pdf", index) for index in range(PAGES)} | {
        ("long.tiff", index) for index in range(FRAMES)
    }

    def start(name: str, *words: str) -> tuple[Command, Peaks]:
        (tmp_path / name).mkdir()
        ends.append(Command(tmp_path / name, place.source, place.uri, ["output.commit_seconds=2"], words))
        return ends[-1], Peaks(ends[-1].pid)

    log = Log(place)
    killed, before = start("killed")

    def half_way() -> bool:
        before.look()
        log.read_on()
        return log.pages >= MIDDLE * len(planned)

    until(half_way, 1800, alive=killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    log.read_on()
    committed = log.pages
    assert committed < len(planned)

    rerun, after = start("rerun", "--json")
    while rerun.poll() is None:
        after.look()
        time.sleep(0.2)
    assert rerun.returncode == 0, rerun.said
    report = json.loads(rerun.printed.read_text())
    print(f"before: {vars(before)}, after: {vars(after)}, committed {committed}, then {report['pages']} pages")
    assert 0 < report["pages"] <= len(planned) - committed, "what was committed is not read again"
    assert dict(+check(place.files, place.path, planned, content(place.files, place.path))) == {}
    assert 0 < max(before.child, after.child) < CHILD_MIB
    assert 0 < max(before.worker, after.worker) < WORKER_MIB
