"""Who may open which screen and call which route. What is not written here is denied."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from core.tenants.records import Permission, Principal

Route = tuple[str, str]

REGISTRATION: Route = ("POST", "/tenants/register")
METRICS: Route = ("GET", "/metrics")

# Screens by path; routes of the API by method and path within the API; routes of the console by method and path.
POLICIES: Mapping[str | Route, Permission] = MappingProxyType(
    {
        "pages/overview.py": Permission.VIEW,
        "pages/datasets.py": Permission.VIEW,
        "pages/mappings.py": Permission.VIEW,
        "pages/data_browser.py": Permission.VIEW,
        "pages/training.py": Permission.TRAIN,
        "pages/jobs.py": Permission.VIEW,
        "pages/adapters.py": Permission.VIEW,
        "pages/federation.py": Permission.INFER,
        "pages/gates.py": Permission.VIEW,
        "pages/serving.py": Permission.VIEW,
        "pages/experiments.py": Permission.VIEW,
        "pages/analytics.py": Permission.VIEW,
        "pages/admin.py": Permission.ADMINISTER,
        ("GET", "/health"): Permission.PUBLIC,
        ("GET", "/ready"): Permission.PUBLIC,
        ("GET", "/openapi.json"): Permission.PUBLIC,
        ("POST", "/inference"): Permission.INFER,
        ("GET", "/v1/models"): Permission.INFER,
        ("POST", "/v1/chat/completions"): Permission.INFER,
        ("GET", "/adapters"): Permission.VIEW,
        ("POST", "/adapters"): Permission.TRAIN,
        ("GET", "/adapters/{adapter_id}"): Permission.VIEW,
        ("GET", "/adapters/{adapter_id}/export"): Permission.VIEW,
        ("GET", "/datasets"): Permission.VIEW,
        ("POST", "/datasets"): Permission.TRAIN,
        ("POST", "/datasets/raw"): Permission.TRAIN,
        ("GET", "/mappings"): Permission.VIEW,
        ("POST", "/mappings"): Permission.TRAIN,
        ("POST", "/mappings/suggest"): Permission.TRAIN,
        ("GET", "/mappings/{mapping_id}"): Permission.VIEW,
        ("GET", "/mappings/{mapping_id}/versions/{version}"): Permission.VIEW,
        ("POST", "/mappings/{mapping_id}/activate"): Permission.TRAIN,
        ("POST", "/harmonize"): Permission.TRAIN,
        ("GET", "/harmonize/jobs/{job_id}"): Permission.VIEW,
        ("GET", "/harmonize/runs"): Permission.VIEW,
        ("GET", "/harmonize/runs/{run_id}/download"): Permission.VIEW,
        ("GET", "/composition/federations"): Permission.VIEW,
        ("POST", "/composition/federations"): Permission.TRAIN,
        ("GET", "/composition/federations/{name}"): Permission.VIEW,
        ("GET", "/composition/federations/{name}/versions"): Permission.VIEW,
        ("GET", "/composition/federations/{name}/diff"): Permission.VIEW,
        ("POST", "/composition/federations/{name}/rollback"): Permission.TRAIN,
        ("POST", "/composition/swap"): Permission.TRAIN,
        ("GET", "/composition/swaps"): Permission.VIEW,
        ("GET", "/composition/stats"): Permission.VIEW,
        ("POST", "/composition/prefetch"): Permission.TRAIN,
        ("POST", "/composition/compose"): Permission.TRAIN,
        ("GET", "/composition/compose/{preparation_id}"): Permission.VIEW,
        ("DELETE", "/composition/compose/{preparation_id}"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments"): Permission.TRAIN,
        ("GET", "/ab-testing/experiments"): Permission.VIEW,
        ("GET", "/ab-testing/experiments/{experiment_id}"): Permission.VIEW,
        ("PUT", "/ab-testing/experiments/{experiment_id}"): Permission.TRAIN,
        ("DELETE", "/ab-testing/experiments/{experiment_id}"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments/{experiment_id}/start"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments/{experiment_id}/pause"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments/{experiment_id}/resume"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments/{experiment_id}/stop"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments/{experiment_id}/ramp"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments/{experiment_id}/promote"): Permission.TRAIN,
        ("POST", "/ab-testing/experiments/{experiment_id}/rollback"): Permission.TRAIN,
        ("GET", "/ab-testing/experiments/{experiment_id}/results"): Permission.VIEW,
        ("POST", "/ab-testing/assign"): Permission.INFER,
        ("POST", "/ab-testing/impressions"): Permission.REVIEW,
        ("POST", "/ab-testing/advice"): Permission.VIEW,
        ("POST", "/ab-testing/offline"): Permission.TRAIN,
        ("POST", "/feedback/preference-pair"): Permission.REVIEW,
        ("GET", "/feedback/stats"): Permission.VIEW,
        ("GET", "/feedback/export-dpo"): Permission.VIEW,
        ("GET", "/analytics/adapters/{adapter_id}"): Permission.VIEW,
        ("GET", "/analytics/top-performers"): Permission.VIEW,
        ("GET", "/analytics/comparison"): Permission.VIEW,
        ("GET", "/analytics/totals"): Permission.VIEW,
        ("GET", "/analytics/series"): Permission.VIEW,
        ("GET", "/analytics/errors"): Permission.VIEW,
        ("GET", "/analytics/requests"): Permission.VIEW,
        ("POST", "/analytics/record"): Permission.REVIEW,
        ("POST", "/analytics/feedback"): Permission.REVIEW,
        ("GET", "/training/jobs"): Permission.VIEW,
        ("POST", "/training/jobs"): Permission.TRAIN,
        ("GET", "/training/jobs/{job_id}"): Permission.VIEW,
        ("DELETE", "/training/jobs/{job_id}"): Permission.TRAIN,
        ("GET", "/training/jobs/{job_id}/points"): Permission.VIEW,
        REGISTRATION: Permission.ADMINISTER,  # of any workspace; open to all where the settings say so
        ("GET", "/tenants/me/limits"): Permission.VIEW,
        ("GET", "/tenants/me/usage"): Permission.VIEW,
        ("GET", "/tenants/{tenant_id}/limits"): Permission.ADMINISTER,
        (
            "PUT",
            "/tenants/{tenant_id}/limits",
        ): Permission.ADMINISTER,  # of the workspace that runs the installation
        ("GET", "/alerts"): Permission.VIEW,
        ("POST", "/alerts/{alert_id}/acknowledge"): Permission.REVIEW,
        ("POST", "/alerts/{alert_id}/resolve"): Permission.REVIEW,
        ("GET", "/alerts/rules"): Permission.VIEW,
        ("PUT", "/alerts/rules"): Permission.ADMINISTER,
        ("PUT", "/alerts/webhook"): Permission.ADMINISTER,
        ("GET", "/alerts/deliveries"): Permission.ADMINISTER,
        ("GET", "/health/system"): Permission.VIEW,
        METRICS: Permission.ADMINISTER,  # of that workspace; or the token that the settings name
        ("GET", "/sign-in"): Permission.PUBLIC,
        ("POST", "/sign-in"): Permission.PUBLIC,
        ("GET", "/sign-in/link"): Permission.PUBLIC,
        ("POST", "/sign-in/link"): Permission.PUBLIC,
        ("POST", "/sign-out"): Permission.VIEW,
    }
)


def match_route(path: str) -> tuple[str | None, dict[str, Permission]]:
    """The template that a path fits (/adapters/{adapter_id}) and what each of its methods asks for."""
    for template, pattern in _PATTERNS:
        if pattern.fullmatch(path):
            return template, dict(_METHODS[template])
    return None, {}


def may_open(principal: Principal, screen: str) -> bool:
    """Whether this principal may open a screen, named by its path (pages/overview.py)."""
    permission = POLICIES.get(screen)
    return permission is not None and principal.may(permission)


def _methods() -> Mapping[str, Mapping[str, Permission]]:
    found: dict[str, dict[str, Permission]] = {}
    for key, permission in POLICIES.items():
        if isinstance(key, tuple):
            method, template = key
            found.setdefault(template, {})[method] = permission
    return MappingProxyType(found)


_METHODS = _methods()
# Templates without a variable part come first, as the more exact ones.
_PATTERNS = tuple(
    (template, re.compile(re.sub(r"\{\w+\}", "[^/]+", template)))
    for template in sorted(_METHODS, key=lambda template: ("{" in template, template))
)
