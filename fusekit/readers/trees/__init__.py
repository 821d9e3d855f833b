"""Raw data as trees of files: folders, archives, and how people's folders stand in them."""
