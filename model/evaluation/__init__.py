"""What an evaluation consists of; :mod:`model.evaluate` puts it together."""
