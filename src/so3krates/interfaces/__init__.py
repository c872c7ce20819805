"""Thin bridges to other programs."""
