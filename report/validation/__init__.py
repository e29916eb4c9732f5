"""The validation as a page."""
