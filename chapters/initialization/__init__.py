"""Chapter 8: attacks that start from a guess, and whether anyone could tell what they found."""
