import json
import re
from itertools import islice

from core.demo.corpus import EARLY_DOCUMENTS, base_corpus
from core.demo.invented import RESERVED
from core.demo.retailers import TEST_RETAILERS, private_words
from core.rmis.facts import validate_record


def _documents():
    corpus = base_corpus()
    later = corpus.documents(EARLY_DOCUMENTS)
    return [*islice(corpus.documents(), 1000), *islice(later, 2000)]


def test_the_corpus_never_shows_a_test_retailers_name_or_private_word():
    words: set[str] = set()
    for document in _documents():
        for message in document:
            words.update(re.findall(r"[^\W_]\w*", message["content"]))
            assert not any(spec.name in message["content"] for spec in TEST_RETAILERS)
    private = {word for spec in TEST_RETAILERS for word in private_words(spec)}
    assert words.isdisjoint(private)
    assert private <= RESERVED


def test_a_later_start_continues_the_same_stream():
    corpus = base_corpus()
    assert list(islice(corpus.documents(7), 3)) == list(islice(corpus.documents(), 7, 10))


def test_the_same_seed_gives_the_same_documents_and_another_seed_others():
    assert base_corpus(1).document(3) == base_corpus(1).document(3)
    assert base_corpus(1).document(3) != base_corpus(2).document(3)


def test_harmonized_answers_are_valid_rmis_records():
    for document in _documents()[:800]:
        if document[-2]["content"].startswith("Harmonize"):
            assert validate_record(json.loads(document[-1]["content"])) == []


def test_every_kind_of_task_occurs():
    heads = [document[-2]["content"].split(":")[0] for document in _documents()]
    kinds = {"Read" if head.startswith("Read ") else head for head in heads}
    assert kinds == {
        "Read",
        "Harmonize",
        "Look up",
        "Map column",
        "Map fields",
        "Copy",
        "Divide",
        "UTC",
        "Do",
        "Write",
    }


def test_at_least_96_opaque_retailers_recur():
    known = base_corpus().known
    assert len({spec.name for spec in known}) >= 96
    assert any(column.codes for spec in known for column in spec.columns)
