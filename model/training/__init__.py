"""What a training run consists of; :mod:`model.trainer` puts it together."""
