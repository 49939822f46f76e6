"""MiniGrid's rooms, seen in part: images, a direction and a mission in words."""
