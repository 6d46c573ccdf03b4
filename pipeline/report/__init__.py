"""What users see of a run: tables, plots and self-contained HTML pages."""
