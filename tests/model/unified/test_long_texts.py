"""A text of megabytes costs no more than one that is just too long."""

import time

import pytest

from model.content import Content
from model.errors import ContentError
from model.unified.encoder import UnifiedEncoder

WORDS = 400_000  # whole, the tokeniser would take gigabytes and more than a minute for them


def test_a_text_of_megabytes_is_cut_before_it_is_tokenised(tiny_encoder: UnifiedEncoder) -> None:
    started = time.monotonic()
    batch = tiny_encoder.preprocess([Content.of("word " * WORDS), Content.of("word " * 2000)])
    assert time.monotonic() - started < 20
    assert (batch.token_ids_NL[0] == batch.token_ids_NL[1]).all()
    assert tiny_encoder.count_tokens(Content.of("word " * WORDS)) == tiny_encoder.count_tokens(
        Content.of("word " * 2000)
    )


def test_a_model_that_cuts_nothing_refuses_it(tiny_encoder: UnifiedEncoder) -> None:
    preprocessor = tiny_encoder.preprocessor
    preprocessor.config = preprocessor.config.model_copy(update={"truncate": "error"})
    with pytest.raises(ContentError, match=r"2000000 characters .* too many for max_text_tokens") as caught:
        preprocessor([Content.of("word " * WORDS)])
    assert caught.value.limit == "max_text_tokens"
