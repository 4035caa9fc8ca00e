"""Far tails against scipy's own logarithms and against values of a high-precision calculation (mpmath)."""

import math

import pytest
from scipy import stats

from core.stats.tails import (
    Side,
    log_chi_square_tail,
    log_normal_tail,
    log_student_tail,
    normal_test,
    significance,
    student_test,
)


@pytest.mark.parametrize("z", [-40.0, -8.0, -1.0, -0.3, 0.0, 0.5, 1.96, 5.0, 20.0, 35.0, 36.0, 50.0, 200.0])
def test_the_normal_tail_is_right_at_any_distance(z: float) -> None:
    assert log_normal_tail(z) == pytest.approx(float(stats.norm.logsf(z)), rel=1e-12, abs=1e-300)


def test_a_p_value_of_1e_300_has_twelve_right_digits() -> None:
    # scipy's own tail, which is exact there: P(|Z| > 37.0471).
    z = float(-stats.norm.ppf(0.5e-300))
    assert normal_test(z).p_value == pytest.approx(1e-300, rel=1e-10)


def test_a_p_value_is_never_0_and_its_logarithm_goes_on() -> None:
    found = normal_test(100.0)
    assert found.p_value > 0
    # ln 2 + ln P(Z > 100) = 0.6931 − 5005.5242
    assert found.log_p == pytest.approx(-5004.8311, abs=1e-3)
    assert normal_test(200.0).log_p < found.log_p


@pytest.mark.parametrize(
    ("t", "degrees"), [(0.0, 5), (2.0, 1), (2.5, 10), (30.0, 40), (38.0, 2000), (-3.0, 12.5), (12.0, 7.3)]
)
def test_students_tail_agrees_with_scipy(t: float, degrees: float) -> None:
    assert log_student_tail(t, degrees) == pytest.approx(math.log(stats.t.sf(t, degrees)), rel=1e-10)


@pytest.mark.parametrize(("t", "degrees"), [(1e7, 50.0), (60.0, 5000.0), (60.0, 1e6), (1e40, 20.0)])
def test_students_tail_goes_on_where_a_float_ends(t: float, degrees: float) -> None:
    # Oracle: the same incomplete beta function as an integral, in logarithms, by scipy.
    from scipy.integrate import quad

    def log_density(u: float) -> float:  # of t·eᵘ, with its Jacobian
        return float(stats.t.logpdf(t * math.exp(u), degrees)) + math.log(t) + u

    top = log_density(0.0)
    area = quad(
        lambda u: math.exp(log_density(u) - top), 0, 4, epsabs=0, epsrel=1e-11, limit=400, points=[0.01]
    )
    assert log_student_tail(t, degrees) == pytest.approx(top + math.log(area[0]), rel=1e-9)


@pytest.mark.parametrize(
    ("x", "degrees"), [(0.0, 1), (3.84, 1), (5.99, 2), (40.0, 3), (1300.0, 2), (1300.0, 5)]
)
def test_the_chi_square_tail_agrees_with_scipy(x: float, degrees: int) -> None:
    assert log_chi_square_tail(x, degrees) == pytest.approx(math.log(stats.chi2.sf(x, degrees)), rel=1e-10)


def test_the_chi_square_tail_goes_on_where_a_float_ends() -> None:
    # With 2 degrees the tail is exp(−x/2), with 4 it is exp(−x/2) (1 + x/2).
    assert log_chi_square_tail(5000.0, 2) == pytest.approx(-2500.0, rel=1e-12)
    assert log_chi_square_tail(5000.0, 4) == pytest.approx(-2500.0 + math.log(2501.0), rel=1e-12)


def test_sides_count_what_they_name() -> None:
    assert normal_test(1.6448536269514722, Side.GREATER).p_value == pytest.approx(0.05)
    assert normal_test(1.6448536269514722, Side.LESS).p_value == pytest.approx(0.95)
    assert student_test(-2.228138851964939, 10).p_value == pytest.approx(0.05)
    assert normal_test(0.0).p_value == 1.0


def test_a_failed_test_is_an_error_and_not_a_p_of_1() -> None:
    for broken in (lambda: normal_test(math.nan), lambda: student_test(math.nan, 5.0)):
        with pytest.raises(ValueError, match="no result"):
            broken()
    with pytest.raises(ValueError, match="no result"):
        significance(1.0, 1.0, math.nan)
    with pytest.raises(ValueError, match="degrees"):
        student_test(1.0, 0.0)
    with pytest.raises(ValueError, match="chi-square"):
        log_chi_square_tail(-1.0, 1)
