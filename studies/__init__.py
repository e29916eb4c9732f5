"""What is measured side by side, over targets that are reached by protocols."""
