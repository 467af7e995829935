"""The networks that describe clips, and their weights."""
