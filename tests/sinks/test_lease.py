"""Who may open: the dead are replaced at once, the silent after a minute, the living never."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from sinks_model import OUT, MemoryStorage, Tapped
from waiting import until

from ocrbatch.errors import OutputLockedError, StorageError
from ocrbatch.sinks import lease as leases
from ocrbatch.sinks.lease import EXPIRY, Holder, Lease, acquire

URI = f"{OUT}/_ocrbatch/lease/main.json"
HERE = Holder.here()
ELSEWHERE = replace(HERE, host="elsewhere")


class Clock:
    """Time that passes only while somebody sleeps; `then` says what happens meanwhile."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.slept = 0.0
        self.then: dict[float, object] = {}

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept += seconds
        for when in [when for when in self.then if when <= self.slept]:
            self.then.pop(when)()  # type: ignore[operator]
        assert self.slept < 1000, "it waits for ever"


def take(storage: MemoryStorage, clock: Clock, run_id: str, **named: object) -> Lease:
    return acquire(storage, OUT, run_id, now=clock.now, sleep=clock.sleep, **named)  # type: ignore[arg-type]


def holder_of(storage: MemoryStorage) -> str:
    return str(json.loads(storage.objects[URI])["run_id"])


def dead_process() -> Holder:
    """A process of this machine that has ended."""
    code = "import dataclasses, json; from ocrbatch.sinks.lease import Holder as H; "
    code += "print(json.dumps(dataclasses.asdict(H.here())))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return Holder(**json.loads(out))


def test_a_free_output_is_taken_and_given_back() -> None:
    storage, clock = MemoryStorage(), Clock()
    lease = take(storage, clock, "r1")
    assert holder_of(storage) == "r1"
    lease.release()
    assert URI not in storage.objects
    assert clock.slept == 0


def test_a_living_holder_here_is_named_at_once() -> None:
    storage, clock = MemoryStorage(), Clock()
    lease = take(storage, clock, "r1")
    with pytest.raises(OutputLockedError) as caught:
        take(storage, clock, "r2")
    assert all(word in str(caught.value) for word in ("r1", HERE.host, str(HERE.pid), "since 1970-01-12 13:46:40"))
    assert caught.value.exit_code == 4
    assert clock.slept == 0
    assert holder_of(storage) == "r1"
    lease.release()


def test_a_holder_that_died_here_is_replaced_at_once() -> None:
    storage, clock = MemoryStorage(), Clock()
    dead = dead_process()
    assert dead.is_beside(HERE)
    take(storage, clock, "r1", here=dead)
    take(storage, clock, "r2")
    assert holder_of(storage) == "r2"
    assert clock.slept == 0


def test_a_pid_that_another_process_has_now_is_not_taken_for_the_holder() -> None:
    storage, clock = MemoryStorage(), Clock()
    take(storage, clock, "r1", here=replace(HERE, started="1"))
    take(storage, clock, "r2")
    assert holder_of(storage) == "r2"


@pytest.mark.parametrize("change", [{"host": "x"}, {"boot": "x"}, {"namespace": "x"}])
def test_of_another_machine_or_container_nothing_is_known(change: dict[str, str]) -> None:
    assert not replace(dead_process(), **change).died(HERE)


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        holder = replace(HERE, pid=process.pid, started=leases._started(process.pid))
        assert not holder.died(HERE)
        process.kill()
        until(lambda: holder.died(HERE), 10)  # nobody has waited for it yet
    finally:
        process.kill()
        process.wait()


def test_a_silent_holder_elsewhere_is_waited_for_and_that_is_said() -> None:
    storage, clock, said = MemoryStorage(), Clock(), []
    take(storage, clock, "r1", here=ELSEWHERE)
    clock.time += 20
    take(storage, clock, "r2", notify=said.append)
    assert holder_of(storage) == "r2"
    assert clock.slept == EXPIRY - 20
    (line,) = said
    assert "r1" in line
    assert "elsewhere" in line
    assert "40 s" in line


def test_a_lease_that_expired_long_ago_is_taken_at_once() -> None:
    storage, clock = MemoryStorage(), Clock()
    take(storage, clock, "r1", here=ELSEWHERE)
    clock.time += 3600
    take(storage, clock, "r2")
    assert clock.slept == 0


