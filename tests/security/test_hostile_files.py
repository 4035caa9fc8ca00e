"""Rows 12 to 17: what strangers upload, sent through the API of a console that serves meanwhile."""

import gzip
import io
import json
import os
import pickle
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from starlette.testclient import TestClient

import app.api.gate as gate
from app.api.application import build_api
from app.bootstrap import Console, build_console
from core.tenants.records import Role
from tests.security.conftest import packed

Workspace = Any
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MB = 1 << 20


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def send_adapter(api: TestClient, who: Workspace, file: bytes, name: str = "a.zip", **files: bytes) -> Any:
    sent = {"file": (name, file)} | {part: (part, data) for part, data in files.items()}
    return api.post("/adapters", headers=who.headers(), files=sent, data={"name": "evil", "type": "task"})


def send_set(
    api: TestClient, who: Workspace, content: bytes, name: str = "set", filename: str = "t.jsonl"
) -> Any:
    return api.post(
        "/datasets", headers=who.headers(), files={"file": (filename, content)}, data={"name": name}
    )


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "sqlite" not in path.name}


def test_row_12_no_pickle_is_ever_run_whatever_it_is_called(
    api: TestClient, console: Console, ours: Workspace, adapter_zip: Callable[..., bytes], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}).encode()
    before = everything_below(console.settings.home)
    for protocol in range(6):
        evil = pickle.dumps(Canary(canary), protocol=protocol)
        torch_file = packed({"archive/data.pkl": evil, "archive/version": b"3\n"})
        for content in (evil, torch_file, gzip.compress(evil)):
            uploads = [
                send_adapter(api, ours, packed({WEIGHTS: content, CONFIG: config})),
                send_adapter(api, ours, adapter_zip(3, **{"notes.txt": content})) if protocol > 1 else None,
                send_adapter(api, ours, adapter_zip(3, **{"optimizer.pt": content})),
                send_adapter(api, ours, adapter_zip(3, **{CONFIG: content})),
                send_adapter(api, ours, adapter_zip(3, **{"manifest.json": content})),
                send_adapter(api, ours, content, WEIGHTS, config=config),
                send_set(api, ours, content),
            ]
            for answer in uploads:
                assert answer is None or answer.status_code == 422, answer.text
    assert not canary.exists()
    assert everything_below(console.settings.home) == before
    # The canary does sing where somebody unpickles it.
    pickle.loads(pickle.dumps(Canary(canary))).close()
    assert canary.exists()


def header(length: int | None = None, **tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def bad_weights() -> dict[str, bytes]:
    f32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    many = {
        f"t{i}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(25_000)
    }
    return {
        "nothing": b"",
        "seven bytes": bytes(7),
        "header of 2^63": header(2**63),
        "header of 2^64-1": header(2**64 - 1),
        "header longer than the file": header(10_000),
        "no json": (4).to_bytes(8, "little") + b"{{{{",
        "too many tensors": header(**many) + bytes(100_000),
        "overlap": header(a=f32, b=f32) + bytes(16),
        "hole": header(a=f32, b=f32 | {"data_offsets": [32, 48]}) + bytes(48),
        "beyond the end": header(a=f32 | {"data_offsets": [0, 1 << 60]}),
        "backwards": header(a=f32 | {"data_offsets": [16, 0]}) + bytes(16),
        "negative": header(a=f32 | {"shape": [-2, -2]}) + bytes(16),
        "endless shape": header(a=f32 | {"shape": [1 << 62, 1 << 62]}) + bytes(16),
        "unknown type": header(a=f32 | {"dtype": "Q1"}) + bytes(16),
        "unknown layer": header(**{"base_model.model.x.lora_A.weight": f32}) + bytes(16),
    }


def test_row_13_bad_weights_are_refused_with_a_reason_and_serving_goes_on(
    api: TestClient, console: Console, ours: Workspace, adapter_zip: Callable[..., bytes]
) -> None:
    body = {"model": "alpha", "messages": [{"role": "user", "content": "say 1"}], "max_new_tokens": 8}
    expected = api.post("/inference", json=body, headers=ours.headers()).json()["text"]
    answers: list[Any] = []
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            answer = api.post("/inference", json=body, headers=ours.headers())
            answers.append((answer.status_code, answer.json().get("text")))

    asking = threading.Thread(target=keep_asking)
    before = everything_below(console.settings.home)
    asking.start()
    try:
        for name, weights in bad_weights().items():
            answer = send_adapter(api, ours, adapter_zip(3, **{WEIGHTS: weights}))
            assert answer.status_code == 422, (name, answer.text)
            assert answer.json()["error"]["why"], name
        for use, value in (
            ("use_dora", True),
            ("bias", "all"),
            ("modules_to_save", ["lm_head"]),
            ("r", 10**9),
        ):
            config = json.dumps(
                {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], use: value}
            )
            answer = send_adapter(api, ours, adapter_zip(3, **{CONFIG: config.encode()}))
            assert answer.status_code == 422, (use, answer.text)
    finally:
        done.set()
        asking.join()
    assert answers
    assert set(answers) == {(200, expected)}
    assert everything_below(console.settings.home) == before


