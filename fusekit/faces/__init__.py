"""From a picture to a crop and an embedding: detect, choose, align, measure, embed."""
