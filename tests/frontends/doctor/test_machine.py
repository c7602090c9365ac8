"""Containers, GPUs and schedulers: the machine's own, and the recorded words of programs that cannot be had here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.frontends.doctor.machine import (
    check_apptainer,
    check_container_variables,
    check_gpu,
    check_namespaces,
    check_scheduler,
    read_driver,
    read_smi,
)
from ozrepro.store import forms
from tests.fake_cluster import Site
from tests.frontends.doctor.conftest import Patient

# The head of nvidia-smi 550 on a T4, as public notebooks show it.
SMI = """\
Thu Feb  6 07:59:23 2025
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |"""
SMI_FAILED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running."
)
# /proc/driver/nvidia/version of the closed and of the open kernel module, from NVIDIA's and from sites' documentation.
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  515.65.01  Wed Mar 16 11:24:05 UTC 2022\nGCC version:  gcc version 12.2.0\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.42.06  Release Build  (abuild@host)  Thu Jul 11 12:00:00 UTC 2024\n"

has_gpu = Path("/proc/driver/nvidia/version").exists()


@pytest.mark.skipif(has_gpu or shutil.which("nvidia-smi") is not None, reason="this machine has a GPU")
def test_no_gpu_is_fine(patient: Patient) -> None:
    (found,) = check_gpu(patient.place())
    assert (found.level, found.seen) == ("fine", "no NVIDIA GPU here, as on most login nodes")


def test_driver_and_cuda_are_told(patient: Patient) -> None:
    patient.program("nvidia-smi", SMI)
    (found,) = check_gpu(patient.place())
    assert (found.level, found.seen) == ("fine", "NVIDIA driver 550.54.15, for CUDA up to 12.4")


def test_a_driver_that_does_not_answer_is_noted(patient: Patient) -> None:
    patient.program("nvidia-smi", SMI_FAILED, status=9)
    (found,) = check_gpu(patient.place())
    assert found.level == "note"
    assert "NVIDIA-SMI has failed" in found.seen


def test_the_versions_of_driver_and_cuda_are_read() -> None:
    assert read_smi(SMI) == ("550.54.15", "12.4")
    assert read_smi("No devices were found") == ("", "")
    assert [read_driver(text) for text in (CLOSED, OPEN, "")] == ["515.65.01", "555.42.06", ""]


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="this machine has Slurm")
def test_no_scheduler_is_fine_and_a_job_without_its_commands_is_not(patient: Patient) -> None:
    assert [item.level for item in check_scheduler(patient.place())] == ["fine"]
    (found,) = check_scheduler(patient.place(SLURM_JOB_ID="12"))
    assert (found.level, found.seen) == ("note", "inside Slurm job 12, and Slurm's commands are not on PATH")
    for name in ("PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"):
        (found,) = check_scheduler(patient.place(**{name: "12"}))
        assert (found.level, "commands are not on PATH" in found.seen) == ("note", True)


def test_another_scheduler_is_named_by_its_commands(patient: Patient) -> None:
    for name in ("qsub", "qstat"):
        patient.program(name, "no version")
    (found,) = check_scheduler(patient.place(JOB_ID="12", SGE_TASK_ID="1"))
    assert (found.level, found.seen) == ("fine", "SGE, inside SGE job 12")
    if shutil.which("sbatch") is None:
        (found,) = check_scheduler(patient.place(PBS_JOBID="12"))
        assert (found.level, found.seen) == ("note", "PBS, inside PBS job 12, without qselect on PATH")


def test_slurm_s_version_is_told(patient: Patient) -> None:
    """`sbatch --version` of Debian's slurm-wlm 22.05.8 prints this."""
    for name in ("sbatch", "squeue", "sinfo"):
        patient.program(name, "slurm-wlm 22.05.8")
    (found,) = check_scheduler(patient.place())
    assert (found.level, found.seen) == ("fine", "Slurm 22.05.8, not inside a job")
    # Slurm's own builds print `slurm 23.11.4`.
    patient.program("sbatch", "slurm 23.11.4")
    (patient.bin / "squeue").unlink()
    if shutil.which("squeue") is None:
        (found,) = check_scheduler(patient.place())
        assert (found.level, found.seen) == ("note", "Slurm 23.11.4, not inside a job, without squeue on PATH")


def test_programs_are_searched_on_the_path_of_the_settings(patient: Patient, tmp_path: Path) -> None:
    folder = tmp_path / "slurm"
    folder.mkdir()
    (patient.program("sbatch", "slurm 23.11.4")).rename(folder / "sbatch")
    assert check_scheduler(patient.place(OZREPRO_PATH=str(folder)))[0].seen.startswith("Slurm 23.11.4")


def test_apptainer_s_version_is_told(patient: Patient) -> None:
    """Apptainer 1.4.5 prints this."""
    path = patient.program("apptainer", "apptainer version 1.4.5")
    (found,) = check_apptainer(patient.place())
    assert (found.level, found.seen) == ("fine", f"{path}: apptainer version 1.4.5")


@pytest.mark.skipif(shutil.which("apptainer") is not None, reason="this machine has Apptainer")
def test_apptainer_as_a_module_is_noted(patient: Patient, site: Site, tmp_path: Path) -> None:
    assert [item.level for item in check_apptainer(patient.place(LMOD_CMD=site.lmod_cmd, MODULEPATH="/nowhere"))] == ["fine"]
    (tmp_path / "modules" / "apptainer").mkdir(parents=True)
    (found,) = check_apptainer(patient.place(LMOD_CMD=site.lmod_cmd, MODULEPATH=str(tmp_path / "modules")))
    assert (found.level, found.remedy) == ("note", ("module spider apptainer",))


