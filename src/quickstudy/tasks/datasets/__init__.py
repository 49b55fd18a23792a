"""Families of given data: arrays, data sets, tables and images."""
