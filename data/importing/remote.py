"""The worker as Daft sees it. Apart, as it needs Daft to be imported, which must be told to be silent before."""

import daft

from data.importing.work import PieceWorker


class Remote:
    """A process that does pieces, one at a call."""

    def __init__(self, job: str) -> None:
        self.worker = PieceWorker(job)

    @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=1)
    def do(self, items: daft.Series) -> list[str]:
        """Summaries of pieces."""
        return [self.worker(item) for item in items.to_pylist()]
