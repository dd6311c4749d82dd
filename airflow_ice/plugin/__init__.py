"""The page "ICE videos" inside Airflow: a batch while it runs and after, and a person who picks.

Nothing of the package imports this one. Airflow finds it by its entry point (`plugin.py`), and a
fault in it takes neither operators nor Airflow's api-server down.
"""
