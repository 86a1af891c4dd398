"""The commands of `jdn`, a module for each thing one does; what is slow to import is imported inside them."""
