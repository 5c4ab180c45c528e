"""What a run uses of its machine: its own memory, that of processes below it, and cores."""

import subprocess
import sys

from forge_pipeline.machine import look_at_memory, look_at_processes, own_peak_bytes
from forge_pipeline.report.meter import Meter

MIB = 1 << 20
HOLDS_64_MIB = "import sys; held = bytearray(64 << 20); print(len(held), flush=True); sys.stdin.read()"


def test_the_process_itself_is_measured() -> None:
    found = Meter().sample()
    assert found.rss_bytes > 10 * MIB
    assert 0 < found.available_bytes <= look_at_memory().usable_bytes
    assert (found.cores_busy, found.machine_busy) == (0.0, 0.0)  # nothing to compare with yet


def test_memory_of_processes_below_counts_and_is_remembered_when_they_are_gone() -> None:
    meter = Meter()
    before = meter.sample()
    with subprocess.Popen([sys.executable, "-c", HOLDS_64_MIB], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = meter.sample()
        child.communicate()
    after = meter.sample()
    held = during.workers_rss_bytes - before.workers_rss_bytes
    assert 64 * MIB < held < 200 * MIB
    assert after.workers_rss_bytes < during.workers_rss_bytes
    assert meter.peak_rss_bytes >= own_peak_bytes() + 64 * MIB


def test_busy_cores_are_counted_over_the_whole_tree() -> None:
    seconds = iter([0.0, 2.0])
    meter = Meter(clock=lambda: next(seconds))
    meter.sample()
    used = look_at_processes().cpu_seconds
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        while look_at_processes().cpu_seconds.get(child.pid, 0.0) < 0.2:
            pass
        found = meter.sample()
        child.kill()
    # The child's 0.2 s and our own waiting, over 2 s of the clock that we gave.
    assert 0.1 <= found.cores_busy <= 5.0
    assert 0.0 < found.machine_busy <= 1.0
    assert child.pid not in used


def test_the_own_peak_is_at_least_what_is_held_now() -> None:
    assert own_peak_bytes() >= look_at_processes().rss_bytes * 0.9


def test_the_own_peak_is_of_this_program_and_not_of_who_started_it(tmp_path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n")
    assert own_peak_bytes(tmp_path) == 12345 * 1024
