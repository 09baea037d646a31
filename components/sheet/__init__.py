"""Pages on which people look at a corpus before they train: counts with plots, and a sheet of samples."""
