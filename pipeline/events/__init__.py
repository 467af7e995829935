"""Scores of frames -> events: found in a video or as they come, written, counted as false alarms."""
