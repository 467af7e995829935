"""Labels and ground truth: our own tables, and the files of the field's datasets."""
