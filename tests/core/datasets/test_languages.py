"""Languages are told from sentences, and not from records."""

import polars as pl
import pytest

from core.datasets.check_text import language_mix
from core.datasets.languages import languages
from core.datasets.records import Example, Split
from core.datasets.table import table_of

SENTENCES = {
    "en": "The budget of this campaign is spent before noon, and it will not last for the evening.",
    "de": "Das Budget der Kampagne ist vor dem Mittag verbraucht und reicht nicht für den Abend.",
    "fr": "Le budget de la campagne est dépensé avant midi et ne suffit pas pour la soirée.",
    "es": "El presupuesto de la campaña se gasta antes del mediodía y no alcanza para la noche.",
    "it": "Il budget della campagna è speso prima di mezzogiorno e non basta per la sera.",
    "pt": "O orçamento da campanha é gasto antes do meio-dia e não chega para a noite.",
    "nl": "Het budget van de campagne is voor de middag op en dat is niet genoeg voor de avond.",
    "pl": "Budżet kampanii jest wydany przed południem i nie wystarcza na wieczór, co się często zdarza.",
    "ru": "Бюджет кампании израсходован до полудня и его не хватает на вечер.",
    "ja": "このキャンペーンの予算は正午までに使い切られます。",
    "zh": "该广告系列的预算在中午之前就已用完。",
    "ko": "이 캠페인의 예산은 정오 전에 소진됩니다.",
    "ar": "ميزانية هذه الحملة تنفد قبل الظهر.",
}


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_a_sentence_tells_its_language(code) -> None:
    assert languages(pl.Series([SENTENCES[code]])).to_list() == [code]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kost_ct=7|stk=73|ums_ct=89",
        '{"clicks": 3}',
        "K1 K2 K3",
        "Pomelia",
        "the",
        "die in to of und",
        "1 2 3",
    ],
)
def test_what_is_no_sentence_has_no_known_language(text) -> None:
    assert languages(pl.Series([text])).to_list() == [""]


def mixed(*answers: str) -> list[int]:
    table = table_of([Example(f"q{n}", text, Split.TRAIN, None, n + 1) for n, text in enumerate(answers)])
    found = language_mix(table, languages(table.frame["answer"]))
    return [] if found is None else found.places.tolist()


def test_a_few_answers_in_another_language_are_found_and_a_bilingual_set_is_not() -> None:
    assert mixed(*[SENTENCES["en"]] * 60, SENTENCES["de"], "no sentence") == [60]
    assert mixed(*[SENTENCES["en"]] * 60) == []
    assert mixed(*[SENTENCES["en"], SENTENCES["de"]] * 30) == []
    assert mixed(SENTENCES["en"], SENTENCES["de"]) == []
