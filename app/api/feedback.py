"""What people prefer: pairs of answers, and their export for training."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.actions import feedback
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import Answered
from core.feedback.records import PairDraft, PairSource

router = APIRouter(prefix="/feedback", tags=["feedback"], dependencies=KEY_NEEDED)
NDJSON = "application/x-ndjson"
EXAMPLES = {
    "pair": {
        "summary": "Two answers to one question",
        "value": {
            "messages": [{"role": "user", "content": "Write a headline for sparkling water."}],
            "chosen": "Bubbles, not sugar.",
            "rejected": "Buy our sparkling water today!",
            "chosen_model": "Alpha in Acme's voice v2",
            "rejected_model": "retailer_alpha v1",
        },
    }
}


class PairOut(Answered):
    """A judgement as it is kept."""

    id: str
    digest: str = Field(description="Names the prompt and both answers, whichever was chosen.")
    chosen_model: str
    rejected_model: str
    source: PairSource
    created_by: str
    created_at: datetime


class TallyOut(Answered):
    """How often the answers of one model were chosen and rejected."""

    model: str
    chosen: int
    rejected: int


class FeedbackStatsOut(Answered):
    """All judgements together. `agreement`: of the couples of people who judged the same answers, who agree."""

    judgements: int
    people: int
    prompts: int
    exportable: int
    judged_twice: int
    couples: int
    agreement: float | None
    by_source: dict[str, int]
    by_model: list[TallyOut]


@router.post("/preference-pair", status_code=201, summary="Say which answer is better", responses=errors(409))
def record_pair(
    console: TheConsole, caller: Caller, body: Annotated[PairDraft, Body(openapi_examples=EXAMPLES)]
) -> PairOut:
    """Kept once for each person. The same again answers the first; the opposite is refused."""
    return PairOut.model_validate(feedback.record_pair(console, caller, body, source=PairSource.API))


@router.get("/stats", summary="What people prefer", responses=errors())
def stats(console: TheConsole, caller: Caller) -> FeedbackStatsOut:
    """Counts by model, and how far people agree."""
    return FeedbackStatsOut.model_validate(feedback.feedback_stats(console, caller))


@router.get(
    "/export-dpo",
    summary="Preferences for training",
    response_class=StreamingResponse,
    responses={
        **errors(),
        200: {
            "description": "A line of JSON for each pair.",
            "content": {NDJSON: {"schema": {"type": "string"}}},
        },
    },
)
def export_dpo(console: TheConsole, caller: Caller) -> StreamingResponse:
    """JSONL that TRL's DPO trainer loads: prompt, chosen, rejected. Pairs without a majority are left out."""
    return StreamingResponse(
        feedback.export_dpo(console, caller),
        media_type=NDJSON,
        headers={"content-disposition": 'attachment; filename="preferences.jsonl"'},
    )
