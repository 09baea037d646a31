"""One module for each form that a corpus comes in, behind the protocol of :mod:`data.importing.rows`."""
