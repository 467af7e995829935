"""What a scored video gives: numbers, events, pictures, pages."""
