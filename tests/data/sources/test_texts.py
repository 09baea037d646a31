from data.sources.concepts import key_of
from data.sources.libreoffice import _is_mostly_foreign, _sections, blocks_of
from data.sources.stamps import VARIANT, parse_captions, shorten
from data.sources.stdlib import functions

PAGE = """
<h1 id="hd_id1" dir="auto"><a name="x"></a>Docking &amp; windows</h1>
<p id="par_id2" class="paragraph" dir="auto">Some <b>windows</b> can be docked,
which is a rather long sentence that fills the passage well enough.</p>
<p id="par_id3" dir="auto">Press <span class="switchinline"><span>Command</span><span>Ctrl</span></span>.</p>
<p id="par_id4" dir="auto"><a name="y"></a><a target="_top" href="text/y.html">Working with toolbars</a></p>
<h2 id="hd_id5" dir="auto">Another heading</h2>
<p id="par_id6" dir="auto">Short.</p>
"""


def test_blocks_leave_out_system_dependent_and_link_only_paragraphs() -> None:
    blocks = blocks_of(PAGE)
    assert list(blocks) == ["hd_id1", "par_id2", "hd_id5", "par_id6"]
    assert blocks["hd_id1"] == "Docking & windows"
    assert blocks["par_id2"].startswith("Some windows can be docked, which")


def test_sections_stop_at_the_next_heading_and_need_enough_text() -> None:
    ((block, heading, passage),) = _sections(blocks_of(PAGE))
    assert (block, heading) == ("hd_id1", "Docking & windows")
    assert "Short" not in passage


def test_english_left_in_a_foreign_page_is_noticed() -> None:
    assert _is_mostly_foreign("Эта команда обновляет формулу в Math.")
    assert not _is_mostly_foreign("Returns the value of the ф cell in the current sheet.")
    assert not _is_mostly_foreign("123")


def test_captions_keep_known_translated_languages_only() -> None:
    captions = parse_captions(
        "A flower.\nde.utf8=Eine Blume.\nfr.utf8=A flower.\nach.utf8=X\nzh_CN.utf8=一朵花。\nes.utf8=\nar.utf8=.زهرة"
    )
    assert captions == {"en": "A flower.", "de": "Eine Blume.", "zh": "一朵花。", "ar": "زهرة"}
    assert parse_captions("") == {}


def test_long_captions_become_their_first_sentence() -> None:
    long = "An inukshuk, a landmark made of stones. It was used as a milestone by the Inuit of the Arctic."
    assert shorten(long) == "An inukshuk, a landmark made of stones."
    assert shorten("Short. And sweet.") == "Short. And sweet."


def test_variants_of_a_stamp_are_recognised() -> None:
    assert VARIANT.search("town/no_uturn_mirror")
    assert VARIANT.search("a/b_flip")
    assert not VARIANT.search("household/mirror")


def test_functions_lose_their_docstring_and_nothing_else() -> None:
    source = (
        "class A:\n"
        "    @property\n"
        "    def area(self):\n"
        '        """Return the area of the whole thing.\n\n        More.\n        """\n'
        "        side = self.side\n"
        "        return side * side  # square\n"
        "    def short(self):\n"
        '        """Only a docstring, long enough."""\n'
        "def undocumented(x):\n"
        "    y = x\n    return y\n"
    )
    ((name, docstring, code),) = functions(source)
    assert name == "area:3"
    assert docstring == "Return the area of the whole thing."
    assert code == "def area(self):\n    side = self.side\n    return side * side  # square"


def test_concept_keys_ignore_the_variation_selector() -> None:
    assert key_of("\u2764\ufe0f") == key_of("\u2764") == "2764"
    assert key_of("\U0001f468\u200d\U0001f373") == "1f468-200d-1f373"
