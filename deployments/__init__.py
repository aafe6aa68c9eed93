"""The Ray Serve graph: one thin module for each deployment; `app.py` is the only place that binds them."""
