"""The GPU process: a guarded trainer for Ultralytics YOLO.

Importing this package loads neither torch nor ultralytics: the bot imports :mod:`trainmaster.trainer.contract` from it,
and ``trainmaster verify`` must start in a blink. The public face is :mod:`trainmaster` itself.
"""
