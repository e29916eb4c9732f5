"""The report: what was measured, what it means for whom, and how sure that is."""
