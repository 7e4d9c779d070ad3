"""What all storms share: the documents, where they lie, a Ray of two nodes, and what an undisturbed run gives."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import storm_documents
from blows import Nodes
from checker import Content, content
from places import Place, on_disk, on_s3
from plan import Plan
from servers import FaultProxy, SeaweedServer
from storm import Outcome, command, storm

ENGINE_SECONDS = 8.0  # that the fake engine sleeps in a run for each row of a page, so that there is time for blows


class Grounds:
    """A folder with documents for each engine, and as much of Ray and S3 as the seeds need. Close it.

    pages: for each engine, how many.
    """

    def __init__(self, work: Path, pages: dict[str, int]) -> None:
        self._work, self._pages = work, pages
        self._stack = ExitStack()
        self.nodes = Nodes(work)
        self._stack.callback(self.nodes.stop)
        self.source = cache(self._source)
        self.bucket = cache(self._bucket)
        self.clean = cache(self._clean)
        self.server = cache(self._server)

    def close(self) -> None:
        """Ends what was started."""
        self._stack.close()

    def storm(self, plan: Plan) -> Outcome:
        """One seed; its output is deleted where nothing is wrong with it."""
        place = self._place(plan)
        outcome = storm(plan, place, self.clean(plan.engine), self.nodes, self._work / "told")
        if not outcome.faults:
            place.files.delete_dir(place.path)
        return outcome

    def run(self, source: Path, output: Path, *settings: str, name: str = "run") -> int:
        """One undisturbed run on these nodes; gives its exit code. name: of the folder for what it prints."""
        plan, told = Plan(0, "disk", "fake", "fused", ()), self._work / "told" / f"{output.name}-{name}"
        with command(plan, on_disk(source, output), self.nodes, told, settings) as driver:
            return driver.wait()

    def _place(self, plan: Plan) -> Place:
        if plan.place == "s3":
            place = on_s3(*self.server(), self.bucket(plan.engine), f"out-{plan.seed}")
        else:
            place = on_disk(self.source(plan.engine), self._work / f"out-{plan.seed}")
        if plan.engine == "fake":
            place.settings += (f"engine.options={{seconds: {ENGINE_SECONDS / self._pages['fake']:g}}}",)
        return place

    def _source(self, engine: str) -> Path:
        folder = self._work / engine
        shutil.rmtree(folder, ignore_errors=True)
        storm_documents.write(folder, self._pages[engine], engine)
        return folder

    def _server(self) -> tuple[SeaweedServer, FaultProxy]:
        server = SeaweedServer()
        self._stack.callback(server.stop)
        server.start()
        proxy = FaultProxy(server)
        self._stack.callback(proxy.stop)
        return server, proxy

    def _bucket(self, engine: str) -> str:
        server, _ = self.server()
        bucket = server.bucket()
        for path in self.source(engine).iterdir():
            server.client().put_object(Bucket=bucket, Key=f"in/{path.name}", Body=path.read_bytes())
        return bucket

    def _clean(self, engine: str) -> Content:
        output = self._work / f"clean-{engine}"
        shutil.rmtree(output, ignore_errors=True)
        place = on_disk(self.source(engine), output)
        with command(
            Plan(0, "disk", engine, "fused", ()), place, self.nodes, self._work / "told" / f"clean-{engine}"
        ) as driver:
            assert driver.wait() == 0, driver.said
        found = content(place.files, place.path)
        assert len(found) == self._pages[engine]
        return found
