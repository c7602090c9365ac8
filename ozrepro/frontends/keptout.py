"""What of a job's variables a session does not get, for those who ask: `doctor` and `status --verbose`. Names only, no values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.environment import KEPT_OUT_PREFIXES, TUNED_PREFIXES, is_inherited, passing

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 8
_OFTEN = (
    *(
        "AWS_",
        "GASNET_",
        "HDF5_",
        "HF_",
        "HSA_",
        "HYDRA_",
        "JAX_",
        "JUPYTERHUB_",
        "KOKKOS_",
        "MKL_",
        "MPI4PY_",
        "NUMBA_",
        "OPENBLAS_",
    ),
    *("PARSL_", "PYTORCH_", "RAY_", "RCCL_", "ROMIO_", "TF_", "TORCH_", "XALT_", "XLA_", "_CONDOR_"),
)
_OFTEN_WHOLE = frozenset(
    (
        *(
            "LD_PRELOAD",
            "MALLOC_ARENA_MAX",
            "MPLCONFIGDIR",
            "DATA",
            "GROUP",
            "LOCAL_SCRATCH",
            "LOCALSCRATCH",
            "PROJECT",
            "SCRATCH",
        ),
        *("TMP", "TEMP", "WORK", "WORKDIR"),
    )
)
"""Names that job scripts and sites set besides those that a session keeps."""


def kept_out(caller: Iterable[str], passed: Iterable[str] = ()) -> list[str]:
    """Return those names of the caller's variables that a job usually has and that a session does not get."""
    is_passed = passing(passed)
    usual = (*TUNED_PREFIXES, *KEPT_OUT_PREFIXES, *_OFTEN)
    return sorted(
        name
        for name in caller
        if (name in _OFTEN_WHOLE or name.startswith(usual)) and not is_inherited(name) and not is_passed(name)
    )


def listed(names: list[str]) -> str:
    """Return the names in a line, the first of them where they are many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f", and {more} more" if more > 0 else "")
