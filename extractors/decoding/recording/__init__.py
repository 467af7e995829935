"""Clips and stills of a video while it is decoded, of its own packets."""
