#!/bin/bash -p
# Starts a command with this environment's file, env.sqfs, mounted at the path where it was built: start COMMAND…
#
# In namespaces of the user's own. squashfuse_ll serves the mount from outside of the mount namespace: so it ends when the last
# program of that namespace has, however that ended, and is no child that a program's wait() could wait for. This process
# becomes the command. In a job, the first start on a node leaves a holder whose namespaces the later ones join, since ranks
# can share memory only within one user namespace; the holder ends with the task that it was started for.
fuse=@SQUASHFUSE@ unshare=@UNSHARE@ nsenter=@NSENTER@ mount=@MOUNT@
export _OZMOUNT_HERE=${0%/*}
here=$_OZMOUNT_HERE

tell() {
    printf 'ozrepro: %s\n  try: %s\n' "$1" "$2" >&2
    exit "$3"
}

# Before the command is run, as the user and inside. The loader's variables are the command's alone: none of the tools here may
# take a library of a module. $1 is the folder to stand in, "" to stay.
become='
if [ -n "$1" ]; then cd -- "$1" 2>/dev/null || cd /; fi
shift
for name in "${!_OZLOADER_@}"; do export "${name#_OZLOADER_}=${!name}"; unset -v "$name"; done
for name in "${!_OZMOUNT_@}"; do unset -v "$name"; done
if case $1 in */*) [ ! -e "$1" ] ;; *) ! type -P -- "$1" >/dev/null ;; esac; then
    printf "ozrepro: %s: not found\n" "$1" >&2
    exit 127
fi'
for name in LD_LIBRARY_PATH LD_PRELOAD LD_AUDIT; do
    if [ -n "${!name+x}" ]; then
        export "_OZLOADER_$name=${!name}"
        unset -v "$name"
    fi
done

# A start inside another one of this environment: it is mounted already.
if [ -e "$here/env/@MARKER@" ]; then
    set -- "" "$@"
    eval "$become"
    exec "$@"
fi

if [ ! -f "$here/env.sqfs" ] || [ ! -d "$here/env" ] || [ -L "$here/env" ]; then
    tell "$here is not as it was built" "ozrepro build" 3
fi
[ -x "$fuse" ] || fuse=$(type -P squashfuse_ll) || tell "there is no squashfuse_ll on $HOSTNAME" "OZREPRO_FORM=tree" 4
[ -w /dev/fuse ] || tell "/dev/fuse cannot be opened on $HOSTNAME" "OZREPRO_FORM=tree" 4
for knob in user/max_user_namespaces kernel/unprivileged_userns_clone; do
    if [ -r "/proc/sys/$knob" ] && read -r value <"/proc/sys/$knob" && [ "$value" = 0 ]; then
        tell "$HOSTNAME lets nobody make user namespaces (sysctl ${knob/\//.} = 0)" "OZREPRO_FORM=tree" 4
    fi
done

# First in the user namespace, as its root: the device, and who serves it as soon as it is mounted.
serve='
exec {device}<>/dev/fuse
exec {go}> >(
    trap "" INT QUIT HUP TERM TSTP
    (
        cd /
        if [ -n "$_OZMOUNT_NOTE" ]; then echo "$BASHPID" >"$_OZMOUNT_NOTE"; fi
        for one in /proc/self/fd/*; do
            one=${one##*/}
            if [ "$one" -gt 2 ] && [ "$one" != "$device" ]; then exec {one}>&-; fi
        done
        read -r word && exec "$_OZMOUNT_FUSE" -f -o ro "$_OZMOUNT_HERE/env.sqfs" "/dev/fd/$device" </dev/null
    ) <&0 >/dev/null 2>&1 &
)
wait "$!"
export _OZMOUNT_DEVICE=$device _OZMOUNT_GO=$go
exec "$_OZMOUNT_UNSHARE" --mount -- /bin/bash -p -c "$_OZMOUNT_MOUNTED" start "$@"'

