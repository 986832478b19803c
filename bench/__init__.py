"""The promises about speed, measured: `python -m bench`, explained in docs/performance.md."""
