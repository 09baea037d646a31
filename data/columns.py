"""The columns that rules and a user's own expectations can look at, by table, and what each holds."""

RECORDS = {
    "id": "identity of the record",
    "task": "its task",
    "source": "its source",
    "languages": "its language tags, a space between",
    "license": "its SPDX expression",
    "group": "its leakage key",
    "split": "train, validation or test",
    "shard": "file it lies in",
    "positives": "number of positives",
    "negatives": "number of negatives",
    "languages_ok": "whether every language tag is known",
    "has_query": "whether its query has a part",
    "has_positives": "whether a positive has a part",
    "malformed_part": "whether a part has both text and media, or neither, or an unknown modality",
    "text_empty": "whether a text is missing or blank",
    "media_state": "ok, or why a medium of it cannot be used",
    "script": "ok, script_mismatch or latin_only: letters against language tags",
    "language_guess": "ok, or mismatch: a sure guess against language tags",
    "expected_split": "split of its group",
    "evaluation_only_ok": "false where a source for evaluation is trained on",
    "source_ok": "whether the shard is one of its source",
    "license_state": "allowed, refused or malformed",
    "group_leaks": "whether its group is in two splits and it is the one away from home",
}
MEDIA = {
    "media_modality": "image, audio, video or document",
    "media_container": "format by its first bytes",
    "media_bytes": "encoded bytes",
    "media_code": "why it cannot be used",
    "media_blank": "whether it is of one flat colour",
    "image_width": "columns of a picture",
    "image_height": "rows of a picture",
    "image_pixels": "their product",
    "audio_seconds": "duration of a sound",
    "audio_rate": "its samples per second, as stored",
    "audio_channels": "its channels, as stored",
    "audio_silence": "share of it that is silent",
    "video_width": "columns of a clip's frames",
    "video_height": "rows of the same",
    "video_seconds": "duration of a clip",
    "video_frames": "its frames",
    "document_pages": "pages of a document",
}
TEXTS = {
    "text_chars": "characters",
    "text_letters": "letters",
    "text_script": "ISO 15924 code of most letters",
    "text_language": "guess at the language of texts long enough to tell",
    "text_confidence": "of that guess, 0 to 1",
    "text_replaced": "replacement characters, left by a decoder that met foreign bytes",
    "text_controls": "control characters",
    "text_mojibake": "whether it looks like UTF-8 that was read as Latin-1",
}
TABLES = {"records": RECORDS, "media": MEDIA, "texts": TEXTS}


def table_of(column: str) -> str | None:
    """The table that has a column."""
    return next((name for name, columns in TABLES.items() if column in columns), None)
