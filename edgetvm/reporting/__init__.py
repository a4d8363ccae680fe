"""The report: what was built, measured and published, gathered into sections and laid out."""
