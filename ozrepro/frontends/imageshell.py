"""The words that start a shell, or IPython, inside an image, whatever that image has.

Scripts for its `sh`, which look for the program where it will run. Values are their arguments, never part of their text.
"""

from __future__ import annotations

OF_A_TERMINAL = ("COLORTERM", "NO_COLOR", "LS_COLORS", "XAUTHORITY", "SSH_AUTH_SOCK", "KRB5CCNAME")
"""What a shell inside is given of the caller's terminal and login; other variables of that kind name the host's programs."""

_ABSENT = "printf 'ozrepro: %s\\n  try: %s\\n'"

_SHELL = f"""\
# Apptainer sets its own prompt by PROMPT_COMMAND. A history would be the home's, which a shell without the user's own
# settings cuts to 500 lines.
unset PROMPT_COMMAND PS1 ENV BASH_ENV
HISTFILE=
export HISTFILE
shell=$2 flag=$3
if [ -z "$shell" ]; then
    shell=sh
    if command -v bash >/dev/null; then shell=bash; fi
fi
if ! command -v "$shell" >/dev/null; then
    {_ABSENT} "there is no $shell in the image of $1" "ozrepro shell $1, for the shell that it has" >&2
    exit 1
fi
mark="($1) "
case $shell in
    bash) set -- --noprofile --norc; mark=$mark'\\w\\$ ' ;;
    zsh) set -- -f; mark=$mark'%~%# ' ;;
    fish) set -- --no-config --init-command "function fish_prompt; echo -n '$mark'(prompt_pwd)'> '; end" ;;
    *) set --; mark=$mark'$ ' ;;
esac
if [ -n "$flag" ]; then
    PS1=$mark
    export PS1
    set -- "$@" -i
fi
exec "$shell" "$@"
"""

_PROGRAM = f"""\
if ! command -v "$2" >/dev/null; then
    {_ABSENT} "there is no $2 in the image of $1" "$3" >&2
    exit 1
fi
exec "$2"
"""


def shell_words(name: str, chosen: str, *, at_prompt: bool) -> list[str]:
    """Return the words that start a shell in the image of session `name`, its prompt marked with that name.

    `chosen` is bash, zsh or fish, which are refused where the image lacks them, or "": bash where it is there, else sh.
    Nobody's own files are read: a user's are written for the host, and name what an image does not have.
    """
    return ["sh", "-c", _SHELL, "sh", name, chosen, "-i" if at_prompt else ""]


def ipython_words(name: str) -> list[str]:
    """Return the words that start IPython in the image of session `name`, or say that it is not there."""
    hint = f"add ipython to what the image is made of, then: ozrepro lock {name}"
    return ["sh", "-c", _PROGRAM, "sh", name, "ipython", hint]