def test_namespaces_and_fuse_are_tried(patient: Patient) -> None:
    """What is said agrees with what the machine does."""
    namespaces, fuse = check_namespaces(patient.place())[:2]
    works = subprocess.run(["unshare", "-U", "true"], capture_output=True, check=False).returncode == 0
    assert (namespaces.level == "fine") == works
    assert (fuse.level == "fine") == os.access("/dev/fuse", os.R_OK | os.W_OK)


def test_where_an_environment_can_be_one_file_the_doctor_says_so_in_one_line(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check_namespaces(patient.place())
    tools = forms.find_tools(patient.environ["PATH"], None)
    if [item.level for item in found[:2]] != ["fine", "fine"]:
        assert len(found) == 2  # said once, where what is absent is told
        assert all("one file" in item.why for item in found if item.level == "note")
    elif isinstance(tools, str):
        assert found[2].seen == f"an environment cannot be kept in one file here: {tools}"
    else:
        assert (found[2].level, found[2].seen.partition(",")[0]) == (
            "fine",
            'an environment can be kept in one file (form = "file")',
        )
        monkeypatch.setattr(forms, "place", lambda environ: "no folder of this node has 2 GiB left to build in")
        (room,) = check_namespaces(patient.place())[2:]
        assert room.seen == "an environment cannot be kept in one file here: no folder of this node has 2 GiB left to build in"
        monkeypatch.setattr(forms, "find_tools", lambda path, apptainer: "no mksquashfs here; ask the centre for squashfs-tools")
        (lacks,) = check_namespaces(patient.place())[2:]
        assert (lacks.level, lacks.seen.rpartition(": ")[2]) == ("note", "no mksquashfs here; ask the centre for squashfs-tools")


def test_forbidden_namespaces_are_noted(patient: Patient) -> None:
    """In a user namespace of its own, whose limit is set to 0 as a careful site sets it."""
    code = (
        "import os\nfrom pathlib import Path\nfrom ozrepro.frontends.doctor.machine import check_namespaces\n"
        "from ozrepro.frontends.doctor.surroundings import surroundings\nfrom ozrepro.methods.reading import load_settings\n"
        "print(check_namespaces(surroundings(load_settings(Path.cwd(), os.environ), os.environ))[0].seen)\n"
    )
    limited = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    words = ["unshare", "-Ur", "sh", "-c", limited, "sh", sys.executable, "-c", code]
    done = subprocess.run(words, cwd=patient.root, env=patient.environ, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "cannot create" in done.stderr:
        pytest.skip(f"no limited user namespace can be made here: {done.stderr.strip()}")
    assert done.stdout.startswith("user namespaces are switched off"), done.stderr


BUILDCFG = "PACKAGE_NAME=apptainer\nBINDIR={bin}\nLIBEXECDIR={libexec}\nAPPTAINER_SUID_INSTALL={suid}"
"""What `apptainer buildcfg` of 1.4.5 prints, in part."""


@pytest.mark.parametrize(
    ("suid", "has", "level", "seen"),
    [
        ("1", (), "fine", "Apptainer is installed with setuid: the kernel mounts images"),
        ("0", ("squashfuse_ll",), "fine", "Apptainer mounts images by squashfuse"),
        pytest.param(
            *("0", (), "note", "Apptainer has neither setuid nor squashfuse"),
            marks=pytest.mark.skipif(any(map(shutil.which, ("squashfuse", "squashfuse_ll"))), reason="squashfuse is on PATH"),
        ),
    ],
)
def test_the_way_by_which_images_are_mounted_is_told(
    patient: Patient, tmp_path: Path, suid: str, has: tuple[str, ...], level: str, seen: str
) -> None:
    own = tmp_path / "libexec" / "apptainer" / "bin"
    own.mkdir(parents=True)
    for name in has:
        (own / name).write_text("#!/bin/sh\n")
        (own / name).chmod(0o755)
    patient.program("apptainer", BUILDCFG.format(bin=patient.bin, libexec=tmp_path / "libexec", suid=suid))
    found = check_apptainer(patient.place())[-1]
    assert (found.level, found.seen) == (level, seen)


def test_variables_that_tell_apptainer_what_an_image_sees_are_noted(patient: Patient) -> None:
    assert [item.level for item in check_container_variables(patient.place(APPTAINER_CACHEDIR="/x", APPTAINER_BIND=""))] == [
        "fine"
    ]
    (found,) = check_container_variables(patient.place(APPTAINER_BIND="/secret", SINGULARITYENV_TOKEN="abc"))
    assert (found.level, found.seen) == ("note", "set for Apptainer: APPTAINER_BIND, SINGULARITYENV_TOKEN")
    assert [words.partition(" ")[0] for words in found.remedy] == ["bind", "pass"]
    assert "secret" not in repr(found)


def test_inside_an_image_its_own_variables_are_no_finding(patient: Patient) -> None:
    own = {"APPTAINER_CONTAINER": "/x.sif", "APPTAINER_NAME": "x.sif", "APPTAINER_ENVIRONMENT": "/.singularity.d/env"}
    assert [item.level for item in check_container_variables(patient.place(**own))] == ["fine"]