def test_row_14_an_adapter_that_names_remote_things_makes_no_connection(
    api: TestClient, ours: Workspace, adapter_zip: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    taken = 0

    def refuse(_: socket.socket, address: Any) -> None:
        called.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    names = [
        path.rpartition(".")[2]
        for path in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    ]
    plain = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": names}
    remote = {
        "base_model_name_or_path": "https://evil.example/model",
        "revision": "main",
        "auto_mapping": {"base_model_class": "Evil", "parent_library": "os"},
        "auto_map": {"AutoModel": "evil--module.Evil"},
        "trust_remote_code": True,
    }
    for count in range(1, len(remote) + 1):
        config = plain | dict(list(remote.items())[:count])
        answer = send_adapter(api, ours, adapter_zip(7, **{CONFIG: json.dumps(config).encode()}))
        assert answer.status_code in (201, 422), answer.text
        if answer.status_code == 201:
            taken += 1
            body = {
                "model": answer.json()["id"],
                "messages": [{"role": "user", "content": "x"}],
                "max_new_tokens": 1,
            }
            assert api.post("/inference", json=body, headers=ours.headers()).status_code == 200
    assert called == []
    assert taken >= 1


def test_row_15_archives_and_file_names_lead_nowhere(
    api: TestClient, console: Console, ours: Workspace, adapter_zip: Callable[..., bytes]
) -> None:
    before = everything_below(console.settings.home.parent)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        entry = tarfile.TarInfo("../../evil.json")
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"{}"))
        link = tarfile.TarInfo(CONFIG)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    evil = [tar.getvalue(), gzip.decompress(tar.getvalue())]
    places = (
        "../evil",
        "/tmp/evil",
        "..\\evil",
        "a/../../evil",
        "..%2fevil",
        "//proc/self/root/tmp/evil",
        "a#b/../evil",
    )
    evil += [adapter_zip(3, **{place: b"{}"}) for place in places]
    for content in evil:
        assert send_adapter(api, ours, content).status_code == 422
    for place in (*places, "\x00", ".", "..", "x" * 300, "CON", "~root/.ssh/authorized_keys"):
        answer = send_set(api, ours, b'{"prompt": "a", "completion": "b"}\n' * 3, name=place or "x")
        assert answer.status_code in (201, 422), answer.text
        assert send_set(api, ours, b"", filename=place).status_code == 422
        # The name that a browser gives a file is never used.
        good = send_adapter(api, ours, adapter_zip(3), name=place)
        assert good.status_code == 201, good.text
    # Only files that are named by their content were added, inside the home folder.
    added = everything_below(console.settings.home.parent) - before
    home = console.settings.home.name
    for path in added:
        parts = Path(path).parts
        assert parts[0] == home, path
        assert parts[1] in ("datasets", "adapters"), path
        assert len(parts[2].split(".")[0]) == 64, path


def jsonl_bombs() -> dict[str, bytes]:
    row = b'{"prompt": "a", "completion": "b"}\n'
    return {
        "depth 100,000": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b', "completion": "b"}\n',
        "open depth": b"[" * 500_000,
        "a line of 3 MB": b'{"prompt": "' + b"a" * (3 * MB) + b'", "completion": "b"}\n',
        "200,000 keys": ("{" + ",".join(f'"k{i}":0' for i in range(200_000)) + "}\n").encode(),
        "not a number": b'{"prompt": NaN, "completion": "b"}\n',
        "infinity": b'{"prompt": "a", "completion": "b", "weight": Infinity}\n',
        "doubled key": b'{"prompt": "a", "prompt": "c", "completion": "b"}\n',
        "invalid utf-8": b'{"prompt": "\xff\xfe", "completion": "b"}\n',
        "lone surrogate": b'{"prompt": "\\ud800", "completion": "b"}\n',
        "huge number": b'{"prompt": ' + b"9" * 100_000 + b', "completion": "b"}\n',
        "gzip of 1 GB": gzip.compress(bytes(64 * MB)) * 16,
        "gzip in gzip": gzip.compress(gzip.compress(row * 100)),
        "gzip cut off": gzip.compress(row * 1000)[:-9],
        "only line ends": b"\r\n" * 1_000_000,
        "NUL": bytes(MB),
    }


