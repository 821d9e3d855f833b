"""Lists and tables that releases bring along: rows, columns, pairs, boxes, names."""
