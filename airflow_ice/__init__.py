"""Apache Airflow provider for Alibaba Cloud ICE (Intelligent Media Services) batch video production."""

from __future__ import annotations

__version__ = "0.1.0"
