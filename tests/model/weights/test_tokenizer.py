import pytest

from model.weights.e5 import Vocabulary
from model.weights.tokenizer import unigram_tokenizer

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁a", "b", "▁cat", "s", "fi", "c", "a", "t"]
TOKENIZER = unigram_tokenizer(Vocabulary([(piece, -float(i)) for i, piece in enumerate(PIECES)], 0, 2, 1, 3))


def pieces(text: str) -> list[str]:
    return TOKENIZER.encode(text).tokens


def test_words_become_pieces_between_the_specials() -> None:
    assert pieces("a cats") == ["<s>", "▁a", "▁cat", "s", "</s>"]
    assert pieces("") == ["<s>", "</s>"]
    assert TOKENIZER.decode(TOKENIZER.encode("a cats").ids) == "a cats"


@pytest.mark.parametrize(
    "text", ["  a   cats ", "a\tcats", "a\n\ncats\n", "a\u3000cats", "a\u200bcats", "\ufeffa cats"]
)
def test_white_space_of_any_kind_counts_once(text: str) -> None:
    assert pieces(text) == pieces("a cats")


def test_compatibility_forms_and_controls_are_normalised() -> None:
    assert pieces("ａ") == pieces("a")
    assert pieces("ﬁ") == ["<s>", "▁", "fi", "</s>"]
    assert pieces("c\x00at\x7fs") == pieces("cats")


def test_unknown_characters_are_unknown() -> None:
    assert TOKENIZER.encode("a語").ids == [0, 5, 3, 2]


def test_pairs_are_joined_as_in_xlm_r() -> None:
    assert TOKENIZER.encode("a", "a").tokens == ["<s>", "▁a", "</s>", "</s>", "▁a", "</s>"]
