"""Threats 13, 14, 35 and 38: bad files beside live traffic, files that name other places, stampedes on one slot."""

import json
import os
import socket
import threading
import time

import pytest
import torch

from core.engine.bank import AdapterBank
from core.engine.records import AdapterRef
from core.errors import IntegrityError, RefusedFileError
from core.storage.digests import digest_adapter_folder


@pytest.fixture
def make_bank(kernel_bench):
    def make(slots, **options):
        return AdapterBank(
            kernel_bench.kernel.sites,
            kernel_bench.base.digest,
            slots=slots,
            dtype=torch.float32,
            device=torch.device("cpu"),
            **options,
        )

    return make


def bad_files(kernel_bench, tag):
    """25 adapters that must not serve: cut off at 20 places, and five that are something else."""
    whole = kernel_bench.adapter(f"{tag}-whole")
    data = (whole.path / "adapter_model.safetensors").read_bytes()
    contents = [data[: len(data) * part // 20] for part in range(20)]
    contents += [b"\x80\x04K\x01.", b"PK\x03\x04" + b"0" * 99, b"\xff" * 64, data + b"more", data[::-1]]
    for number, content in enumerate(contents):
        folder = kernel_bench.folder / f"{tag}-bad{number}"
        folder.mkdir()
        (folder / "adapter_config.json").write_bytes((whole.path / "adapter_config.json").read_bytes())
        (folder / "adapter_model.safetensors").write_bytes(content)
        yield AdapterRef(digest_adapter_folder(folder), folder)


def test_25_bad_files_beside_live_traffic_are_refused_and_the_traffic_is_undisturbed(make_bank, kernel_bench):
    bank = make_bank(8)
    good = [kernel_bench.adapter(f"live{n}") for n in range(4)]
    right = {}
    for ref in good:
        lease = bank.lease(kernel_bench.compose((ref, 1.0)))
        right[ref.digest] = lease.terms[0].pool.view(lease.terms[0].line, 1).b[0].clone()
        lease.release()
    over, wrong = threading.Event(), []

    def serve():
        number = 0
        while not over.is_set():
            ref = good[number % 4]
            lease = bank.lease(kernel_bench.compose((ref, 1.0)))
            term = lease.terms[0]
            if not torch.equal(term.pool.view(term.line, 1).b[0], right[ref.digest]):
                wrong.append(ref)
            lease.release()
            number += 1
            time.sleep(0.001)  # as between the tokens of real traffic

    traffic = threading.Thread(target=serve)
    traffic.start()
    try:
        refused = 0
        for ref in bad_files(kernel_bench, "beside"):
            with pytest.raises(RefusedFileError):
                bank.lease(kernel_bench.compose((ref, 1.0)))
            refused += 1
    finally:
        over.set()
        traffic.join(60)
    assert (refused, wrong) == (25, [])
    assert bank.resident()[0] == 4
    assert all(resident.pins == 0 for resident in bank.residents())


def test_bytes_that_rot_on_the_disk_are_noticed_and_what_is_in_memory_keeps_serving(make_bank, kernel_bench):
    bank = make_bank(2)
    ref = kernel_bench.adapter("rotting")
    lease = bank.lease(kernel_bench.compose((ref, 1.0)))
    path = ref.path / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    bank.lease(kernel_bench.compose((ref, 0.5))).release()
    lease.release()
    bank.unload(ref.digest)
    with pytest.raises(IntegrityError, match="digest"):
        bank.lease(kernel_bench.compose((ref, 1.0)))


def test_a_config_that_names_other_places_opens_no_connection_and_no_other_file(
    make_bank, kernel_bench, monkeypatch, tmp_path
):
    outside = tmp_path / "outside.json"
    outside.write_text("{}")

    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    named = {
        "base_model_name_or_path": "https://example.com/model",
        "revision": "main",
        "auto_mapping": {"base_model_class": "Evil", "parent_library": str(outside)},
    }
    ref = kernel_bench.adapter("elsewhere", config=named)
    os.utime(outside, (1, 1))
    make_bank(1).lease(kernel_bench.compose((ref, 1.0))).release()
    assert outside.stat().st_atime == 1
    assert json.loads((ref.path / "adapter_config.json").read_text())["revision"] == "main"


def test_a_stampede_on_one_adapter_and_one_slot_loads_it_once(make_bank, kernel_bench):
    bank = make_bank(1)
    ref = kernel_bench.adapter("stampede")
    together = threading.Barrier(16)
    weights = []

    def ask(number):
        together.wait()
        lease = bank.lease(kernel_bench.compose((ref, 1.0 + number)))
        weights.append(lease.terms[0].weight)
        lease.release()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(weights) == [1.0 + number for number in range(16)]
    assert (bank.counters.loads, bank.counters.hits) == (1, 15)
