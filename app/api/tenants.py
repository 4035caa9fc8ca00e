"""New workspaces."""

from fastapi import APIRouter, Request

from app.actions import people
from app.api.parts import KEY_NEEDED, TheConsole, errors
from app.api.schemas import RegistrationIn, RegistrationOut
from core.tenants.records import Principal

router = APIRouter(prefix="/tenants", tags=["tenants"], dependencies=KEY_NEEDED)


@router.post("/register", status_code=201, summary="Register a workspace", responses=errors(409))
def register(request: Request, console: TheConsole, body: RegistrationIn) -> RegistrationOut:
    """Needs an administrator's key, unless RMN_OPEN_REGISTRATION is set. The first key is shown this once."""
    principal: Principal | None = request.state.principal
    if principal is None:
        console.rates.count_registration(request.client.host if request.client else "")
    tenant, user, made = people.register_tenant(
        console, principal, name=body.name, admin_email=body.admin_email, admin_name=body.admin_name
    )
    return RegistrationOut(
        tenant_id=tenant.id,
        tenant_slug=tenant.slug,
        name=tenant.name,
        admin_user_id=user.id,
        admin_email=user.email,
        api_key=made.secret,
        api_key_role=made.key.role,
    )
