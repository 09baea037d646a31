"""What is synthesised from which records: the document of ``omnivec data synthesize``."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data.languages import is_language_tag
from data.records import Split
from model.config import Config
from model.errors import ConfigError

SUFFIX = "-synthetic"
LABEL = "{label}"
VOICES = {"en": "en-us", "de": "de", "fr": "fr-fr", "es": "es", "it": "it", "pt": "pt", "ru": "ru"}


class Templates(Config):
    """Captions from labels, by templates of the label's own language.

    Attributes:
        per_record: captions made of one record.
        templates: by language, further to the built-in ones; each holds ``{label}`` once.
        longest: characters of a label; longer texts are sentences, which no template fits.
    """

    kind: Literal["templates"]
    per_record: int = Field(default=1, ge=1, le=10)
    templates: dict[str, tuple[str, ...]] = Field(default={})
    longest: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _templates_hold_a_label(self) -> Self:
        for language, texts in self.templates.items():
            _check_language(language)
            if wrong := [text for text in texts if text.count(LABEL) != 1]:
                raise ValueError(f"templates.{language}: {wrong[0]!r} must hold {LABEL} once")
        return self


class Translations(Config):
    """Labels in other languages, looked up in a table that the user brings; nothing is translated by a machine.

    Attributes:
        table: CSV, TSV or JSON Lines, a column for each language under its tag; relative to the document.
        source_language: column in which labels are looked up.
        languages: columns to take names from; all others when empty.
        license: SPDX expression of the table, joined to that of the record.
        makes: ``query`` puts the name in place of the label; ``bitext`` pairs label and name.
    """

    kind: Literal["translations"]
    table: Path
    source_language: str = "en"
    languages: tuple[str, ...] = ()
    license: str = Field(min_length=1)
    makes: tuple[Literal["query", "bitext"], ...] = ("query",)

    @model_validator(mode="after")
    def _languages_are_tags(self) -> Self:
        for language in (self.source_language, *self.languages):
            _check_language(language)
        return self


class Speech(Config):
    """Labels spoken by espeak-ng, a formant synthesiser: clear, and unlike any human voice.

    Attributes:
        voices: voice of espeak-ng by language; a language that is not named is left out.
        words_per_minute: speed.
        makes: ``speech_to_text`` pairs sound and label; ``speech_to_image`` puts the sound in place of the label.
        longest: characters of a text.
        seconds: that the program may take for one text.
    """

    kind: Literal["speech"]
    voices: dict[str, str] = Field(default=VOICES)
    words_per_minute: int = Field(default=160, ge=80, le=400)
    makes: tuple[Literal["speech_to_text", "speech_to_image"], ...] = ("speech_to_text",)
    longest: int = Field(default=200, ge=1, le=500)
    seconds: float = Field(default=20.0, gt=0)

    @model_validator(mode="after")
    def _languages_are_tags(self) -> Self:
        for language in self.voices:
            _check_language(language)
        return self


Helper = Annotated[Templates | Translations | Speech, Field(discriminator="kind")]


class SynthesizeConfig(Config):
    """The whole document.

    Attributes:
        corpus: directory or version that holds the originals.
        sources: originals of these sources only; all when empty.
        splits: originals of these splits only. Synthetic records in a test set would measure the templates.
        tasks: originals of these tasks only; their query is a single text, the label.
        most: originals of each source that a helper is given, in stored order; all without a number.
        helpers: what is made.
    """

    corpus: str
    sources: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ("train",)
    tasks: tuple[str, ...] = ("text_to_image",)
    most: int | None = Field(default=None, ge=1)
    helpers: tuple[Helper, ...] = Field(min_length=1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML document; paths of tables are relative to it.

        Raises:
            ConfigError: it is not YAML, or with every problem at once.
        """
        import yaml

        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is no readable YAML document: {error}") from error
        config = cls.parse(document or {})
        helpers = tuple(
            h.model_copy(update={"table": path.parent / h.table.expanduser()}) if isinstance(h, Translations) else h
            for h in config.helpers
        )
        return config.model_copy(update={"helpers": helpers})


def _check_language(tag: str) -> None:
    if not is_language_tag(tag):
        raise ValueError(f"{tag!r} is no BCP-47 tag such as de or pt-BR")
