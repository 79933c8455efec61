"""Reads a Compose project and writes the inventory of Landfall for it; scripts/from_compose.py is the command."""
