"""What files are, judged by their bytes as they pass: formats, sizes in pixels, whether they are whole. Pure; nothing is decoded here."""
