"""Cameras and streams, scored as they come."""
