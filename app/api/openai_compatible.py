"""GET /v1/models and POST /v1/chat/completions, so that existing clients work unchanged."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import structlog
from anyio import CancelScope, to_thread
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from app.actions import compositions
from app.api.errors import openai_body, unexpected_error
from app.api.openai_schemas import (
    AnswerMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    ModelCard,
    ModelList,
    OpenAIErrorBody,
    TokenChances,
    Usage,
    fingerprint,
    finish_reason,
)
from app.api.parts import KEY_NEEDED, Caller, SessionId, TheConsole, errors, threads_of
from app.api.waiting import OwnThreads
from core.errors import RmnError
from core.serve.records import AnswerPiece, InferenceAnswer

LOG = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"], dependencies=KEY_NEEDED)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {**told, "model": OpenAIErrorBody} for status, told in errors(*statuses).items()}


@router.get("/models", summary="What may be asked", responses=_errors())
async def list_models(request: Request, console: TheConsole, caller: Caller) -> ModelList:
    """The base, each adapter, each federation and each running experiment of your workspace."""
    threads = threads_of(request, console, caller)
    found = await threads.run(lambda: compositions.list_models(console, caller))
    return ModelList(
        data=[
            ModelCard(
                id=model.model,
                created=int(model.created_at.timestamp()) if model.created_at else 0,
                owned_by=caller.tenant_name if model.kind != "base" else "installation",
                kind=model.kind,
                description=model.description,
            )
            for model in found
        ]
    )


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    response_model=ChatCompletion,
    responses={
        **_errors(404, 409),
        200: {
            "description": "The whole answer, or with `stream` its pieces as server-sent events, ended by [DONE].",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def chat(
    request: Request, console: TheConsole, caller: Caller, body: ChatRequest, x_session_id: SessionId = None
) -> Any:
    """OpenAI's chat format. `model` names the base, an adapter, a federation or an experiment (see /v1/models)."""
    threads = threads_of(request, console, caller)
    asked, request_id = body.as_inference(), request.state.request_id
    if not body.stream:
        answer = await threads.run(
            lambda: compositions.answer(
                console, caller, asked, request_id=request_id, session_id=x_session_id
            )
        )
        return _completion(answer, body.model, _now(console))
    pieces = await threads.run(
        lambda: compositions.stream(console, caller, asked, request_id=request_id, session_id=x_session_id)
    )
    options = body.stream_options
    events = _Events(body.model, _now(console), request_id, bool(options and options.include_usage))
    return _EventResponse(_relay(pieces, events, threads), pieces)


class _Events:
    """The pieces of one answer as server-sent events."""

    def __init__(self, model: str, created: int, request_id: str, with_usage: bool) -> None:
        self._head = {
            "id": f"chatcmpl-{request_id.removeprefix('req_')}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self.request_id = request_id
        self._with_usage = with_usage

    def begin(self) -> str:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> str:
        return self._chunk({"content": text})

    def end(self, answer: InferenceAnswer) -> Iterator[str]:
        self._head["system_fingerprint"] = fingerprint(answer)
        if answer.experiment is not None:
            self._head |= {"experiment": answer.experiment, "variant": answer.variant}
        chances = TokenChances.of(answer)  # all with the last piece: before, nobody knows which tokens stand
        yield self._chunk({}, finish_reason(answer), None if chances is None else chances.model_dump())
        if self._with_usage:
            yield _event({**self._head, "choices": [], "usage": Usage.of(answer).model_dump()})
        yield "data: [DONE]\n\n"

    def error(self, error: RmnError) -> str:
        return _event(openai_body(error, self.request_id))

    def _chunk(self, delta: dict[str, str], reason: str | None = None, chances: Any = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": chances, "finish_reason": reason}
        return _event({**self._head, "choices": [choice]})


class _EventResponse(StreamingResponse):
    """Cancels the answer in every case, also when its reader went away before the first event."""

    def __init__(self, content: AsyncIterator[str], pieces: Iterator[AnswerPiece]) -> None:
        # A proxy that gathers the pieces would turn the stream into one late answer.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._pieces = pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(_close, self._pieces)


async def _relay(pieces: Iterator[AnswerPiece], events: _Events, threads: OwnThreads) -> AsyncIterator[str]:
    yield events.begin()
    try:
        while (piece := await threads.run(lambda: next(pieces, None))) is not None:
            if piece.text:
                yield events.text(piece.text)
            if piece.final is not None:
                for event in events.end(piece.final):
                    yield event
    except RmnError as error:
        LOG.warning("inference.stream_failed", reason=str(error))
        yield events.error(error)
    except Exception:  # the head of the answer is sent already, so this is the last place to say it
        LOG.exception("inference.stream_failed")
        yield events.error(unexpected_error(events.request_id))


def _completion(answer: InferenceAnswer, model: str, created: int) -> ChatCompletion:
    return ChatCompletion(
        id=f"chatcmpl-{answer.request_id.removeprefix('req_')}",
        created=created,
        model=model,
        choices=[
            Choice(
                message=AnswerMessage(content=answer.text),
                logprobs=TokenChances.of(answer),
                finish_reason=finish_reason(answer),
            )
        ],
        usage=Usage.of(answer),
        system_fingerprint=fingerprint(answer),
        experiment=answer.experiment,
        variant=answer.variant,
    )


def _now(console: TheConsole) -> int:
    return int(console.clock().timestamp())


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _close(pieces: Iterator[AnswerPiece]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()
