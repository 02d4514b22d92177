"""What a caller may ask, one verb a file. Knows no HTTP."""