def test_a_holder_elsewhere_that_renews_lives() -> None:
    storage, clock = MemoryStorage(), Clock()
    lease = take(storage, clock, "r1", here=ELSEWHERE)
    clock.then[12] = lease.renew
    with pytest.raises(OutputLockedError, match="run r1 on elsewhere"):
        take(storage, clock, "r2")
    assert 12 <= clock.slept <= 13


def test_a_clock_that_is_ahead_elsewhere_costs_a_minute_and_no_more() -> None:
    storage, clock, fast = MemoryStorage(), Clock(), Clock()
    fast.time += 86_400
    take(storage, fast, "r1", here=ELSEWHERE)
    take(storage, clock, "r2")
    assert clock.slept == EXPIRY


@pytest.mark.parametrize("holder", [HERE, ELSEWHERE], ids=["here", "elsewhere"])
def test_wait_waits_for_a_living_holder(holder: Holder) -> None:
    storage, clock, said = MemoryStorage(), Clock(), []
    first = take(storage, clock, "r1", here=holder)
    clock.then = dict.fromkeys(range(15, 300, 15), first.renew) | {301.0: first.release}
    take(storage, clock, "r2", wait=True, notify=said.append)
    assert 301 <= clock.slept <= 302
    assert holder_of(storage) == "r2"
    assert len(said) == 1


def test_a_paused_holder_here_is_silent_too() -> None:
    """Its process is there, stopped; after a minute it is replaced like any other."""
    storage, clock = MemoryStorage(), Clock()
    take(storage, clock, "r1")
    clock.time += EXPIRY
    take(storage, clock, "r2")
    assert holder_of(storage) == "r2"


def test_a_holder_that_was_replaced_leaves_the_lease_alone() -> None:
    storage, clock = MemoryStorage(), Clock()
    first = take(storage, clock, "r1", here=ELSEWHERE)
    clock.time += EXPIRY
    take(storage, clock, "r2")
    assert not first.renew()
    first.release()
    assert holder_of(storage) == "r2"


def test_of_two_who_find_it_free_one_gets_it() -> None:
    storage, clock = MemoryStorage(), Clock()
    rivals: list[Lease] = []

    def tap(name: str, call: object) -> object:
        result = call()  # type: ignore[operator]
        if name == "put" and not rivals:
            storage.objects.pop(URI)
            rivals.append(take(storage, clock, "rival"))
        return result

    with pytest.raises(OutputLockedError, match="rival"):
        take(Tapped(storage, tap), clock, "r1")  # type: ignore[arg-type]
    assert holder_of(storage) == "rival"


@pytest.mark.parametrize(
    "change",
    [
        *(
            {name: value}
            for name in ("since", "renewed")
            for value in (1e12, -1e300, float("nan"), float("inf"), 10**400)
        ),
        *({"pid": value} for value in (4.5, "4", None, True, -1, 0, 2**40)),
    ],
)
@pytest.mark.parametrize("holder", [HERE, ELSEWHERE], ids=["here", "elsewhere"])
def test_a_lease_that_makes_no_sense_holds_nobody(holder: Holder, change: dict[str, object]) -> None:
    storage, clock = MemoryStorage(), Clock()
    take(storage, clock, "r1", here=holder)
    tree = json.loads(storage.objects[URI])
    (tree["holder"] if "pid" in change else tree).update(change)
    storage.objects[URI] = json.dumps(tree).encode()
    take(storage, clock, "r2")
    assert holder_of(storage) == "r2"
    assert clock.slept == 0


@pytest.mark.parametrize(
    "body", [b"{", b"[" * 100_000, b"\xff", b"7", b"{}"], ids=["cut", "deep", "bytes", "7", "empty"]
)
def test_a_damaged_lease_holds_nobody(body: bytes) -> None:
    storage, clock = MemoryStorage(), Clock()
    storage.put(URI, body)
    take(storage, clock, "r1")
    assert holder_of(storage) == "r1"


def test_it_is_renewed_by_itself_through_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL", 0.01)
    storage, clock, trouble = MemoryStorage(), Clock(), [3]

    def tap(name: str, call: object) -> object:
        if name == "put" and URI in storage.objects and trouble[0]:
            trouble[0] -= 1
            raise StorageError("no answer")
        return call()  # type: ignore[operator]

    lease = take(Tapped(storage, tap), clock, "r1")  # type: ignore[arg-type]
    clock.time += 50
    until(lambda: json.loads(storage.objects[URI])["renewed"] == clock.time, 10)
    assert trouble == [0]
    lease.release()
    assert not lease._thread.is_alive()
