"""Several writers at once, stopped between any two storage calls: no interleaving shows a page twice or loses a commit.

Each writer is a thread that runs only when the machine lets it make its next storage call, so that hypothesis decides
the order of all calls, and shrinks it. A writer may be paused for ever, killed before or after a call took effect, or
told that a call failed; it then does the same again, or gives up. Every third record leaves a checkpoint; checkpoints
are damaged, taken away, and exchanged for older ones.
"""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sinks_model import OUT, Killed, MemoryStorage, Tapped, added, committer, failures_table, pages_table, shown

from ocrbatch.errors import OutputLockedError, StorageError
from ocrbatch.sinks import bookmark, checkpoint, parquet
from ocrbatch.sinks.commit import Committer, read_ledger
from ocrbatch.sinks.ledger import Ledger
from ocrbatch.sinks.verify import verify

BOOKMARK = f"{OUT}/_ocrbatch/checkpoints/last.json"
DOCUMENTS = {"a": 3, "b": 2, "c": 1}
PAGES = [(uri, index, count) for uri, count in DOCUMENTS.items() for index in range(count)]

pages = st.lists(st.sampled_from(PAGES), min_size=1, max_size=4, unique=True)
failures = st.lists(
    st.tuples(st.sampled_from(sorted(DOCUMENTS)), st.none() | st.integers(0, 1), st.integers(1, 2)),
    min_size=1,
    max_size=2,
)
steps = st.one_of(
    st.tuples(st.just("add"), st.lists(pages, min_size=1, max_size=3)),
    st.tuples(st.just("stage"), pages),  # the result never comes
    st.tuples(st.just("fail"), failures),
    st.tuples(st.just("dismiss"), st.sampled_from(sorted(DOCUMENTS))),
    st.tuples(st.just("repeat"), st.none()),  # all results so far come once more
    st.tuples(st.just("adopt"), st.none()),
    st.tuples(st.just("publish"), st.none()),
)


class Writer:
    """One writer's process, as a thread that waits before each of its storage calls."""

    def __init__(
        self,
        storage: MemoryStorage,
        shard: str,
        name: str,
        etag: str,
        script: list,  # type: ignore[type-arg]
        persistent: bool,
    ) -> None:
        self.storage = Tapped(storage, self.tap)
        self.shard, self.name, self.script, self.persistent = shard, name, script, persistent
        self.etag = etag  # of the version of each document that was there when this writer began
        self.fate = "go"
        self.turn, self.parked = threading.Semaphore(0), threading.Semaphore(0)
        self.finished = False
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.live, daemon=True)
        self.thread.start()
        self.parked.acquire()

    def tap(self, name: str, call: Callable[[], object]) -> object:
        if self.fate != "dead":
            self.parked.release()
            self.turn.acquire()
        fate, self.fate = self.fate, "go"
        if fate in ("killed after", "failed after"):
            call()
        if fate in ("dead", "killed", "killed after"):
            self.fate = "dead"
            raise Killed
        if fate in ("failed", "failed after"):
            raise StorageError("no answer")
        return call()

    def live(self) -> None:
        try:
            self.work()
        except (Killed, OutputLockedError):
            pass
        except BaseException as error:
            self.error = error
        self.finished = True
        self.parked.release()

    def work(self) -> None:
        try:
            c = committer(self.storage, shard=self.shard, run_id=self.name)
        except StorageError:
            return
        staged: list[parquet.Part] = []
        for verb, what in [*self.script, ("close", None)]:
            for _ in range(3):
                try:
                    self.do(c, verb, what, staged)
                    break
                except StorageError:
                    if not self.persistent:
                        return

    def do(self, c: Committer, verb: str, what: list, staged: list[parquet.Part]) -> None:  # type: ignore[type-arg]
        def stage(table: object, kind: str) -> parquet.Part:
            staged.append(parquet.stage(self.storage, OUT, c.epoch, table, kind))  # type: ignore[arg-type]
            return staged[-1]

        match verb:
            case "add":
                c.add([stage(pages_table(some, etag=self.etag), "pages") for some in what])
            case "stage":
                stage(pages_table(what, etag=self.etag), "pages")
            case "fail":
                c.add([stage(failures_table(what, etag=self.etag), "failures")])
            case "dismiss":
                c.dismiss([(what, self.etag)])  # type: ignore[list-item]
            case "repeat":
                c.add(staged)
            case "adopt":
                c.adopt()
            case "publish":
                c.publish(force=True)
            case "close":
                c.close()

    def step(self, count: int = 1, fate: str = "go") -> None:
        self.fate = fate
        for _ in range(count):
            if self.finished:
                break
            self.turn.release()
            self.parked.acquire()
        if self.error is not None:
            raise self.error