def test_row_16_bombs_in_training_files_are_refused_quickly_and_in_little_memory(
    api: TestClient, console: Console, ours: Workspace
) -> None:
    before = everything_below(console.settings.home)
    bombs = jsonl_bombs()
    reset_peak()
    start = peak_bytes()
    for name, content in bombs.items():
        began = time.process_time()
        answer = send_set(api, ours, content)
        spent = time.process_time() - began
        assert answer.status_code in (413, 422), (name, answer.text[:500])
        assert spent < 5, (name, spent)
        assert len(answer.text) < 4000, name
    assert peak_bytes() - start < 150 * MB
    assert everything_below(console.settings.home) == before
    good = b"\xef\xbb\xbf" + b'{"prompt": "a", "completion": "b"}\r\n' * 3
    assert send_set(api, ours, good).status_code == 201


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def server(console: Console) -> Iterator[tuple[str, int]]:
    """The API on a socket, with a limit of 64 MB, on the same database."""
    roomy = build_console(console.settings.model_copy(update={"upload_limit_mb": 64}))
    listening = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(
        uvicorn.Config(build_api(roomy), log_config=None, access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield listening.getsockname()
    running.should_exit = True
    thread.join()
    listening.close()
    roomy.close()


def send_slowly_made(
    address: tuple[str, int], key: str, pieces: Iterator[bytes], *, told: int | None
) -> bytes:
    """A multipart upload whose body never exists as a whole. Without `told` it is chunked."""
    end = b"\r\n--x--\r\n"
    begin = (
        b'--x\r\ncontent-disposition: form-data; name="name"\r\n\r\nlarge\r\n'
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="t.jsonl"\r\n\r\n'
    )
    size = (
        b"transfer-encoding: chunked"
        if told is None
        else b"content-length: %d" % (told + len(begin) + len(end))
    )
    head = (
        b"POST /datasets HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer "
        + key.encode()
        + b"\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        + size
        + b"\r\n\r\n"
    )
    with socket.create_connection(address, timeout=60) as line:
        line.sendall(head)
        try:
            for piece in (begin, *pieces, end):
                line.sendall(piece if told is not None else b"%x\r\n" % len(piece) + piece + b"\r\n")
            if told is None:
                line.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end, which is what should happen
        answer = b""
        try:
            while part := line.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    return answer


def test_row_17_an_upload_goes_to_the_disk_and_not_into_memory(
    server: tuple[str, int], ours: Workspace, console: Console
) -> None:
    row = json.dumps({"prompt": "a" * 2000, "completion": "b" * 47}).encode() + b"\n"
    count = 48 * MB // len(row)
    block = row * 500
    key = ours.keys[Role.TRAINER]
    reset_peak()
    start = peak_bytes()
    answer = send_slowly_made(
        server, key, (block for _ in range(count // 500)), told=count // 500 * len(block)
    )
    assert b" 201 " in answer.split(b"\r\n")[0], answer[-500:]
    assert peak_bytes() - start < 40 * MB
    before = everything_below(console.settings.home)
    reset_peak()
    endless = (bytes(MB) for _ in range(400))
    answer = send_slowly_made(server, key, endless, told=None)
    assert answer == b"" or b" 413 " in answer.split(b"\r\n")[0], answer[:500]
    assert peak_bytes() - start < 60 * MB
    answer = send_slowly_made(server, key, iter(()), told=1 << 40)
    assert b" 413 " in answer.split(b"\r\n")[0], answer[:500]
    assert everything_below(console.settings.home) == before


def test_row_17_a_body_that_does_not_come_is_given_up(
    console: Console, ours: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BODY_PIECE_TIMEOUT_S", 0.2)
    sent: list[Any] = []

    async def run() -> None:
        async def receive() -> Any:
            if not sent:
                await anyio.sleep(5)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [
            (b"authorization", f"Bearer {ours.keys[Role.ADMIN]}".encode()),
            (b"content-type", b"application/json"),
        ]
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": "/inference", "raw_path": b"/inference",
            "root_path": "", "scheme": "http", "query_string": b"", "headers": headers, "server": ("x", 80),
            "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await build_api(console)(scope, receive, send)

    with ThreadPoolExecutor(
        1
    ) as pool:  # a browser that an earlier test has opened keeps a loop in this thread
        pool.submit(anyio.run, run).result()
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_row_17_a_body_of_the_wrong_kind_is_refused(api: TestClient, ours: Workspace) -> None:
    for kind in (
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ):
        for path in ("/datasets", "/adapters", "/inference", "/training/jobs"):
            answer = api.post(
                path, content=os.urandom(2000), headers={**ours.headers(), "content-type": kind}
            )
            assert answer.status_code in (400, 422), (kind, path, answer.text)
            assert "Traceback" not in answer.text
    crowd = {f"f{i}": b"x" for i in range(1100)}
    answer = api.post("/datasets", headers=ours.headers(), files=crowd, data={"name": "x"})
    assert answer.status_code in (400, 422), answer.text
