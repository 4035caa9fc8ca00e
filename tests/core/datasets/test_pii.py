"""Personal data and secrets are found; the numbers of retail media are not mistaken for them."""

import random

import pytest

from core.datasets.pii import find_personal_data, holds_secret, is_gtin, is_iban, passes_luhn


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe+ads@mail.shop.co.uk please", "e-mail"),
        ('{"contact":"j_doe@example.com"}', "e-mail"),
        ("call +49 171 2345678", "phone"),
        ("call +1 (415) 555-2671.", "phone"),
        ("call (415) 555-2671", "phone"),
        ("call 415-555-2671", "phone"),
        ("Phone: 0171 2345678", "phone"),
        ("tel=030/1234567", "phone"),
        ("card 4111 1111 1111 1111 exp", "card"),
        ("4111111111111111", "card"),
        ("pay with 5500-0000-0000-0004", "card"),
        ("amex 378282246310005", "card"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN"),
        ("GB29NWBK60161331926819", "IBAN"),
        ("SSN 078-05-1120", "social security number"),
    ],
)
def test_personal_data_is_found(text, kind) -> None:
    assert kind in find_personal_data(text)


@pytest.mark.parametrize(
    "text",
    [
        "zeitmrk=2026-05-20T14:10:04+02:00|vorfall=gsehn|kmp=1429646|artnum=A286536|ums_ct=7636",
        '{"tgMs":1772409600000,"knr":"14201979","mkE":2200000,"umE":14380000}',
        "12.2025.03 10:11:12\tnähty\t210617\tT367915\t0.00",
        "gtin 00012345600012, EAN 4006381333931, UPC 036000291452",
        '{"campaign_id":"4111111111111111"}',
        "order 4111111111111111",
        "ids 123456789012345678 and 987654321098765432",
        "card 4111 1111 1111 1112",
        "version 1.2.3.4, price 1,234.50, 100 @ 2.50, a@b",
        "000-12-3456 and 123-00-4567",
        "cid-20260105-415-5552671-88",
        "DE00 0000 0000 0000 0000 00",
        "+02:00 and +1.5 % and C++ 2026-01-02",
    ],
)
def test_numbers_of_retail_media_are_not_personal_data(text) -> None:
    assert find_personal_data(text) == set()


def test_random_ids_times_and_gtins_give_few_false_alarms() -> None:
    rng = random.Random(5)
    texts = []
    for _ in range(20_000):
        stamp = rng.randrange(1_600_000_000_000, 1_900_000_000_000)
        body = f"{rng.randrange(10**12):012d}"
        texts.append(
            f'{{"ts":{stamp},"campaign_id":"{rng.randrange(10**17, 10**18)}","gtin":"0{body}",'
            f'"knr":{rng.randrange(10**7, 10**12)},"cost":{rng.randrange(10**9)}}}'
        )
    assert sum(bool(find_personal_data(text)) for text in texts) <= 20


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----",
        "aws AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1" * 20,
        "sk-" + "proj_" * 6,
        "xoxb-1234567890-abc",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ],
)
def test_secrets_are_found(text) -> None:
    assert holds_secret(f"key={text} end")
    assert not holds_secret(text[:6])


def test_check_digits_agree_with_published_numbers() -> None:
    # ISO/IEC 7812-1's example, GS1's examples, ISO 13616's example.
    assert passes_luhn("79927398713")
    assert not passes_luhn("79927398710")
    assert all(is_gtin(code) for code in ("629104150021" + "3", "036000291452", "40170725", "10614141000415"))
    assert not any(is_gtin(code) for code in ("6291041500214", "12345", "abc"))
    assert is_iban("GB82WEST12345698765432")
    assert not is_iban("GB82WEST12345698765433")


@pytest.mark.parametrize(
    "text", ["eyJ-" * 100_000, "+1" * 200_000, "1 " * 200_000, "a@" * 200_000, '\\"' * 300_000]
)
@pytest.mark.timeout(20)
def test_no_text_makes_the_search_slow(text) -> None:
    find_personal_data(text)
    holds_secret(text)
