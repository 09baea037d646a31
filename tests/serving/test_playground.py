"""The page at ``/``: what it is made of, and what it does in a browser where there is one."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.content import Content
from serving.config import ServingConfig
from serving.dummy import DummyEncoder
from serving.host import ModelHost
from serving.keys import digest_of, new_key
from tests.serving.browser import Page, browser, find_browser
from tests.serving.conftest import SPACE, dummy_engine

Live = Callable[[ModelHost], AbstractContextManager[str]]


def vector(text: str) -> list[float]:
    return [float(x) for x in DummyEncoder()(DummyEncoder().preprocess([Content.of(text)]))[0]]


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.json"
    items = [
        {"kind": "text", "label": f"<b>{text}</b>", "uri": None, "vector": vector(text)} for text in ("a" * 9, "b" * 40)
    ]
    path.write_text(json.dumps({"vector_space": SPACE, "corpus": "test", "items": items}))
    return path


def test_the_page_loads_nothing_and_runs_only_its_own_script(client: TestClient) -> None:
    first, second = client.get("/"), client.get("/")
    assert first.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)=[\"']", first.text), "nothing from elsewhere, nor from here"
    assert "{{" not in first.text
    policy = first.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)
    assert nonce
    assert first.text.count(nonce[1]) == 2
    assert nonce[1] not in second.text, "a nonce is used once"


def test_the_gallery_is_served_when_there_is_one(
    client: TestClient, make_client: Callable[..., TestClient], config: ServingConfig, gallery: Path
) -> None:
    absent = client.get("/gallery.json")
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "no_gallery")
    served = make_client(config.model_copy(update={"gallery": gallery})).get("/gallery.json")
    assert served.json()["vector_space"] == served.headers["x-omnivec-vector-space"]


def test_the_page_is_open_and_what_it_asks_is_not(
    make_client: Callable[..., TestClient], config: ServingConfig, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"name": "a", "sha256": digest_of("k")}]}))
    closed = make_client(config.model_copy(update={"keys": keys}))
    assert closed.get("/").status_code == 200
    assert closed.get("/v1/models").status_code == closed.get("/gallery.json").status_code == 401


needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "profile") as opened:
        yield opened


@needs_browser
def test_items_are_embedded_compared_and_searched_by_keyboard_alone(
    page: Page, config: ServingConfig, live: Live, gallery: Path
) -> None:
    host = ModelHost(config.model_copy(update={"gallery": gallery}), dummy_engine)
    host.open()
    with live(host) as url:
        page.open(f"{url}/")
        page.wait("state.gallery !== null")
        page.run("document.querySelector('textarea').focus()")
        for character in "hi":
            page.press(character, ord(character.upper()), text=character)
        page.press("Enter", 13, control=True)
        page.wait("state.items.every((item) => item.vector)")
        texts = page.run("state.items.map((item) => item.text)")
        assert "hi" in texts[0]
        shown = page.run(
            "[...document.querySelectorAll('#matrix td')].slice(1).map((cell) => Number(cell.textContent))"
        )
        rows = np.array([vector(text) for text in texts])
        assert np.allclose(np.reshape(shown, (2, 2)), rows @ rows.T, atol=6e-4)
        best = page.run("document.querySelector('#nearest li div').textContent")
        scores = [float(np.dot(rows[0], vector(text))) for text in ("a" * 9, "b" * 40)]
        assert best == f"<b>{('a' * 9, 'b' * 40)[int(np.argmax(scores))]}</b>", "labels are text, never markup"
        page.run("dimension = document.getElementById('dimension'); dimension.focus()")
        page.press("Home", 36)
        assert page.run("document.getElementById('dimension-value').textContent") == "2"
        cut = rows[:, :2] / np.linalg.norm(rows[:, :2], axis=1, keepdims=True)
        shown = page.run(
            "[...document.querySelectorAll('#matrix td')].slice(1).map((cell) => Number(cell.textContent))"
        )
        assert np.allclose(np.reshape(shown, (2, 2)), cut @ cut.T, atol=6e-4)
        assert '"dimensions": 2' in page.run("document.getElementById('call').textContent")
    assert not [problem for problem in page.problems if "recommendation" not in problem]


@needs_browser
def test_a_mix_of_parts_is_one_item_and_its_call_can_be_run(page: Page, live_url: str, tmp_path: Path) -> None:
    picture = "data:image/png;base64," + base64.b64encode(b"x" * 300).decode()
    page.open(f"{live_url}/")
    page.wait("state.model !== null")
    page.run(f"item = state.items[0]; item.files.push({{name: 'a.png', uri: {picture!r}}}); changed(item)")
    page.run("embedAll()")
    assert page.run("state.items[0].answer.value.usage.prompt_tokens_details.image_tokens") == 1
    page.run("document.getElementById('language').value = 'python'; drawCall()")
    code = page.run("document.getElementById('call').textContent")
    compile(code, "call", "exec")
    assert "image_url" in code
    page.run("state.items[0].files[0].uri = 'data:image/png;base64,YnJva2Vu'; changed(state.items[0])")
    page.run("embedAll()")
    assert "the image cannot be decoded" in page.run("document.getElementById('said').textContent")


@needs_browser
def test_it_fits_a_phone_and_asks_for_a_key(page: Page, config: ServingConfig, live: Live, tmp_path: Path) -> None:
    key, keys = new_key(), tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"name": "a", "sha256": digest_of(key)}]}))
    host = ModelHost(config.model_copy(update={"keys": keys}), dummy_engine)
    host.open()
    with live(host) as url:
        page.open(f"{url}/", width=360, height=740)
        page.wait("!document.getElementById('keybox').hidden")
        assert "key is needed" in page.run("document.getElementById('model').textContent")
        page.run(f"key = document.getElementById('key'); key.value = {key!r}; key.dispatchEvent(new Event('change'))")
        page.wait("state.model !== null")
        assert page.run("document.documentElement.scrollWidth") <= 360, "no scrolling sideways"
        assert key not in page.run("document.getElementById('call').textContent")
