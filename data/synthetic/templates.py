"""Captions from labels. Templates set the label off by a colon or quotation marks: no case or gender can be wrong."""

import hashlib
from collections.abc import Mapping, Sequence

from data.records import Record
from data.synthetic.config import LABEL, Templates
from data.synthetic.making import Made, Make, Outcome, label_of, synthetic, text_content

BUILT_IN: Mapping[str, Sequence[str]] = {
    "ar": ("صورة: {label}", "في الصورة: {label}"),
    "cs": ("obrázek: {label}", "na obrázku: {label}"),
    "de": ("Bild: {label}", "auf dem Bild zu sehen: {label}", "ein Bild zu „{label}“"),
    "en": ("a picture of {label}", "this picture shows: {label}", "picture: {label}"),
    "es": ("imagen: {label}", "en la imagen se ve: {label}", "una imagen de «{label}»"),
    "fr": ("image : {label}", "sur cette image : {label}", "une image pour « {label} »"),
    "hi": ("चित्र: {label}", "इस चित्र में: {label}"),
    "id": ("gambar: {label}", "yang terlihat di gambar: {label}"),
    "it": ("immagine: {label}", "in questa immagine: {label}"),
    "ja": ("画像：{label}", "これは「{label}」の画像です"),
    "ko": ("그림: {label}", "그림에 보이는 것: {label}"),
    "nl": ("afbeelding: {label}", "te zien op deze afbeelding: {label}"),
    "pl": ("obraz: {label}", "na obrazku: {label}"),
    "pt": ("imagem: {label}", "nesta imagem: {label}"),
    "ru": ("картинка: {label}", "на картинке: {label}"),
    "sv": ("bild: {label}", "på bilden: {label}"),
    "tr": ("resim: {label}", "resimde görülen: {label}"),
    "uk": ("зображення: {label}", "на малюнку: {label}"),
    "vi": ("hình ảnh: {label}", "trong hình: {label}"),
    "zh": ("图片：{label}", "图中显示的是：{label}"),
}


def maker(config: Templates) -> Make:
    """What the templates make of a record."""
    known = {language: tuple(texts) for language, texts in BUILT_IN.items()}
    known |= {language: (*known.get(language, ()), *own) for language, own in config.templates.items()}

    def make(record: Record) -> Outcome:
        label = label_of(record)
        if label is None:
            return Outcome(skipped="query_is_no_single_text")
        if len(label) > config.longest:
            return Outcome(skipped="label_too_long")
        # A label that several languages share is captioned in the first.
        language = record.languages[0] if record.languages else "und"
        texts = known.get(language)
        if not texts:
            return Outcome(skipped="no_template_for_language")
        made = [
            Made(
                synthetic(
                    record, f"template/{language}/{i}", query=text_content(caption(text, label)), languages=(language,)
                )
            )
            for i, text in enumerate(_some(texts, record.id, config.per_record))
        ]
        return Outcome(tuple(made))

    return make


def caption(template: str, label: str) -> str:
    """Put a label into a template; a full stop at its end would stand in the middle.

    >>> caption("a picture of {label}", "A flower.")
    'a picture of A flower'
    """
    return template.replace(LABEL, label.rstrip(" .!。"))


def _some(texts: Sequence[str], seed: str, count: int) -> list[str]:
    """A few templates, chosen by the record, so that all are used and the choice stays."""
    return sorted(texts, key=lambda text: hashlib.sha256(f"{seed}\0{text}".encode()).digest())[:count]
