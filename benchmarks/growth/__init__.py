"""How cost grows with the width and the resolution of a MobileNet."""
