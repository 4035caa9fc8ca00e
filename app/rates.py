"""How often: API requests of a tenant, failed sign-ins of an address. Counted in this process."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from core.errors import BusyError

FAILED_SIGN_INS_PER_MINUTE = 10
FAILED_SIGN_INS_PER_MINUTE_AND_HOST = 60
REGISTRATIONS_PER_MINUTE_AND_HOST = 5


class Rates:
    """Raises BusyError with the seconds to wait. Safe from any thread."""

    def __init__(self, requests_per_minute: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(requests_per_minute, namespace="api")
        self._failed = RateLimitItemPerMinute(FAILED_SIGN_INS_PER_MINUTE, namespace="sign-in")
        self._failed_at_host = RateLimitItemPerMinute(
            FAILED_SIGN_INS_PER_MINUTE_AND_HOST, namespace="sign-in-host"
        )
        self._registrations = RateLimitItemPerMinute(
            REGISTRATIONS_PER_MINUTE_AND_HOST, namespace="registration"
        )

    def count_registration(self, host: str) -> None:
        """Count a workspace that somebody without a key registers."""
        if not self._limiter.hit(self._registrations, host):
            raise BusyError(
                "Too many registrations.",
                f"At most {self._registrations.amount} a minute come from one address.",
                "Wait as long as Retry-After says.",
                retry_after_s=self._wait_s(self._registrations, host),
            )

    def count_request(self, tenant_id: str) -> None:
        """Count one API request of a tenant."""
        if not self._limiter.hit(self._requests, tenant_id):
            raise BusyError(
                "Too many requests.",
                f"Your workspace may make {self._requests.amount:,} a minute.",
                "Wait as long as Retry-After says.",
                retry_after_s=self._wait_s(self._requests, tenant_id),
            )

    def check_sign_in(self, account: str, host: str) -> None:
        """Refuse another try for an account or from a host that failed too often in the last minute."""
        for item, name in ((self._failed, account), (self._failed_at_host, host)):
            if not self._limiter.test(item, name):
                raise BusyError(
                    "Too many attempts to sign in.",
                    "After so many that failed, you have to wait.",
                    "Try again in a minute, or ask an administrator for a sign-in link.",
                    retry_after_s=self._wait_s(item, name),
                )

    def count_failed_sign_in(self, account: str, host: str) -> None:
        """Note that one failed."""
        self._limiter.hit(self._failed, account)
        self._limiter.hit(self._failed_at_host, host)

    def _wait_s(self, item: RateLimitItemPerMinute, name: str) -> float:
        reset = self._limiter.get_window_stats(item, name).reset_time
        return float(max(1, math.ceil(reset - time.time())))
