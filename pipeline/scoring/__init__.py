"""Stage three: a checkpoint and videos -> a score of every frame."""
