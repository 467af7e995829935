"""The whole pipeline on videos that it renders itself: what a new user runs first.

ssrl-pipeline demo
"""
