"""Confidence is a share of right suggestions."""

import random

import pytest

from core.harmonize.suggest.confidence import (
    Features,
    confidence,
    expected_calibration_error,
    fit_weights,
)


def test_more_lead_is_more_confidence_within_bounds() -> None:
    told = [confidence(Features(lead, 6.0)) for lead in (-5, 0, 1, 3, 9, 99)]
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] <= 0.99


def test_a_column_whose_best_target_was_taken_is_less_sure() -> None:
    assert confidence(Features(3.0, 6.0, forced=True)) < confidence(Features(3.0, 6.0))


def test_a_fit_finds_the_shares_that_it_was_shown() -> None:
    draw = random.Random(4)
    leads = [draw.uniform(0, 6) for _ in range(4000)]
    right = [draw.random() < 1 / (1 + 2.718281828 ** -(lead - 1)) for lead in leads]
    weights = fit_weights([Features(lead, 5.0) for lead in leads], right)
    for lead in (0.5, 2.0, 4.0):
        assert confidence(Features(lead, 5.0), weights) == pytest.approx(
            1 / (1 + 2.718281828 ** -(lead - 1)), abs=0.06
        )


def test_all_right_does_not_run_to_extremes() -> None:
    weights = fit_weights([Features(2.0, 6.0)] * 30, [True] * 30)
    assert all(abs(weight) < 100 for weight in weights)


def test_nothing_to_fit_or_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fit_weights([], [])
    with pytest.raises(ValueError, match="nothing"):
        expected_calibration_error([], [])


def test_the_calibration_error_by_hand() -> None:
    # Bin 0.9: four told .9, three right: |.9 − .75| = .15; bin 0.3: one told .3, none right: .3. (4·.15 + .3) / 5
    assert expected_calibration_error([0.9] * 4 + [0.3], [True, True, True, False, False]) == pytest.approx(
        0.18
    )
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0
