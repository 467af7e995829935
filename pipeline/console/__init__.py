"""What people are told: messages, tables, progress."""
