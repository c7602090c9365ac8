"""How a program's environment is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro import Environment, OzreproError
from ozrepro.environment import (
    BASE_PATH,
    HOST_PROGRAMS,
    LAUNCHERS,
    PLACES,
    asked_method,
    installer_in,
    is_inherited,
    joined_by,
    passing,
    says_where,
)
from ozrepro.faststart.ready import check_command

if TYPE_CHECKING:
    from ozrepro.environment import Cases

_WORDS = st.lists(st.text(), max_size=3)


_CASES = st.lists(st.tuples(_WORDS.map(tuple), st.none() | _WORDS.map(tuple)), max_size=2).map(tuple)
_FOLLOWING = st.dictionaries(st.text(), _CASES, max_size=2)
_EXPECTED = st.dictionaries(st.text(), st.none() | st.just(value=True) | st.text(), max_size=2)
_ENTRIES = st.lists(st.text() | _CASES, max_size=3)


@given(_ENTRIES, _WORDS, st.dictionaries(st.text(), st.text(), max_size=3), _FOLLOWING, _EXPECTED, _WORDS, _WORDS, _WORDS,
       st.text(), st.text(), st.text())  # fmt: skip
def test_an_environment_goes_through_json_unchanged(
    path: list[str | Cases],
    base: list[str],
    variables: dict[str, str],
    following: dict[str, Cases],
    expected: dict[str, str | bool | None],
    removed: list[str],
    prefix: list[str],
    passed: list[str],
    mount: str,
    mount_text: str,
    container_env_prefix: str,
) -> None:
    value = Environment(
        path=path,
        base=base,
        variables=variables,
        following=following,
        expected=expected,
        removed=removed,
        prefix=prefix,
        mount=mount,
        mount_text=mount_text,
        passed=passed,
        container_env_prefix=container_env_prefix,
    )
    again = Environment.from_dict(json.loads(json.dumps(value.as_dict())))
    assert again == value
    assert hash(again) == hash(value)


def test_only_the_allow_list_of_the_caller_is_kept() -> None:
    caller = {
        "HOME": "/h",
        "LC_ALL": "C",
        "SLURM_JOB_ID": "7",
        "PMIX_RANK": "0",
        "PYTHONPATH": "/evil",
        "LD_PRELOAD": "x.so",
        "MY": "1",
    }
    found = Environment(path=("/env/bin",), passed=("MY",)).variables_for(caller)
    assert found == {
        "HOME": "/h",
        "LC_ALL": "C",
        "SLURM_JOB_ID": "7",
        "PMIX_RANK": "0",
        "MY": "1",
        "PATH": ":".join(("/env/bin", *BASE_PATH)),
    }


@pytest.mark.parametrize(
    "names",
    [
        "SLURM_ARRAY_TASK_ID SBATCH_ACCOUNT SRUN_DEBUG SALLOC_PARTITION",
        "PBS_JOBID PBS_NODEFILE PBS_JOBFS JOBFS PBS_ARRAY_INDEX NCPUS PBS_O_WORKDIR",
        "LSB_JOBID LSB_JOBINDEX LSB_DJOB_HOSTFILE LSF_ENVDIR LSF_BINDIR LS_SUBCWD",
        "JOB_ID NSLOTS PE_HOSTFILE SGE_TASK_ID SGE_ROOT QUEUE",
        "FLUX_URI FLUX_JOB_ID FLUX_TASK_RANK FLUX_PMI_LIBRARY_PATH",
        "OMPI_COMM_WORLD_LOCAL_RANK PMI_RANK PMI_FD PMIX_NAMESPACE PMIX_SERVER_URI41 PMIX_VERSION PALS_RANKID MV2_COMM_WORLD_RANK",
        "MPI_LOCALRANKID MPI_LOCALNRANKS JSM_NAMESPACE_RANK MASTER_ADDR MASTER_PORT RANK LOCAL_RANK WORLD_SIZE",
        "CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER CUDA_MPS_PIPE_DIRECTORY CUDA_CACHE_PATH NVIDIA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES GPU_DEVICE_ORDINAL ZE_AFFINITY_MASK",
        "OMP_NUM_THREADS OMP_PLACES OMP_PROC_BIND OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS NUMBA_NUM_THREADS",
        "UCX_TLS UCX_NET_DEVICES FI_PROVIDER FI_CXI_RX_MATCH_MODE NCCL_SOCKET_IFNAME NCCL_DEBUG OMPI_MCA_btl PRTE_MCA_rmaps",
        "MPICH_GPU_SUPPORT_ENABLED MPIR_CVAR_CH4_NETMOD I_MPI_FABRICS I_MPI_PMI_LIBRARY",
        "DISPLAY XAUTHORITY KRB5CCNAME XDG_RUNTIME_DIR SSH_AUTH_SOCK X509_USER_PROXY",
        "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE LM_LICENSE_FILE MLM_LICENSE_FILE",
        "SUBMITIT_EXECUTOR JPY_PARENT_PID JPY_SESSION_NAME JUPYTER_RUNTIME_DIR DASK_INTERNAL_INHERIT_CONFIG",
    ],
)
def test_what_a_job_and_its_site_give_is_kept(names: str) -> None:
    assert [name for name in names.split() if not is_inherited(name)] == []


@pytest.mark.parametrize(
    "names",
    [
        "LD_PRELOAD LD_LIBRARY_PATH PYTHONPATH PYTHONSTARTUP VIRTUAL_ENV CONDA_PREFIX XALT_EXECUTABLE_TRACKING BASH_ENV ENV",
        "CUDA_HOME CUDA_PATH CUDA_ROOT CUDA_VERSION HIP_PATH I_MPI_ROOT MPICH_DIR NCCL_HOME UCX_ROOT MV2_HOME",
        "CUDA_INJECTION64_PATH NCCL_NET_PLUGIN NCCL_TUNER_PLUGIN NCCL_PROFILER_PLUGIN OMP_TOOL_LIBRARIES FI_PROVIDER_PATH",
        "UCX_MODULE_DIR UCX_GDB_COMMAND I_MPI_GTOOL I_MPI_OFI_LIBRARY I_MPI_HYDRA_BOOTSTRAP_EXEC I_MPI_CC MPICH_CXX",
        "OMPI_MCA_mca_base_component_path OMPI_MCA_plm_rsh_agent OMPI_MCA_mca_base_env_list PRTE_MCA_prte_launch_agent",
        "PMIX_MCA_pmix_mca_base_component_path OMPI_CC OPAL_PREFIX DASK_DISTRIBUTED__WORKER__PRELOAD",
        "SLURM_TASK_PROLOG SLURM_TASK_EPILOG FLUX_MODULE_PATH FLUX_EXEC_PATH_PREPEND FLUX_PYTHONPATH_PREPEND LSF_JOB_STARTER",
    ],
)
def test_what_loads_code_or_comes_of_a_loaded_module_is_kept_out(names: str) -> None:
    assert [name for name in names.split() if is_inherited(name)] == []


def test_a_star_in_pass_lets_through_all_names_with_its_prefix() -> None:
    is_passed = passing(("MY_DATA", "XALT_*"))
    assert [name for name in ("MY_DATA", "MY_DATA2", "XALT_", "XALT_DIR", "AXALT_X") if is_passed(name)] == [
        "MY_DATA",
        "XALT_",
        "XALT_DIR",
    ]
    caller = {"NCCL_NET_PLUGIN": "ofi", "CUDA_HOME": "/x"}
    assert "NCCL_NET_PLUGIN" in Environment(passed=("NCCL_*",)).variables_for(caller), "who names it wants it"


def test_a_session_never_gets_the_record_s_id_of_the_one_it_is_started_from() -> None:
    caller = {"OZREPRO_RECORD": "runs", "OZREPRO_RECORD_WITH": "host", "OZREPRO_RECORD_ID": "x"}
    assert set(caller) - set(Environment().variables_for(caller)) == {"OZREPRO_RECORD_ID"}


METHODS = st.sampled_from(["", "venv", "conda", "modules"])


@given(METHODS, st.lists(METHODS.filter(bool), min_size=1, max_size=3))
def test_what_a_caller_asks_for_holds_in_however_many_sessions_within_each_other(asked: str, taken: list[str]) -> None:
    caller = {"OZREPRO_METHOD": asked} if asked else {}
    for method in taken:
        caller = Environment(variables=says_where("work", method, "k")).variables_for(caller)
        assert caller["OZREPRO_METHOD"] == method
        assert asked_method(caller) == asked
    other = "container"
    assert asked_method({**caller, "OZREPRO_METHOD": other}) == other


def test_the_caller_s_path_does_not_change_an_environment() -> None:
    value = Environment(path=("/env/bin",), variables={"A": "1"}, removed=("TZ",))
    assert value.variables_for({"PATH": "/a", "TZ": "UTC"}) == value.variables_for({"PATH": "/b:/c"})


def test_a_value_that_holds_the_home_follows_the_caller_s() -> None:
    value = Environment(following={"CACHE": joined_by("HOME", ("", "/.cache"))}, base=("/bin", "/behind"))
    assert value.variables_for({"HOME": "/home/me"}) == {"HOME": "/home/me", "CACHE": "/home/me/.cache", "PATH": "/bin:/behind"}


_BY_CASES: Cases = ((("A", "B:"), ("", "A", "/", "B", "")), (("A",), ("only ", "A")), (("B",), None), ((), ("none",)))


@pytest.mark.parametrize(
    ("caller", "value"),
    [
        ({"A": "1", "B": "2"}, "1/2"),
        ({"A": "1", "B": ""}, "only 1"),
        ({"A": ""}, "only "),
        ({"B": "2"}, None),
        ({}, "none"),
    ],
)
def test_a_value_follows_the_first_case_whose_variables_the_caller_has(caller: dict[str, str], value: str | None) -> None:
    found = Environment(following={"X": _BY_CASES}, passed=("X",)).variables_for({**caller, "X": "mine"})
    assert found.get("X") == value


def test_a_case_may_leave_the_caller_s_value_as_it_is() -> None:
    value = Environment(following={"X": ((("X",), ()), ((), ("1",)))}, passed=("X",))
    assert (value.variables_for({"X": "8"})["X"], value.variables_for({})["X"]) == ("8", "1")


def test_an_entry_of_the_path_follows_the_caller_and_an_empty_one_is_none() -> None:
    value = Environment(path=("/env", ((("A",), ("", "A", "/bin")),), "/more"), base=("/bin",))
    assert value.variables_for({"A": "/a"})["PATH"] == "/env:/a/bin:/more:/bin"
    assert value.variables_for({})["PATH"] == "/env:/more:/bin"


def test_what_the_caller_has_otherwise_than_expected_is_named() -> None:
    value = Environment(expected={"ARCH": "avx2", "JOB": True, "NONE": None})
    assert value.unexpected({"ARCH": "avx2", "JOB": ""}) == []
    assert value.unexpected({"ARCH": "avx512", "NONE": ""}) == ["ARCH", "JOB", "NONE"]


def test_an_environment_s_prefix_comes_before_the_command() -> None:
    assert Environment(prefix=("apptainer", "exec", "a b.sif")).command(["ls", "-l"]) == [
        "apptainer",
        "exec",
        "a b.sif",
        "ls",
        "-l",
    ]


def test_an_environment_cannot_be_changed() -> None:
    value = Environment()
    with pytest.raises(AttributeError, match="immutable"):
        value.path = ("/x",)
    with pytest.raises(AttributeError, match="immutable"):
        del value.path


def test_variables_of_a_command_get_into_an_image_by_the_name_that_its_program_knows() -> None:
    given = {"A": "1", "HOME": "/h", "GONE": None}
    assert Environment().inside(given) == given
    assert Environment(container_env_prefix="APPTAINERENV_").inside(given) == {"APPTAINERENV_A": "1", "HOME": "/h", "GONE": None}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pip install six", "pip install"),
        ("pip install --user six", "pip install"),
        ("pip -q --no-input install six", "pip install"),
        ("/usr/bin/pip3 install six", "pip3 install"),
        ("pip3.11 install -r more.txt", "pip3.11 install"),
        ("python -m pip install six", "pip install"),
        ("/usr/bin/python3.11 -m pip install six", "pip install"),
        ("python -I -W error -m pip install six", "pip install"),
        ("python -I -m pip install six", "pip install"),
        ("python3 -m uv pip install six", "uv pip install"),
        ("uv pip install six", "uv pip install"),
        ("uv pip sync r.txt", "uv pip sync"),
        ("uv add six", "uv add"),
        ("uv tool install ruff", "uv tool install"),
        ("conda install numpy", "conda install"),
        ("conda env update -f e.yml", "conda env update"),
        ("mamba update --all", "mamba update"),
        ("micromamba install -y numpy", "micromamba install"),
    ],
)
def test_a_command_that_installs_is_known(command: str, words: str) -> None:
    assert installer_in(command.split()) == words


@pytest.mark.parametrize(
    "command",
    ["", "pip", "pip list", "pip show install", "pip download six", "pip --version", "python", "python -m", "python install",
     "python -c install", "python -m venv install", "python -m pip list", "python pip install", "uv pip list", "uv run install", "conda list",
     "pip install --target lib six", "pip install --prefix=./p six", "uv pip install -p other six", "conda install -n other numpy",
     "conda env list", "conda create -n install", "pipx install six", "pip-audit install", "install six", "make install", "bash -c pip"],
)  # fmt: skip
def test_a_command_that_installs_nothing_is_not_refused(command: str) -> None:
    assert installer_in(command.split()) == ""


@given(st.lists(st.text(), max_size=4))
def test_any_words_are_judged_as_a_command_without_an_exception(words: list[str]) -> None:
    assert isinstance(installer_in(words), str)


@pytest.mark.parametrize("folder", ["/tmp", "/tmp/mine", "/var/tmp/mine"])
def test_a_temporary_folder_that_every_image_sees_is_not_bound(folder: str) -> None:
    found = Environment(container_env_prefix="APPTAINERENV_").variables_for({"TMPDIR": folder})
    assert found["TMPDIR"] == folder
    assert "APPTAINER_BIND" not in found


def test_a_job_s_own_temporary_folder_is_seen_in_an_image_beside_what_the_site_binds() -> None:
    folder = "/usr"  # any that is there, and is not below /tmp
    environment = Environment(container_env_prefix="SINGULARITYENV_", variables={"SINGULARITY_BIND": "/fred"})
    found = environment.variables_for({"TMPDIR": folder})
    assert found["TMPDIR"] == folder
    assert found["SINGULARITY_BIND"] == f"/fred,{folder}"
    assert Environment().variables_for({"TMPDIR": "/no/such"})["TMPDIR"] == "/no/such"


@pytest.mark.parametrize("name", PLACES)
def test_a_file_or_folder_that_a_job_names_is_seen_in_an_image_or_not_named_in_it(name: str) -> None:
    found = Environment(container_env_prefix="APPTAINERENV_").variables_for({name: "/usr/bin/env", "HOME": "/root"})
    assert (found[name], found["APPTAINER_BIND"]) == ("/usr/bin/env", "/usr/bin/env")
    assert name not in Environment(container_env_prefix="APPTAINERENV_").variables_for({name: "/no/such"})
    for place in ("/tmp/krb", "/root/.Xauthority"):
        found = Environment(container_env_prefix="APPTAINERENV_").variables_for({name: place, "HOME": "/root"})
        assert (found[name], "APPTAINER_BIND" in found) == (place, False)
    assert Environment().variables_for({name: "/no/such"})[name] == "/no/such"


@pytest.mark.parametrize("folder", ["/no/such", "here", "/usr/a:b"])
def test_a_temporary_folder_that_an_image_cannot_see_is_not_named_in_it(folder: str) -> None:
    found = Environment(container_env_prefix="APPTAINERENV_").variables_for({"TMPDIR": folder})
    assert "TMPDIR" not in found
    assert "APPTAINER_BIND" not in found


@pytest.mark.parametrize("name", HOST_PROGRAMS)
@pytest.mark.parametrize("folder", ["", "/usr/bin/"])
def test_a_program_of_the_machine_starts_beside_the_prefix_and_a_launcher_only_with_it(name: str, folder: str) -> None:
    environment, words = Environment(prefix=("/usr/bin/env", "A=1")), [f"{folder}{name}", "-n", "2", "python"]
    assert environment.started(words) == words
    assert environment.refused(words) == (name if name in LAUNCHERS else "")
    assert environment.refused([words[0], *environment.command(["python"])]) == ""
    assert Environment().refused(words) == ""
    assert Environment().started(words) == words


@pytest.mark.parametrize("image", [False, True])
def test_what_is_refused_is_said_with_what_to_do(*, image: bool) -> None:
    environment = Environment(prefix=("/usr/bin/env",), container_env_prefix="APPTAINERENV_" if image else "")
    with pytest.raises(OzreproError) as caught:
        check_command(environment, ["srun", "x"], "work")
    outside = "outside the image" if image else "without /usr/bin/env"
    assert caught.value.what == f"srun would start its program {outside}"
    assert caught.value.hint == "srun … ozrepro run work -- python …"
    with pytest.raises(OzreproError) as caught:
        check_command(environment, ["srun", "x"], "work", "{launcher} {}")
    assert caught.value.hint == "srun {}"
    check_command(environment, ["python", "-m", "http"], "work")


def test_a_refused_installation_names_the_session_and_what_to_do() -> None:
    with pytest.raises(OzreproError) as caught:
        check_command(Environment(container_env_prefix="APPTAINERENV_"), ["pip", "install", "six"], "work")
    what = "pip install cannot add to an image: it is read-only, and packages would land in ~/.local"
    assert caught.value.what == what
    assert caught.value.hint == "add the package to %post of the definition, then: ozrepro lock work"


def test_the_reason_for_a_refused_installation_is_a_true_one() -> None:
    for words, image, what in (
        ("conda install numpy", True, "conda install cannot add to an image: it is read-only"),
        ("conda install numpy", False, "conda install cannot add to a locked environment"),
        ("uv pip install six", False, "uv pip install cannot add to a locked environment"),
    ):
        with pytest.raises(OzreproError) as caught:
            check_command(Environment(container_env_prefix="A_" if image else ""), words.split(), "work")
        assert caught.value.what == what
    for words in ("uv add six", "uv sync", "uv tool install ruff"):
        check_command(Environment(), words.split(), "work")
        with pytest.raises(OzreproError):
            check_command(Environment(container_env_prefix="A_"), words.split(), "work")


def test_an_installer_of_the_users_own_environment_is_started(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = str(tmp_path / "bin" / "pip")
    assert installer_in((program, "install", "six")) == "pip install"
    (tmp_path / "pyvenv.cfg").write_text("")
    assert installer_in((program, "install", "six")) == ""
