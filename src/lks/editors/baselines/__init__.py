"""Editors from other papers, behind the same protocol."""
