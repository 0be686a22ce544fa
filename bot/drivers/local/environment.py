"""The environment of trainer processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainmaster import __file__ as face

_PLAIN: Final = frozenset(
    [
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "TEMP", "TMP"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONHASHSEED"),
        *("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("SLURM_CONF", "SLURM_CONF_SERVER", "COPY_TO"),
    ]
)
_PLAIN_PREFIXES: Final = (
    *("LC_", "XDG_", "CONDA_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "ROCM_", "HSA_", "NCCL_", "RCCL_", "OMP_", "MKL_"),
    *("OPENBLAS_", "KMP_", "NUMEXPR_", "YOLO_", "ULTRALYTICS_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "MPL"),
)
"""What a program needs to run at all and to find its devices: all that goes along of the bot's own environment. A list
of what to keep back would always be one name short, and a trainer's environment ends in crash dumps and trackers."""

_CHECKOUT: Final = Path(face).resolve().parent.parent
_ALONE: Final = _CHECKOUT / "trainmaster" / "alone"
"""In a checkout: a folder that holds a link to our package and nothing else. The checkout's root on the path would put
``bot``, ``trainer``, ``commands`` and ``tests`` before modules that a user calls so."""


def trainer_environment(extra: Mapping[str, str], launched_with: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the trainer was ``launched_with`` before, else the plain part of the bot's own; with ``extra``, and such
    that the trainer is found when the bot runs from a checkout. Installed packages are left alone: those of another
    Python must not be mixed in.

    Of the bot's own ``PYTHONPATH`` only absolute entries stay: an empty or relative one means whatever folder a process
    starts in, and a run's folder may hold a ``json.py``. What ``extra`` gives stays as it is."""
    plain = {name: value for name, value in os.environ.items() if name in _PLAIN or name.startswith(_PLAIN_PREFIXES)}
    environment = dict(plain if launched_with is None else launched_with)
    inherited = environment.pop("PYTHONPATH", "").split(os.pathsep)
    path = [extra["PYTHONPATH"]] if "PYTHONPATH" in extra else [part for part in inherited if Path(part).is_absolute()]
    if _CHECKOUT.name not in {"site-packages", "dist-packages"}:
        path.append(str(_ALONE))
    if any(path):
        environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    if os.environ.get("COPY_TO"):
        environment.setdefault("COPY_TO", os.environ["COPY_TO"])  # of a run that was started before it was set
    return {**environment, **{name: value for name, value in extra.items() if name != "PYTHONPATH"}}
