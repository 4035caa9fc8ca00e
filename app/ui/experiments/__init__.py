"""The experiments screen, part by part."""