class Writers(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        # Names decide the order of listings, so they must be the same in each replay.
        self.names = pytest.MonkeyPatch()
        numbers = random.Random(0)
        self.names.setattr("ocrbatch.sinks.layout.uuid4", lambda: uuid.UUID(int=numbers.getrandbits(128)))
        self.names.setattr(bookmark, "EVERY", 3)
        self.storage = MemoryStorage()
        self.writers: list[Writer] = []
        self.bookmarks: list[bytes] = []
        self.spawned = 0
        self.parts: dict[str, bytes] = {}
        self.log: dict[str, bytes] = {}

    @rule(
        shard=st.sampled_from(["x", "x", "y"]),
        etag=st.sampled_from(["e", "e", "f"]),
        script=st.lists(steps, max_size=5),
        persistent=st.booleans(),
    )
    def spawn(self, shard: str, etag: str, script: list, persistent: bool) -> None:  # type: ignore[type-arg]
        self.spawned += 1
        self.writers.append(Writer(self.storage, shard, f"w{self.spawned}", etag, script, persistent))
        self.writers[-1].step(0)  # raises what ended it before its first storage call, if anything did

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), count=st.integers(1, 30))
    def go_on(self, data: st.DataObject, count: int) -> None:
        data.draw(st.sampled_from(self.writers)).step(count)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), fate=st.sampled_from(["killed", "killed after", "failed", "failed after"]))
    def break_one(self, data: st.DataObject, fate: str) -> None:
        data.draw(st.sampled_from(self.writers)).step(1, fate)

    @precondition(lambda self: self.bookmarks)
    @rule(data=st.data(), harm=st.sampled_from(["delete", "cut", "older"]), pointer=st.booleans())
    def harm_checkpoints(self, data: st.DataObject, harm: str, pointer: bool) -> None:
        kept = [name for name in sorted(self.storage.objects) if "/checkpoints/" in name]
        if harm == "older":
            self.storage.objects[BOOKMARK] = data.draw(st.sampled_from(self.bookmarks))
        elif kept:
            name = BOOKMARK if pointer and BOOKMARK in kept else kept[0]
            body = self.storage.objects.pop(name)
            if harm == "cut":
                self.storage.objects[name] = body[: len(body) // 2]

    @invariant()
    def checkpoints_change_nothing(self) -> None:
        mark = self.storage.objects.get(BOOKMARK)
        if mark is not None and mark not in self.bookmarks[-1:]:
            self.bookmarks.append(mark)
        number = len(self.log)
        self.parts_and_records_never_change()
        if len(self.log) == number and not self.bookmarks:
            return
        by_log = read_ledger(self.storage, OUT, Ledger())  # type: ignore[arg-type]
        assert read_ledger(self.storage, OUT) == by_log  # type: ignore[arg-type]
        if len(self.log) > number:
            assert checkpoint.decode(checkpoint.encode(by_log)) == by_log

    @invariant()
    def readers_see_each_page_once(self) -> None:
        self.writers = [writer for writer in self.writers if not writer.finished]
        seen = shown(self.storage)
        assert len(seen) == len(set(seen))
        committed = added(self.storage)
        assert len(committed) == len(set(committed))
        assert set(seen) <= set(committed)

    def parts_and_records_never_change(self) -> None:
        for folder, known in ((f"{OUT}/pages/", self.parts), (f"{OUT}/_ocrbatch/log/", self.log)):
            now = {name: body for name, body in self.storage.objects.items() if name.startswith(folder)}
            assert known.items() <= now.items()
            known.update(now)
        assert sorted(self.log) == [f"{OUT}/_ocrbatch/log/{n:012d}.json" for n in range(len(self.log))]

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.names.undo()

    def end(self) -> None:
        # Some are paused for ever, until the successors are through; then they wake, and must do no harm.
        for shard in "xy":
            committer(self.storage, shard=shard, run_id="last").close()
        for writer in self.writers:
            while not writer.finished:
                writer.step(100)
        for shard in "xy":
            committer(self.storage, shard=shard, run_id="last").close()
        self.readers_see_each_page_once()
        self.parts_and_records_never_change()
        assert shown(self.storage) == added(self.storage), "what was committed is shown"
        assert not [name for name in self.storage.objects if "/staging/" in name]
        report = verify(self.storage, OUT)  # type: ignore[arg-type]
        assert report.problems == []
        assert report.notes == []
        records = [json.loads(body) for body in self.log.values()]
        assert {record["type"] for record in records} <= {"open", "add", "publish", "close"}
        ledger = read_ledger(self.storage, OUT)  # type: ignore[arg-type]
        for failed in (f for record in records for part in record.get("parts", ()) for f in part["failures"]):
            held = ledger.pages_held(failed["uri"], failed["etag"])[1]
            states = ledger.failures(failed["uri"], failed["etag"])
            index = failed["page_index"]
            assert index in states or (held or states if index is None else index in held), "no failure gets lost"


Writers.TestCase.settings = settings(
    max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWriters = Writers.TestCase
