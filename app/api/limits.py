"""What a workspace may use and what it used."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from app.actions import limits
from app.actions.limits import LimitsView
from app.api.parts import KEY_NEEDED, Caller, TheConsole, errors
from app.api.schemas import Answered, Listed
from core.tenants.limits import MOST, MOST_DAYS, MOST_PRIORITY, MOST_WEIGHT
from core.tenants.records import TenantLimits

router = APIRouter(prefix="/tenants", tags=["tenants"], dependencies=KEY_NEEDED)
TenantId = Annotated[str, Path(max_length=64, description="Id of a workspace.")]
PRIORITY = "Whose request gets a thread first when all of them wait for answers."
WEIGHT = "Part of the engine beside other workspaces."


class LimitsIn(BaseModel):
    """All limits of a workspace. What is left out or null is as the settings say."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"requests_per_minute": 600, "tokens_per_day": 2_000_000, "weight": 2, "priority": 0}
            ]
        },
    )

    requests_per_minute: int | None = Field(None, ge=1, le=MOST["requests_per_minute"])
    tokens_per_minute: int | None = Field(None, ge=1, le=MOST["tokens_per_minute"])
    tokens_per_day: int | None = Field(
        None, ge=1, le=MOST["tokens_per_day"], description="A day is one of UTC."
    )
    concurrent_requests: int | None = Field(None, ge=1, le=MOST["concurrent_requests"])
    priority: int = Field(0, ge=-MOST_PRIORITY, le=MOST_PRIORITY, description=PRIORITY)
    weight: int = Field(1, ge=1, le=MOST_WEIGHT, description=WEIGHT)


class LimitsValues(Answered):
    """Limits of a workspace."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    concurrent_requests: int | None
    priority: int = Field(description=PRIORITY)
    weight: int = Field(description=WEIGHT)


class LimitsOut(Answered):
    """What was set for a workspace, and what holds."""

    tenant_id: str
    tenant_slug: str
    given: LimitsValues = Field(description="What was set for this workspace; null: nothing was.")
    counting: LimitsValues = Field(description="What holds; null: no limit.")


class UsageOut(Answered):
    """What a workspace used on one day."""

    day: date = Field(description="UTC.")
    requests: int = Field(description="Answers.")
    prompt_tokens: int
    completion_tokens: int


@router.get("/me/limits", summary="Limits of your workspace", responses=errors())
def read_own(console: TheConsole, caller: Caller) -> LimitsOut:
    """What your workspace may use: requests and tokens a minute, tokens a day, answers at once, its part of the engine."""
    return _told(limits.own_limits(console, caller))


@router.get("/me/usage", summary="Usage of your workspace", responses=errors())
def read_usage(
    console: TheConsole,
    caller: Caller,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="How many days, today among them.")] = 30,
) -> Listed[UsageOut]:
    """Answers and tokens by day (UTC), newest first; days without any are left out. A second late."""
    found = limits.own_usage(console, caller, days=days)
    return Listed(items=[UsageOut.model_validate(day) for day in found])


@router.get("/{tenant_id}/limits", summary="Limits of a workspace", responses=errors(404))
def read(console: TheConsole, caller: Caller, tenant_id: TenantId) -> LimitsOut:
    """Of any workspace, for administrators of the one that runs the installation (RMN_OPERATOR_WORKSPACE)."""
    return _told(limits.limits_of(console, caller, tenant_id))


@router.put("/{tenant_id}/limits", summary="Set the limits of a workspace", responses=errors(404))
def change(console: TheConsole, caller: Caller, tenant_id: TenantId, body: LimitsIn) -> LimitsOut:
    """For administrators of the workspace that runs the installation (RMN_OPERATOR_WORKSPACE). Written into the audit
    log. Counts at once in this process and two seconds later in others."""
    return _told(limits.set_limits(console, caller, tenant_id, TenantLimits(**body.model_dump())))


def _told(view: LimitsView) -> LimitsOut:
    return LimitsOut.model_validate(view)
