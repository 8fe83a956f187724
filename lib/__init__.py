"""Small library of the book: every module holds one idea and imports as little as it can."""
