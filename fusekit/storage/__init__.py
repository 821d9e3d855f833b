"""Where files and objects are read and written: a store's folder, and object stores by URL."""
