"""Curation: embeddings, and the findings made with them. Nothing stored is changed."""
