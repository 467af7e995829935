"""Scores against ground truth: figures, their uncertainty, thresholds, and runs side by side."""
