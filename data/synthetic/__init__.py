"""Records made from records, where that is honest, and always labelled: the source ends in ``-synthetic``."""
