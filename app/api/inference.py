"""Ask the base, an adapter, a federation, or a composition said in full."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Body, Request

from app.actions import compositions
from app.api.answer_schemas import InferenceOut
from app.api.parts import KEY_NEEDED, Caller, SessionId, TheConsole, errors, threads_of
from core.serve.records import InferenceRequest

LOG = structlog.get_logger(__name__)
router = APIRouter(tags=["inference"], dependencies=KEY_NEEDED)

EXAMPLES = {
    "adapter": {
        "summary": "One adapter, by name",
        "value": {
            "model": "retailer_alpha",
            "messages": [{"role": "user", "content": 'Map this record: {"evt": "click", "sku": "A-1"}'}],
            "max_new_tokens": 128,
        },
    },
    "composition": {
        "summary": "Two adapters with weights",
        "value": {
            "composition": {
                "terms": [
                    {"adapter": "retailer_alpha", "weight": 1.0},
                    {"adapter": "task_planning", "weight": 0.5},
                ]
            },
            "messages": [{"role": "user", "content": "Plan a campaign for sparkling water."}],
        },
    },
    "token gate": {
        "summary": "Whichever adapter fits each token",
        "value": {
            "composition": {
                "method": "gated",
                "gate": {"kind": "token", "top_k": 1},
                "terms": [{"adapter": "retailer_alpha"}, {"adapter": "task_planning"}],
            },
            "messages": [{"role": "user", "content": "Plan a campaign for sparkling water."}],
            "logprobs": True,
        },
    },
    "base": {
        "summary": "The base alone",
        "value": {"messages": [{"role": "user", "content": "What is ROAS?"}]},
    },
}


@router.post("/inference", summary="Answer a prompt", responses=errors(404, 409))
async def infer(
    request: Request,
    console: TheConsole,
    caller: Caller,
    body: Annotated[InferenceRequest, Body(openapi_examples=EXAMPLES)],
    x_session_id: SessionId = None,
) -> InferenceOut:
    """Waits until the answer is whole. `model` or `composition` says what answers; neither: the base. Where `model` names
    an experiment, one of its variants answers: the same for the same `user_id`, else for the same session.

    A pipeline whose stage does not keep its contract ends there: 422 with the code stage_failed, the stage's name and
    what it answered.
    """
    threads = threads_of(request, console, caller)
    request_id = request.state.request_id
    answer = await threads.run(
        lambda: compositions.answer(console, caller, body, request_id=request_id, session_id=x_session_id)
    )
    LOG.info("inference.answered", tokens=answer.completion_tokens)
    return InferenceOut.model_validate(answer)
