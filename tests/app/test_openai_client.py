"""The official OpenAI client against a real server."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from app.actions import compositions
from app.api.application import build_api
from app.bootstrap import Console
from core.tenants.records import Role

MODEL = "base"


@pytest.fixture(scope="module")
def address(console: Console) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(build_api(console), log_config=None, access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def client(address: str, workspace: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key=workspace.keys[Role.VIEWER], max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, text: str = "hello", **more: Any) -> Any:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 6, **more}
    return client.chat.completions.create(messages=[{"role": "user", "content": text}], **asked)


def test_models_are_listed(client: openai.OpenAI, console: Console) -> None:
    assert [model.id for model in client.models.list()] == [console.engine().status().base_name]


def test_a_conversation_is_answered_with_its_usage(client: openai.OpenAI) -> None:
    answer = ask(client)
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 1 <= answer.usage.completion_tokens <= 6


def test_a_stream_gives_the_same_text_piece_by_piece(client: openai.OpenAI) -> None:
    whole = ask(client, "a longer question about records")
    pieces = list(
        ask(client, "a longer question about records", stream=True, stream_options={"include_usage": True})
    )
    assert {piece.object for piece in pieces} == {"chat.completion.chunk"}
    assert len({piece.id for piece in pieces}) == 1
    assert pieces[0].choices[0].delta.role == "assistant"
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    reasons = [piece.choices[0].finish_reason for piece in pieces if piece.choices]
    assert reasons[-1] == whole.choices[0].finish_reason
    assert set(reasons[:-1]) == {None}
    assert (pieces[-1].choices, pieces[-1].usage) == ([], whole.usage)
    assert pieces[-1].system_fingerprint == whole.system_fingerprint


def test_a_stream_ends_with_done_and_without_usage_unless_asked(address: str, workspace: Any) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "stream": True}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, headers=workspace.headers())
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert "usage" not in answer.text


def test_parts_of_text_system_turns_and_stops_are_understood(client: openai.OpenAI) -> None:
    turns: Any = [
        {"role": "developer", "content": "You map records."},
        {"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
    ]
    same: Any = [{"role": "system", "content": "You map records."}, {"role": "user", "content": "hello"}]
    answers = [
        client.chat.completions.create(model=MODEL, messages=each, max_completion_tokens=4, stop="\n\n\n")
        for each in (turns, same)
    ]
    assert answers[0].choices[0].message == answers[1].choices[0].message
    assert answers[0].usage == answers[1].usage


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI, address: str, workspace: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(client, model="nothing")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError, match="tools: not supported"):
        ask(client, tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model=MODEL, messages=[])
    with pytest.raises(openai.NotFoundError):
        ask(client, model="nothing", stream=True)
    stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="rmn_wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        ask(stranger)


@pytest.fixture
def federations(console: Console, workspace: Any, adapter_zip: bytes, address: str) -> None:
    """Gated and sequential ones, of two names for one adapter."""
    headers = workspace.headers()
    with httpx.Client(base_url=address, headers=headers, timeout=60) as http:
        for name in ("alpha", "beta"):
            files, form = {"file": ("a.zip", adapter_zip)}, {"name": name, "type": "task"}
            assert http.post("/adapters", files=files, data=form).status_code == 201
        stages = [
            {"name": "one", "composition": {"terms": [{"adapter": "alpha"}]}, "max_new_tokens": 4},
            {"name": "two", "composition": {}, "prompt": "{one} {input}"},
        ]
        specs: dict[str, Any] = {
            "Token": {
                "method": "gated",
                "gate": {"kind": "token", "top_k": 1},
                "terms": [{"adapter": "alpha"}, {"adapter": "beta", "layers": [0, 1]}],
            },
            "Pipe": {"method": "sequential", "stages": stages},
            "Broken": {
                "method": "sequential",
                "stages": [stages[0], {**stages[1], "contract": {"kind": "json"}}],
            },
        }
        for name, spec in specs.items():
            saved = http.post("/composition/federations", json={"name": name, "spec": spec})
            assert saved.status_code == 201, saved.text


@pytest.mark.parametrize("model", ["Token", "Pipe"])
def test_gated_and_sequential_federations_answer_whole_and_in_pieces(
    client: openai.OpenAI, federations: None, model: str
) -> None:
    assert model in [each.id for each in client.models.list()]
    whole = ask(client, model=model)
    pieces = list(ask(client, model=model, stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage == whole.usage
    assert pieces[-1].system_fingerprint == whole.system_fingerprint


def test_a_pipeline_that_breaks_its_contract_is_an_error_for_the_client(
    client: openai.OpenAI, federations: None
) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="«two»") as failed:
        ask(client, model="Broken")
    assert failed.value.code == "stage_failed"
    with pytest.raises(openai.APIError, match="«two»"):
        list(ask(client, model="Broken", stream=True))


def test_log_probabilities_come_with_the_answer_and_with_the_last_piece(client: openai.OpenAI) -> None:
    whole = ask(client, logprobs=True)
    told = whole.choices[0].logprobs.content
    assert len(told) == whole.usage.completion_tokens
    assert all(each.logprob <= 0 and each.top_logprobs == [] for each in told)
    assert "".join(each.token for each in told).startswith(whole.choices[0].message.content.strip()[:3])
    pieces = list(ask(client, logprobs=True, stream=True))
    assert pieces[-1].choices[0].logprobs.content == told
    assert {piece.choices[0].logprobs for piece in pieces[:-1]} == {None}
    assert ask(client).choices[0].logprobs is None
    with pytest.raises(openai.UnprocessableEntityError, match="top_logprobs: not supported"):
        ask(client, logprobs=True, top_logprobs=3)


class Watched:
    """Passes a streamed answer on, and remembers whether it came to its end and whether it was closed."""

    def __init__(self, pieces: Any) -> None:
        self.pieces, self.ended, self.closed = pieces, False, threading.Event()

    def __iter__(self) -> "Watched":
        return self

    def __next__(self) -> Any:
        piece = next(self.pieces)
        self.ended = self.ended or piece.final is not None
        return piece

    def close(self) -> None:
        self.pieces.close()
        self.closed.set()


def test_a_reader_who_goes_away_cancels_the_answer(
    client: openai.OpenAI, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[Watched] = []

    def watch(*arguments: Any, **more: Any) -> Watched:
        began.append(Watched(original(*arguments, **more)))
        return began[-1]

    original = compositions.stream
    monkeypatch.setattr(compositions, "stream", watch)
    # Sampled hot, so that answers are long; one that is over before its reader has gone proves nothing.
    for seed in range(30):
        stream = ask(client, "go on", stream=True, max_tokens=64, temperature=2.0, seed=seed)
        next(iter(stream))
        stream.close()
        assert began[-1].closed.wait(60)
        if not began[-1].ended:
            break
    assert not began[-1].ended, "each of 30 answers came to its end although nobody read it"
    deadline = time.monotonic() + 60
    while console.engine().status().running_rows and time.monotonic() < deadline:
        time.sleep(0.02)
    assert console.engine().status().running_rows == 0


def test_many_readers_at_once_each_get_their_own_answer(client: openai.OpenAI) -> None:
    texts = [f"question number {i}" for i in range(6)]
    alone = [ask(client, text).choices[0].message.content for text in texts]
    together: dict[int, str] = {}

    def read(i: int) -> None:
        pieces = ask(client, texts[i % 6], stream=True)
        together[i] = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == {i: alone[i % 6] for i in range(18)}
