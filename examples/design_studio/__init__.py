"""A design studio: four versions of a logo, a judge, and a person who may choose. Start at README.md."""
