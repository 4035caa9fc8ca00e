"""Health: what the machine says is what is told, rates are of what happened, and a GPU is told as its library does."""

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from core.analytics.health import EngineGauge, MachineGauge, active_jobs, no_engine
from core.analytics.nvml import NO_DRIVER, NO_GPU, read_gpus
from core.engine.records import EngineStatus, PrefixStatus
from core.jobs import service as jobs
from core.jobs.records import JobState
from core.storage.database import Database
from core.tenants.records import Tenant

STATUS = EngineStatus(
    ready=True,
    base_name="tiny",
    base_digest="d",
    device="cpu",
    dtype="float32",
    base_bytes=1000,
    adapters_resident=2,
    adapter_bytes=200,
    adapter_slots=8,
    running_rows=3,
    waiting_rows=4,
    answered=10,
    kv_bytes=30,
    prefix=PrefixStatus(bytes=5),
)
# As NVML's header declares them; one GPU of 16 bytes, of which 12 are used, that tells no power.
STAND_IN = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } use_t;
int nvmlInit_v2(void) { return FAILS; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **d) { *d = (void *)0x700000000001; return 0; }
int nvmlDeviceGetName(void *d, char *name, unsigned int n) {
  if (d != (void *)0x700000000001) return 2;
  strncpy(name, "Card", n);
  return 0;
}
int nvmlDeviceGetMemoryInfo(void *d, memory_t *m) { m->total = 16; m->free = 4; m->used = 12; return 0; }
int nvmlDeviceGetUtilizationRates(void *d, use_t *u) { u->gpu = 37; u->memory = 9; return 0; }
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned int *t) { *t = 55 + sensor; return 0; }
int nvmlDeviceGetPowerUsage(void *d, unsigned int *p) { return 3; }
"""


def library(folder: Path, count: int, fails: int = 0) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source, made = folder / "nvml.c", folder / f"nvml-{count}-{fails}.so"
    source.write_text(STAND_IN)
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-DCOUNT={count}", f"-DFAILS={fails}", "-o", made, source], check=True
    )
    return str(made)


def test_the_machine_tells_what_the_system_tells(tmp_path: Path) -> None:
    gauge = MachineGauge(tmp_path / "not" / "there" / "yet")
    told = gauge.read()
    memory = psutil.virtual_memory()
    assert told.memory_total_bytes == memory.total
    assert told.memory_used_bytes == pytest.approx(memory.total - memory.available, rel=0.2)
    assert told.memory_share == told.memory_used_bytes / told.memory_total_bytes
    assert told.disk_total_bytes == shutil.disk_usage(tmp_path).total
    assert 10_000_000 < told.process_bytes < memory.total
    assert told.cores >= 1
    assert told.cpu_share is None  # one look says nothing about a rate
    assert bool(told.gpus) is not bool(told.gpu_note)


def test_the_share_of_the_processors_is_that_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauge = MachineGauge(tmp_path)
    times = psutil.cpu_times()
    zero = times._replace(**dict.fromkeys(times._fields, 0.0))
    for user, idle, share in (
        (100.0, 100.0, None),
        (103.0, 101.0, 0.75),
        (103.0, 101.5, 0.75),
        (103.0, 105.0, 0.0),
    ):
        monkeypatch.setattr(psutil, "cpu_times", lambda u=user, i=idle: zero._replace(user=u, idle=i))
        assert gauge.read().cpu_share == share


def test_a_machine_without_a_driver_says_so() -> None:
    assert read_gpus("libnvidia-ml-that-is-not-here.so.1") == ((), NO_DRIVER)
    assert "CPU" in NO_DRIVER


def test_a_gpu_is_told_as_its_library_tells_it(tmp_path: Path) -> None:
    (gpu,), note = read_gpus(library(tmp_path, 1))
    assert (gpu.name, gpu.used_bytes, gpu.total_bytes, gpu.index) == ("Card", 12, 16, 0)
    assert (gpu.utilisation, gpu.temperature_c, gpu.power_w, note) == (0.37, 55, None, "")
    assert read_gpus(library(tmp_path, 0)) == ((), NO_GPU)
    gpus, why = read_gpus(library(tmp_path, 1, fails=9))
    assert gpus == ()
    assert "9" in why


def test_rates_of_the_engine_are_of_the_time_since_the_look_before() -> None:
    at = [100.0]
    gauge = EngineGauge(lambda: at[0])
    first = gauge.read(STATUS)
    assert (first.answers_per_s, first.tokens_per_s, first.running, first.waiting) == (None, None, 3, 4)
    assert first.memory_bytes == 1235
    gauge.add_tokens(40)
    gauge.add_tokens(10)
    at[0] = 104.0
    second = gauge.read(replace(STATUS, answered=30))
    assert (second.answers_per_s, second.tokens_per_s, second.window_s) == (5.0, 12.5, 4.0)
    at[0] = 104.2  # two that look at once see the same
    assert gauge.read(replace(STATUS, answered=31)).answers_per_s == 5.0
    at[0] = 110.0
    assert gauge.read(replace(STATUS, answered=2)).answers_per_s is None  # it was opened anew
    assert no_engine("why").note == "why"
    assert not no_engine("why").ready


def test_active_jobs_are_ones_own_that_are_not_over(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        for who, name in ((tenant, "queued"), (tenant, "runs"), (tenant, "over"), (other_tenant, "theirs")):
            job = jobs.submit(s, who.id, kind="training", name=name, spec={}, submitted_by="ann", now=now)
            if name in ("runs", "over"):
                claimed = jobs.claim(s, job.id, now=now)
                assert claimed is not None
                if name == "over":
                    jobs.succeed(s, job.id, claimed.fence, result={}, now=now)
        found = {job.name: job for job in active_jobs(s, tenant.id, now=now + timedelta(seconds=90))}
    assert set(found) == {"queued", "runs"}
    assert (found["runs"].state, found["runs"].silent_s) == (JobState.RUNNING, 90.0)
    assert found["queued"].silent_s is None
