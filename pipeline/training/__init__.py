"""Stage two: features and labels of videos -> a checkpoint."""