# Then in the mount namespace too.
mounted='
device=$_OZMOUNT_DEVICE go=$_OZMOUNT_GO unshare=$_OZMOUNT_UNSHARE ids=$_OZMOUNT_IDS become=$_OZMOUNT_BECOME
options="ro,nosuid,nodev,fd=$device,rootmode=40000,user_id=0,group_id=0"
if ! "$_OZMOUNT_MOUNT" -i -n -t fuse.squashfuse_ll -o "$options" ozrepro "$_OZMOUNT_HERE/env"; then
    printf "ozrepro: %s\n  try: %s\n" "$_OZMOUNT_HERE/env.sqfs cannot be mounted on $HOSTNAME" "OZREPRO_FORM=tree" >&2
    exit 4
fi
echo >&"$go"
exec {device}>&- {go}>&-
set -- "" "$@"
eval "$become"
exec "$unshare" --user $ids -- "$@"'

export _OZMOUNT_FUSE=$fuse _OZMOUNT_UNSHARE=$unshare _OZMOUNT_MOUNT=$mount _OZMOUNT_NOTE= _OZMOUNT_BECOME=$become
export _OZMOUNT_MOUNTED=$mounted _OZMOUNT_IDS="--map-user=$EUID --map-group=${GROUPS[0]}"

alone() {
    exec "$unshare" --user --map-root-user -- /bin/bash -p -c "$serve" start "$@"
}

# Of a job: one mount for each node.
job=${SLURM_JOB_ID-}${SLURM_JOB_ID:+.${SLURM_RESTART_COUNT-0}}
job=${job:-${PBS_JOBID:-${LSB_JOBID:-${FLUX_JOB_ID:-}}}}
notes=/dev/shm/ozrepro-$EUID
if [ -z "$job" ] || { ! mkdir -m 700 "$notes" 2>/dev/null && ! { [ -d "$notes" ] && [ -O "$notes" ] && [ ! -L "$notes" ]; }; }; then
    alone "$@"
fi
note=$notes/${job//[^A-Za-z0-9.]/_}-${here##*/}

hold='
for one in /proc/self/fd/*; do
    one=${one##*/}
    if [ "$one" -gt 2 ]; then exec {one}>&-; fi
done
echo "$$"
exec tail --pid="$1" -f /dev/null >/dev/null'

# Opens the namespaces of the holder; fails where there is none that lives, and shows this environment.
join() {
    { read -r holder <"$note" && read -r server <"$note.fuse"; } 2>/dev/null || return 1
    [ -e "/proc/$holder/root$here/env/@MARKER@" ] || return 1
    { exec {outer}<"/proc/$server/ns/user" {space}<"/proc/$holder/ns/mnt" {inner}<"/proc/$holder/ns/user"; } 2>/dev/null
}

exec {turn}>>"$note.lock"
flock "$turn"
if ! join; then
    exec {said}< <( (_OZMOUNT_NOTE=$note.fuse alone /bin/bash -p -c "$hold" hold "${SLURM_TASK_PID:-$PPID}" </dev/null {turn}>&- &) )
    if ! read -r holder <&"$said" || ! echo "$holder" >"$note" || ! join; then
        exec {turn}>&- {said}>&-
        alone "$@"
    fi
    wait "$!"
    exec {said}>&-
fi
exec {turn}>&-
joined='
exec {_OZMOUNT_OUTER}>&- {_OZMOUNT_SPACE}>&- {_OZMOUNT_INNER}>&-
eval "$_OZMOUNT_BECOME"
exec "$@"'
export _OZMOUNT_OUTER=$outer _OZMOUNT_SPACE=$space _OZMOUNT_INNER=$inner
enter=("$nsenter" --preserve-credentials)
exec "${enter[@]}" --user="/proc/self/fd/$outer" --mount="/proc/self/fd/$space" -- \
    "${enter[@]}" --user="/proc/self/fd/$inner" -- /bin/bash -p -c "$joined" start "$PWD" "$@"
