"""Numbers with the noun and the verb that belong to them: «1 row is», «2,000 rows are»."""

from types import MappingProxyType

_ONE = MappingProxyType({"are": "is", "have": "has", "were": "was", "do": "does"})


def counted(count: int, noun: str, many: str = "") -> str:
    """«1 row», «2,000 rows». `many`: the plural, where it is not the noun with an s."""
    return f"1 {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"


def agree(count: int, verb: str) -> str:
    """The verb, given in its plural form, as it goes with a count: «are» or «is», «lie» or «lies»."""
    return verb if count != 1 else _ONE.get(verb, f"{verb}s")
