"""Batch video production with Alibaba Cloud ICE (Intelligent Media Services) for Airflow."""

from __future__ import annotations

__version__ = "0.1.0"
