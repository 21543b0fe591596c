"""Predictions, scores, intervals, comparisons and calibration."""
