"""Scores of edited models: metrics, the runner, the reports."""
