"""report.html, the page of a test: figures, tables and sections by task."""
