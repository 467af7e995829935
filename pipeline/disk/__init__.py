"""Files that appear whole or not at all, locks, arrays, text tables, and how one knows a file again."""
