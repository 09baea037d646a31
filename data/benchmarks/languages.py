"""BCP-47 tags of the corpus to the language-script codes that mteb records."""

CODES = {
    "af": "afr-Latn", "am": "amh-Ethi", "ar": "ara-Arab", "az": "aze-Latn", "be": "bel-Cyrl", "bg": "bul-Cyrl",
    "bn": "ben-Beng", "ca": "cat-Latn", "cs": "ces-Latn", "cy": "cym-Latn", "da": "dan-Latn", "de": "deu-Latn",
    "el": "ell-Grek", "en": "eng-Latn", "es": "spa-Latn", "et": "est-Latn", "eu": "eus-Latn", "fa": "fas-Arab",
    "fi": "fin-Latn", "fr": "fra-Latn", "gl": "glg-Latn", "he": "heb-Hebr", "hi": "hin-Deva", "hr": "hrv-Latn",
    "hu": "hun-Latn", "hy": "hye-Armn", "id": "ind-Latn", "it": "ita-Latn", "ja": "jpn-Jpan", "ka": "kat-Geor",
    "kk": "kaz-Cyrl", "ko": "kor-Hang", "lt": "lit-Latn", "lv": "lav-Latn", "ms": "msa-Latn", "nb": "nob-Latn",
    "nl": "nld-Latn", "no": "nob-Latn", "pl": "pol-Latn", "pt": "por-Latn", "ro": "ron-Latn", "ru": "rus-Cyrl",
    "sk": "slk-Latn", "sl": "slv-Latn", "sr": "srp-Cyrl", "sv": "swe-Latn", "sw": "swa-Latn", "ta": "tam-Taml",
    "te": "tel-Telu", "th": "tha-Thai", "tr": "tur-Latn", "uk": "ukr-Cyrl", "ur": "urd-Arab", "vi": "vie-Latn",
    "yo": "yor-Latn", "zh": "zho-Hans", "zu": "zul-Latn",
}  # fmt: skip
UNKNOWN = "und-Zyyy"


def mteb_code(tag: str) -> str:
    """Language-script code that mteb uses for a BCP-47 tag; ``und-Zyyy`` for a language that the table lacks."""
    return CODES.get(tag.split("-", maxsplit=1)[0].lower(), UNKNOWN)
