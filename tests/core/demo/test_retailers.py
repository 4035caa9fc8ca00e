from random import Random

import pytest

from core.demo.development import DEVELOPMENT_RETAILERS
from core.demo.draws import draw_record
from core.demo.prompts import nested, record_prompt, write_rmis
from core.demo.retailers import RETAILER_ALPHA, RETAILER_DELTA, TEST_RETAILERS, RetailerSpec, transform_of
from core.rmis.facts import validate_record
from core.rmis.vocabularies import TRANSFORM_PARAMETERS, TransformOp

ALL = (*TEST_RETAILERS, *DEVELOPMENT_RETAILERS)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.slug)
def test_every_drawn_record_is_valid_rmis(spec: RetailerSpec):
    rng = Random(5)
    for _ in range(50):
        drawn = draw_record(spec, rng, spec.columns)
        assert validate_record(drawn.rmis) == []


def test_no_two_test_retailers_share_a_column_name_a_clock_or_a_shape():
    for number, left in enumerate(TEST_RETAILERS):
        for right in TEST_RETAILERS[number + 1 :]:
            names = {column.name for column in left.known_columns}
            assert names.isdisjoint(column.name for column in right.known_columns)
            assert left.time_format != right.time_format
            assert left.shape is not right.shape


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.slug)
def test_transforms_use_the_parameters_of_rmis(spec: RetailerSpec):
    for column in spec.columns:
        transform = transform_of(spec, column)
        allowed = TRANSFORM_PARAMETERS[TransformOp(str(transform.pop("op")))]
        assert set(transform) <= allowed


def test_cents_and_offsets_become_units_and_utc():
    drawn = draw_record(RETAILER_ALPHA, Random(2))
    assert drawn.rmis["cost"] == pytest.approx(int(drawn.raw["kost_ct"]) / 100)
    assert str(drawn.raw["zeitmrk"]).endswith("+02:00")
    assert str(drawn.rmis["ts"]).endswith("Z")


def test_a_nested_record_keeps_its_groups():
    drawn = draw_record(RETAILER_DELTA, Random(2))
    tree = nested(drawn.raw)
    assert set(tree) == {"evo", "adq", "itx"}
    assert record_prompt(RETAILER_DELTA, drawn.raw).startswith("Harmonize: Retailer Delta\n{")


def test_rmis_numbers_are_written_with_two_decimals():
    assert write_rmis({"clicks": 3, "cost": 1.5}) == '{"clicks":3,"cost":1.50}'
