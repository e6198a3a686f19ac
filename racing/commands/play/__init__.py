"""`racing play`: a page on which policies drive, and people against them."""
