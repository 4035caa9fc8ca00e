"""Delivery and wiring: the only place that knows Streamlit, FastAPI and argv."""
