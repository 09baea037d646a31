"""One folder per pipeline step: ``component.py`` is the kfp shell, ``run.py`` the work."""
