"""A clip, a still and a record of each event, and the archive of them."""
