"""A service follows its launcher."""

import subprocess
import sys
import threading

from serving.lifeline import follow


def test_it_acts_when_the_launcher_ends_and_not_before() -> None:
    acted = threading.Event()
    launcher = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    follow(str(launcher.pid), acted.set)
    assert not acted.wait(0.2)
    launcher.kill()
    launcher.wait()
    assert acted.wait(5)


def test_a_launcher_that_is_already_gone_counts_as_ended() -> None:
    acted = threading.Event()
    launcher = subprocess.Popen([sys.executable, "-c", ""])
    launcher.wait()
    follow(str(launcher.pid), acted.set)
    assert acted.wait(5)


def test_without_a_launcher_nothing_is_watched() -> None:
    before = threading.active_count()
    follow(None)
    assert threading.active_count() == before
